"""Frozen records that travel through the rooms: what is asked, how, and what came back.

`gc=False`: plain data never refers back to itself; the garbage collector need not visit it. A Call, whose tally may hold anything, is not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from surefoot.secret import KeySource as KeySource  # noqa: PLC0414 - types is where both are looked for
from surefoot.secret import Secret as Secret  # noqa: PLC0414
from surefoot.text import Record, clean_fields, json_text
from surefoot.text import clean as clean  # noqa: PLC0414

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix: TypeAlias = NDArray[np.float32]

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "malformed_tool_call", "other"]
Priority = Literal["interactive", "batch"]
EmbedRole = Literal["document", "query"]


class Text(Record, frozen=True, tag="text", gc=False):
    """A run of text inside a message of several parts."""

    text: str


class Image(Record, frozen=True, kw_only=True, tag="image", gc=False):
    """A picture: its bytes with their media type, or an address the provider fetches itself."""

    data: bytes = b""
    media_type: str = ""
    url: str = ""
    detail: str = ""


class File(Record, frozen=True, kw_only=True, tag="file", gc=False):
    """A document such as a PDF, or a sound: its bytes with media type and name."""

    data: bytes
    media_type: str = "application/pdf"
    name: str = ""


class Reasoning(Record, frozen=True, kw_only=True, tag="reasoning", gc=False):
    """What the model thought; `signature` is the vendor's own seal, sent back untouched."""

    text: str = ""
    signature: str = ""


Part: TypeAlias = Text | Image | File | Reasoning


class ToolCall(Record, frozen=True, kw_only=True, gc=False):
    """A call the model wants made; `arguments` is the JSON text as it came. `error` is set when it is not valid JSON."""

    id: str
    name: str
    arguments: str = "{}"
    error: str = ""
    signature: str = ""

    def parsed(self) -> dict[str, Any]:
        """The arguments as a dict; raises ValueError if they are not a JSON object."""
        value = msgspec.json.decode(self.arguments or "{}")
        if not isinstance(value, dict):
            raise ValueError(f"tool {self.name}: arguments are {type(value).__name__}, not an object")
        return value


class Message(Record, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One turn of a conversation."""

    role: Role
    content: str | tuple[Part, ...] = ""
    name: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    is_error: bool = False
    cache: bool = False  # the vendor may cache the prompt up to here (Anthropic's cache_control; others do so by themselves)

    def __post_init__(self) -> None:
        """Convert the text; the usual message has one field to look at."""
        content = self.content
        if not (type(self.role) is type(self.name) is type(self.tool_call_id) is str) or type(content) not in {str, tuple}:
            clean_fields(self)
        elif type(content) is str and not content.isascii():
            msgspec.structs.force_setattr(self, "content", clean(content))

    @classmethod
    def system(cls, text: str) -> Message:
        """Standing instructions."""
        return cls(role="system", content=text)

    @classmethod
    def user(cls, content: str | Sequence[Part | str], *, name: str = "") -> Message:
        """What the person says: text, or parts (strings among them are text)."""
        return cls(role="user", content=_content(content), name=name)

    @classmethod
    def assistant(cls, content: str | Sequence[Part | str] = "", *, tool_calls: Sequence[ToolCall] = ()) -> Message:
        """What the model said."""
        return cls(role="assistant", content=_content(content), tool_calls=tuple(tool_calls))

    @classmethod
    def tool(cls, content: str | Sequence[Part | str], *, tool_call_id: str, name: str = "", is_error: bool = False) -> Message:
        """The result of one tool call."""
        return cls(role="tool", content=_content(content), tool_call_id=tool_call_id, name=name, is_error=is_error)

    @property
    def text(self) -> str:
        """The text of all text parts, joined."""
        content = self.content
        return content if isinstance(content, str) else "".join(part.text for part in content if isinstance(part, Text))

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as parts, also when it is plain text."""
        if isinstance(self.content, str):
            return (Text(self.content),) if self.content else ()
        return self.content


def _content(content: str | Sequence[Part | str]) -> str | tuple[Part, ...]:
    return content if isinstance(content, str) else tuple(Text(part) if isinstance(part, str) else part for part in content)


class Tool(Record, frozen=True, kw_only=True, gc=False):
    """A tool the model may call; `parameters` is its JSON Schema as text, key order kept as given."""

    name: str
    description: str = ""
    parameters: str = '{"type":"object","properties":{}}'
    strict: bool | None = None
    vendor: str = ""  # whose JSON `raw` is: "openai", "anthropic", "google"
    raw: str = ""  # the whole tool, sent to `vendor` as it is; without `parameters` all others refuse it (see tool_dicts)

    @classmethod
    def of(cls, name: str, description: str, parameters: Mapping[str, Any], *, strict: bool | None = None) -> Tool:
        """Build from a schema given as a mapping."""
        return cls(name=name, description=description, parameters=json_text(parameters), strict=strict)


class Schema(Record, frozen=True, kw_only=True, gc=False):
    """The shape the answer must have; `schema` is JSON Schema text, or empty for any JSON object (JSON mode)."""

    name: str = "answer"
    schema: str = ""
    strict: bool | None = None

    @classmethod
    def of(cls, name: str, schema: Mapping[str, Any], *, strict: bool | None = None) -> Schema:
        """Build from a schema given as a mapping."""
        return cls(name=name, schema=json_text(schema), strict=strict)


class ChatRequest(Record, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """WHAT is asked of a chat model: hashable, digested. None means: the provider's own default."""

    messages: tuple[Message, ...]
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    reasoning_effort: str = ""
    tools: tuple[Tool, ...] = ()
    tool_choice: str = ""  # "" (the provider's default) | "auto" | "none" | "required" | the name of a tool
    parallel_tool_calls: bool | None = None
    schema: Schema | None = None
    model: str = ""  # another model of the same provider for this request alone
    extra: str = ""  # provider-specific fields as JSON object text, passed through untouched

    def __post_init__(self) -> None:
        """Convert the text; hot, since each change of a request builds another."""
        if self.stop:
            msgspec.structs.force_setattr(self, "stop", tuple(clean(word) if isinstance(word, str) else word for word in self.stop))
        if not (type(self.model) is type(self.tool_choice) is type(self.reasoning_effort) is type(self.extra) is str):
            clean_fields(self)


class EmbedRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """WHAT is asked of an embedding model: the texts, and whether they are documents or a query."""

    texts: tuple[str, ...]
    role: EmbedRole = "document"
    dimensions: int | None = None
    unit_length: bool = True
    extra: str = ""


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Tokens billed. Inputs include cached ones; outputs include reasoning. `estimated`: counted by us, not by the provider."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    estimated: bool = False

    @property
    def total_tokens(self) -> int:
        """Inputs and outputs together."""
        return self.input_tokens + self.output_tokens


class ToolCallDelta(Struct, frozen=True, kw_only=True, gc=False):
    """A piece of a tool call; pieces with the same `index` belong together, `arguments` are concatenated."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    signature: str = ""


class Delta(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A piece of a streamed answer. The last one carries `finish_reason`; `marker` names what happened ("resumed") beside text."""

    text: str = ""
    reasoning: str = ""
    signature: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    model: str = ""
    request_id: str = ""
    marker: str = ""

    @property
    def is_content(self) -> bool:
        """True if a reader sees something: text, thought or a tool call."""
        return bool(self.text or self.tool_calls or self.reasoning)


class Attempt(Struct, kw_only=True, gc=False):
    """One wire attempt in a call's trail. Times are seconds of the loop's clock; `error` is the class name, "" for success."""

    number: int
    target: str
    kind: Literal["first", "retry", "fallback", "hedge", "resume"] = "first"
    wait_s: float = 0.0
    started_s: float = 0.0
    seconds: float | None = None
    error: str = ""
    usage: Usage | None = None
    cost_usd: float | None = None
    model: str = ""  # the one asked, where the call named it itself; "" is the target's own


class ChatReply(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A whole answer. `attempts` counts wire attempts (0 for a cache hit), `cost_usd` sums them; None means the price is unknown."""

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    signature: str = ""
    finish_reason: FinishReason = "stop"
    usage: Usage = Usage()
    model: str = ""
    target: str = ""
    request_id: str = ""
    cost_usd: float | None = None
    attempts: int = 0
    cached: bool = False
    trail: tuple[Attempt, ...] = ()

    @property
    def invalid_tool_calls(self) -> tuple[ToolCall, ...]:
        """Tool calls whose arguments are not valid JSON; they carry the raw text and must not be run."""
        return tuple(call for call in self.tool_calls if call.error)

    @property
    def message(self) -> Message:
        """The answer as the next turn of the conversation."""
        parts: str | tuple[Part, ...] = self.text
        if self.signature:
            parts = (Reasoning(text=self.reasoning, signature=self.signature), *((Text(self.text),) if self.text else ()))
        return Message(role="assistant", content=parts, tool_calls=self.tool_calls)


class EmbedReply(Struct, frozen=True, kw_only=True, gc=False):
    """Vectors, one row a text, in order: float32 [len(texts), dim]."""

    vectors: Any  # a Matrix; numpy is imported only where vectors are made
    usage: Usage = Usage()
    model: str = ""
    target: str = ""
    space: str = ""  # the embedding space id: provider, model, version, dimension, normalisation, prefix
    request_id: str = ""
    cost_usd: float | None = None
    attempts: int = 0
    cached: bool = False
    trail: tuple[Attempt, ...] = ()


class Tally:
    """The one mutable record of a call, shared by all copies of it: attempts, hedges, the trail, who listens."""

    __slots__ = ("attempts", "call_id", "digest", "hedges", "listeners", "memo", "next_kind", "next_wait_s", "trail")

    def __init__(self, listeners: tuple[Callable[[Any], None], ...] = (), call_id: str = "") -> None:
        self.attempts = 0
        self.hedges = 0
        self.trail: list[Attempt] = []
        self.listeners = listeners
        self.call_id = call_id
        self.digest = ""  # digest.of(request), computed once by whoever needs it first
        self.memo: dict[str, Any] = {}  # per-call facts one room leaves for itself, keyed by its name
        self.next_kind: Literal["first", "retry", "fallback", "resume"] = "first"  # why the next attempt is made
        self.next_wait_s = 0.0  # what was waited for it


Q = TypeVar("Q", ChatRequest, EmbedRequest)


class Call(Struct, Generic[Q], frozen=True, kw_only=True):
    """HOW it is asked. Changed only by `msgspec.structs.replace`; `tally` is shared by all copies.

    `deadline_s` is what the caller wants, in seconds from now (None: the policy's, infinity: none); `deadline` is the same as a moment of
    the home loop's clock. `hedged` marks the second runner. `others` says whether another target stands behind this one.
    """

    request: Q
    tally: Tally
    stream: bool = False
    deadline: float | None = None
    deadline_s: float | None = None
    attempt: int = 1
    hedged: bool = False
    others: bool = False
    tenant: str = ""
    priority: Priority = "interactive"
    tags: tuple[tuple[str, str], ...] = ()


class Traits(Struct, frozen=True, kw_only=True, gc=False):
    """What one target can do, as its provider knows it; None or empty means unknown, which is taken as yes."""

    is_local: bool = False
    context_tokens: int | None = None
    tools: bool = True
    vision: bool = True
    pdf: bool = True
    schema: bool = True
    chat: bool = True
    embed: bool = True
    space: str = ""
    host: str = ""  # of a server that speaks another vendor's protocol: it may not know all fields of an `extra`
    max_batch_texts: int = 2048
    max_batch_tokens: int | None = None
    max_text_tokens: int | None = None


class Edge(Protocol):
    """One target's door to its provider: translate, send once, translate faults. Never retries, waits or caches."""

    traits: Traits

    async def chat(self, call: Call[ChatRequest]) -> Any:
        """One exchange: a ChatReply, or (call.stream) a primed Stream."""

    async def embed(self, call: Call[EmbedRequest]) -> EmbedReply:
        """One exchange: the vectors, checked for count, order and numbers."""

    async def aclose(self) -> None:
        """Close connections; called when the home loop ends."""


class Store(Protocol):
    """Where bytes are kept. A store that is down is a miss, never an error. What else one may have: `surefoot.stores`."""

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
