"""What came back: whole answers and the pieces of a stream, what they used and cost, and the wire attempts they took."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.types.messages import Message, Part, Reasoning, Text, ToolCall

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "malformed_tool_call", "other"]


class Usage(Struct, Documented, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Tokens billed. Inputs include cached ones; outputs include reasoning. `estimated`: counted by us, not by the provider."""

    input_tokens: int = 0
    """Tokens of the prompt, those read from and written to a cache included; at least 0."""
    output_tokens: int = 0
    """Tokens of the answer, reasoning included; at least 0."""
    cached_tokens: int = 0
    """Those of the input that the vendor read from its prompt cache, at a lower price."""
    cache_write_tokens: int = 0
    """Those of the input that the vendor wrote into its prompt cache, at a higher price (Anthropic)."""
    reasoning_tokens: int = 0
    """Those of the output that were thoughts; 0 also where the vendor does not count them apart."""
    audio_input_tokens: int = 0
    """Those of the input that were sound, priced apart."""
    audio_output_tokens: int = 0
    """Those of the output that were sound, priced apart."""
    estimated: bool = False
    """True if we counted, because the provider sent no count or the answer was cut off before it."""

    @property
    def total_tokens(self) -> int:
        """Inputs and outputs together."""
        return self.input_tokens + self.output_tokens


class ToolCallDelta(Struct, Documented, frozen=True, kw_only=True, gc=False):
    """A piece of a tool call; pieces with the same `index` belong together, `arguments` are concatenated."""

    index: int
    """Which call of the answer this piece belongs to, counted from 0."""
    id: str = ""
    """The vendor's id of the call, in its first piece; empty in the others."""
    name: str = ""
    """The tool's name, in the first piece; empty in the others."""
    arguments: str = ""
    """The next piece of the arguments' JSON text; a piece alone is rarely valid JSON."""
    signature: str = ""
    """The vendor's proof for the thoughts before the call (Gemini), whole in one piece; empty in the others."""


class Delta(Struct, Documented, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A piece of a streamed answer. The last one carries `finish_reason`; `marker` names what happened ("resumed") beside text."""

    text: str = ""
    """The next piece of the answer's text."""
    reasoning: str = ""
    """The next piece of the thoughts, where the vendor shows them."""
    signature: str = ""
    """The vendor's proof that the thoughts are its own, whole in one delta."""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    """Pieces of tool calls."""
    finish_reason: FinishReason | None = None
    """Why the answer ended, in the last delta; None before it."""
    usage: Usage | None = None
    """What was billed, usually in the last delta; None before it."""
    model: str = ""
    """The model that answers, as the provider names it; empty where this delta does not say."""
    request_id: str = ""
    """The vendor's id of the request, for its support; empty where this delta does not say."""
    marker: str = ""
    """Beside text, what happened; "resumed": the answer begins anew on another target, so drop what you have. Empty for all other deltas.
    """

    @property
    def is_content(self) -> bool:
        """True if a reader sees something: text, thought or a tool call."""
        return bool(self.text or self.tool_calls or self.reasoning)


class AttemptRecord(Struct, Documented, kw_only=True, gc=False):
    """One wire attempt in a call's trail. Times are seconds of the loop's clock; `error` is the class name, "" for success."""

    number: int
    """Its place in the call, counted from 1."""
    target: str
    """Which target was asked, as "provider:model"."""
    kind: Literal["first", "retry", "fallback", "hedge", "resume"] = "first"
    """Why it was made: "first", "retry" (the same target again), "fallback" (the next one), "hedge" (a second one beside a slow one) or
    "resume" (after a broken stream).
    """
    wait_s: float = 0.0
    """Seconds it was wanted and not yet sent: backoff and queues. 0 for a hedge, which is sent beside another attempt."""
    started_s: float = 0.0
    """When it was sent: seconds of the background loop's clock, comparable with other attempts and events only."""
    seconds: float | None = None
    """How long it took until finished (of a stream: until its end). None while it is under way."""
    error: str = ""
    """The class name of its error; "CancelledError" if it was cut off; empty for success."""
    usage: Usage | None = None
    """What it was billed for; None where nothing is known to have been billed."""
    cost_usd: float | None = None
    """US dollars for `usage`; None where nothing was billed or nobody knows the price."""
    model: str = ""
    """The model that was asked, where the call named it itself; empty: the target's own."""


class ChatReply(Struct, Documented, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A whole answer. `attempts` counts wire attempts (0 for a cache hit), `cost_usd` sums them; None means the price is unknown."""

    text: str = ""
    """The answer's text; empty where it only calls tools."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The tools it wants called, in order."""
    reasoning: str = ""
    """The thoughts, where the vendor shows them."""
    signature: str = ""
    """The vendor's proof that the thoughts are its own; `message` sends it back with the next turn."""
    finish_reason: FinishReason = "stop"
    """Why it ended: "stop" (by itself), "length" (a token limit), "tool_calls", "content_filter", "refusal", "malformed_tool_call" or
    "other".
    """
    usage: Usage = Usage()
    """Tokens of the attempt that answered."""
    model: str = ""
    """The model that answered, as the provider names it, often with a date; empty: it did not say."""
    target: str = ""
    """The target that answered, as "provider:model"."""
    request_id: str = ""
    """The vendor's id of the request, for its support; empty: it gave none."""
    cost_usd: float | None = None
    """US dollars of all attempts together, failed ones included; 0 for an answer from the cache. None: a price is unknown."""
    attempts: int = 0
    """Wire attempts of the call; 0 for an answer from the cache or shared with an identical call."""
    cached: bool = False
    """True if it came from the cache."""
    trail: tuple[AttemptRecord, ...] = ()
    """The attempts in order, each with its target, time, error and cost."""

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


class EmbedReply(Struct, Documented, frozen=True, kw_only=True, gc=False):
    """Vectors, one row a text, in order: float32 [len(texts), dim]."""

    vectors: Any
    """float32 [len(texts), dim], rows in the order of the texts; of length 1 unless `unit_length=False` was asked."""
    usage: Usage = Usage()
    """Tokens of all requests the texts were sent in."""
    model: str = ""
    """The model that answered, as the provider names it; empty: it did not say."""
    target: str = ""
    """The target that answered, as "provider:model"."""
    space: str = ""
    """The embedding space: provider, model, dimension, scaling, prefixes. Only vectors of equal spaces may be compared."""
    request_id: str = ""
    """The vendor's id of the request, for its support; empty: it gave none."""
    cost_usd: float | None = None
    """US dollars of all attempts together; 0 for a model in this process or an answer from the cache. None: a price is unknown."""
    attempts: int = 0
    """Wire attempts of the call; 0 where all vectors came from the cache."""
    cached: bool = False
    """True if all vectors came from the cache."""
    trail: tuple[AttemptRecord, ...] = ()
    """The attempts in order, each with its target, time, error and cost."""
