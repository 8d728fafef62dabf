"""HOW it is asked, and by whom it is answered: the call and its one mutable record, and the seams to providers and stores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal, Protocol

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.types.replies import AttemptRecord, ChatReply, EmbedReply
from surefoot.types.requests import ChatRequest, EmbedRequest, Q

Priority = Literal["interactive", "batch"]


class VectorParts:
    """Takes vectors as they come: `VectorParts(positions, count, keep)`. The cache leaves it in the call's state, a batch tells it.

    `positions` are the texts' places among the `count` that the user gave, for messages. `tell(texts, matrix, reply)` hands over what has
    come so far, so that a batch that breaks or is cancelled later loses nothing that was paid for; `told` says whether anybody did.
    """

    __slots__ = ("_keep", "count", "positions", "told")

    def __init__(self, positions: Sequence[int], count: int, keep: Callable[[Sequence[str], Any, EmbedReply], None]) -> None:
        self.positions = positions
        self.count = count
        self.told = False
        self._keep = keep

    def tell(self, texts: Sequence[str], matrix: Any, reply: EmbedReply) -> None:
        """`matrix` holds the vectors of `texts`, as `reply` brought them."""
        self.told = True
        self._keep(texts, matrix, reply)


class CallState(Struct, Documented, eq=False):
    """The one mutable record of a call, shared by all copies of it. Layers hand each other what they know by these fields."""

    listeners: tuple[Callable[[Any], None], ...] = ()
    """Who hears the call's events."""
    call_id: str = ""
    """Names the call in events and logs."""
    asked_s: float | None = None
    """When the caller asked, by time.monotonic(); None where that is when the call begins."""
    attempts: int = 0
    """Attempts made so far, hedges not counted, over all targets."""
    whole: CallState | None = None
    """The call of which this one is a part; None for a call that its caller made."""
    is_partly_sent: bool = False
    """A part of it had been sent when its model was closed."""
    hedges: int = 0
    """Second requests sent beside slow first ones."""
    trail: list[AttemptRecord] = []
    """A record an attempt, in the order in which they began."""
    digest: str = ""
    """The digest of the request, computed once by whoever needs it first."""
    next_kind: Literal["first", "retry", "fallback", "resume"] = "first"
    """Why the next attempt is made."""
    next_wait_s: float = 0.0
    """Seconds that were waited for the next attempt."""
    loop: asyncio.AbstractEventLoop | None = None
    """The loop that the call runs on, for `loop_of`: asking asyncio is a system call up to Python 3.11. Set by trace."""
    begun_at: float | None = None
    """When the call began: a moment of the background loop's clock. Set by trace."""
    deadline_at: float | None = None
    """A later deadline than the call's own, since callers with more time joined it; infinity: none. Set by coalesce."""
    rate_headers: Mapping[str, str] | None = None
    """The rate-limit headers of the latest answer. Set by the provider, taken once by rate: they age."""
    reply: ChatReply | EmbedReply | None = None
    """A stream's whole reply, once the stream has ended well. Set by trace."""
    is_cached: bool = False
    """True if the answer came out of a cache."""
    is_refresh: bool = False
    """True for the call that renews a cache entry: another wording's answer would not renew this one."""
    broken_targets: tuple[str, ...] = ()
    """Targets whose stream broke in this call; others are asked first. Set by resume."""
    wants_events: bool = False
    """A stream's deltas shall carry what they were read from; see `Delta.events`. Set by who asks."""
    on_dispatch: dict[asyncio.Task[Any] | None, Callable[[], None]] | None = None
    """Called once, under the task in which the attempt runs, when its request is really sent. Set by hedge, called by attempt."""
    parts: VectorParts | None = None
    """Who takes the vectors of a batch as they come. Set by the vector cache."""


class Call(Struct, Documented, Generic[Q], frozen=True, kw_only=True):
    """HOW it is asked. Changed only by `msgspec.structs.replace`; `state` is shared by all copies.

    `deadline_s` is what the caller wants, in seconds from now (None: the policy's, infinity: none); `deadline` is the same as a moment of
    the background loop's clock. `hedged` marks the second runner. `others` says whether another target stands behind this one.
    """

    request: Q
    """What is asked."""
    state: CallState
    """The one mutable record of the call, shared by all copies of it."""
    stream: bool = False
    """True if the answer is wanted as a stream."""
    deadline: float | None = None
    """When the call must have ended: a moment of the background loop's clock. None: no deadline holds yet."""
    deadline_s: float | None = None
    """What the caller said: seconds from the call on, above 0. None: the policy's holds; infinity: none."""
    attempt: int = 1
    """Which attempt at its target this is, counted from 1."""
    hedged: bool = False
    """True for the second request that is sent beside a slow first one."""
    others: bool = False
    """True if another target is asked should this one fail; queues and retries then give up sooner."""
    tenant: str = ""
    """On whose behalf the call is made: caches, spend limits and the ledger tell tenants apart. Empty: nobody's."""
    priority: Priority = "interactive"
    """How urgent: "interactive" calls go first in queues; "batch" calls wait behind them."""
    tags: tuple[tuple[str, str], ...] = ()
    """Pairs of name and value, sorted by name, for spend limits, events and the ledger."""


def loop_of(call: Call[Any]) -> asyncio.AbstractEventLoop:
    """The running loop, on which `call` runs."""
    return call.state.loop or asyncio.get_running_loop()


class Traits(Struct, Documented, frozen=True, kw_only=True, gc=False):
    """What one target can do, as its provider knows it; None or empty means unknown, which is taken as yes."""

    is_local: bool = False
    """The model runs in this process: nothing is sent, rate-limited, hedged or billed."""
    context_tokens: int | None = None
    """The model's window in tokens, question and answer together. None: unknown, so nothing is refused for its length."""
    base_model: str = ""
    """The model behind a deployment of another name, as its target says; its window is this one's. Empty: the name is the model's own."""
    tools: bool = True
    """It can call tools."""
    vision: bool = True
    """It can read pictures."""
    pdf: bool = True
    """It can read PDF files."""
    schema: bool = True
    """It can hold its answer to a JSON schema."""
    chat: bool = True
    """It answers chats."""
    embed: bool = True
    """It embeds texts."""
    space: str = ""
    """The embedding space its vectors lie in (see `EmbedReply.space`); empty for a chat model."""
    host: str = ""
    """Of a server that speaks another vendor's protocol, which may not know every field of an `extra`; empty: the vendor itself."""
    max_batch_texts: int = 2048
    """Most texts of one embedding request. Default: OpenAI's limit, which most servers of its protocol share."""
    max_batch_tokens: int | None = None
    """Most tokens of one embedding request, all texts together. None: no limit known."""
    max_text_tokens: int | None = None
    """Most tokens of one text to embed. None: no limit known."""
    answer_tokens: int | None = None
    """How long an answer may be where a request names no limit, in tokens, if the provider is told one then, too. None: it is not."""
    can_bound: bool = True
    """The provider can be told how long an answer may be. False: a budget that is nearly used up refuses instead of bounding answers."""


class Provider(Protocol):
    """What calls one target at its vendor: translates, sends once, translates faults. Never retries, waits or caches."""

    traits: Traits

    async def chat(self, call: Call[ChatRequest]) -> Any:
        """One exchange: a ChatReply, or (call.stream) an opened Stream."""

    async def embed(self, call: Call[EmbedRequest]) -> EmbedReply:
        """One exchange: the vectors, checked for count, order and numbers."""

    async def aclose(self) -> None:
        """Close connections; called when the background loop ends."""


class Store(Protocol):
    """Where bytes are kept. A store that is down is a miss, never an error. What else one may have: `surefoot.storage`."""

    async def get(self, key: str) -> bytes | None:
        """The bytes under `key`, or None (absent, expired, unreadable)."""

    async def set(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        """Keep `value` under `key` for `ttl_s` seconds, or as long as there is room."""

    async def delete(self, key: str) -> None:
        """Forget `key`."""

    async def aclose(self) -> None:
        """Flush and close."""
