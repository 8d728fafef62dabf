"""HOW it is asked, and by whom it is answered: the call and its one mutable record, and the seams to providers and stores."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, Literal, Protocol, TypeAlias

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.types.replies import AttemptRecord, EmbedReply
from surefoot.types.requests import ChatRequest, EmbedRequest, Q

Priority = Literal["interactive", "batch"]


class CallState:
    """The one mutable record of a call, shared by all copies of it: attempts, hedges, the list of attempts, listeners."""

    __slots__ = ("asked_s", "attempts", "call_id", "digest", "hedges", "listeners", "memo", "next_kind", "next_wait_s", "trail")

    def __init__(self, listeners: tuple[Callable[[Any], None], ...] = (), call_id: str = "") -> None:
        self.asked_s: float | None = None  # when the caller asked, by time.monotonic(); None where that is when the call begins
        self.attempts = 0
        self.hedges = 0
        self.trail: list[AttemptRecord] = []
        self.listeners = listeners
        self.call_id = call_id
        self.digest = ""  # digest.of(request), computed once by whoever needs it first
        self.memo: dict[str, Any] = {}  # per-call facts one layer leaves for itself, keyed by its name
        self.next_kind: Literal["first", "retry", "fallback", "resume"] = "first"  # why the next attempt is made
        self.next_wait_s = 0.0  # what was waited for it


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


class Traits(Struct, Documented, frozen=True, kw_only=True, gc=False):
    """What one target can do, as its provider knows it; None or empty means unknown, which is taken as yes."""

    is_local: bool = False
    """The model runs in this process: nothing is sent, rate-limited, hedged or billed."""
    context_tokens: int | None = None
    """The model's window in tokens, question and answer together. None: unknown, so nothing is refused for its length."""
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


Listener: TypeAlias = Callable[[Any], None]
Ask: TypeAlias = Callable[[Call[Any]], Awaitable[Any]]
