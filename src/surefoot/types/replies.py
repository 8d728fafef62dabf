"""What came back: whole answers and the pieces of a stream, what they used and cost, and the wire attempts they took."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec
from msgspec import Struct

from surefoot._documented import Documented
from surefoot.types.messages import File, Image, Message, Part, Reasoning, Text, ToolCall

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "malformed_tool_call", "paused", "other"]


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
    cache_write_1h_tokens: int = 0
    """Those of the written ones that the vendor keeps for an hour instead of five minutes, at a price of their own (Anthropic)."""
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


class CitedSource(Struct, Documented, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Where a passage of the answer comes from, in one shape for OpenAI's annotations, Claude's citations and Gemini's grounding."""

    url: str = ""
    """The page's address; empty for a document of the caller's own."""
    title: str = ""
    """The page's or the document's title; empty: none is said."""
    text: str = ""
    """The passage of the source that is cited; empty where the vendor does not repeat it."""
    source: str = ""
    """What is cited where it has no address: a file's id, or the number of the document in the request, from 0. Empty: see `url`."""
    start: int | None = None
    """Where the cited passage begins in the answer's text, in characters from 0; None: not said."""
    end: int | None = None
    """Where it ends, that character not included; None: not said."""


class TokenLogprob(Struct, Documented, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """How likely the model thought one token of its answer."""

    token: str
    """The token as text; a part of a character where one was split."""
    logprob: float
    """The natural logarithm of its probability, at most 0."""
    top: tuple[tuple[str, float], ...] = ()
    """The likeliest tokens at this place with their logarithms, as many as were asked for; empty: none were."""


class AnswerEnd(Struct, Documented, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What is known of a streamed answer only at its end, beside text and usage; fields of the same names stand in ChatReply."""

    content: tuple[Part, ...] = ()
    """See `ChatReply.content`."""
    raw_json: bytes = b""
    """See `ChatReply.raw_json`."""
    response_id: str = ""
    """See `ChatReply.response_id`."""
    citations: tuple[CitedSource, ...] = ()
    """See `ChatReply.citations`."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """See `ChatReply.logprobs`."""


class ToolCallDelta(Struct, Documented, frozen=True, kw_only=True, omit_defaults=True, gc=False):
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
    extra: str = ""
    """The vendor's own fields of the call, whole in one piece; see `ToolCall.extra`. Empty in the others."""
    vendor: str = ""
    """Whose fields `extra` holds; see `Opaque.vendor`. Empty: there are none."""
    after: int | None = None
    """How many parts of the answer stand before the call; see `ToolCall.after`. None in all pieces but one, or in all."""


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
    """Beside text, what happened; "resumed": the answer begins anew on another target, so drop what you have. "thinking": the model has
    begun to think and shows nothing of it. Empty for all other deltas.
    """
    parts: tuple[Part, ...] = ()
    """Parts that have just become whole: pictures, and what only the vendor understands (its server's search). A sound comes in pieces."""
    end: AnswerEnd | None = None
    """What is known at the answer's end only, in the last delta; None before it, and where there is nothing to say."""
    events: tuple[bytes, ...] = ()
    """The data of the events since the delta before, as they came, where the stream was asked to keep them; empty for all others."""

    @property
    def is_content(self) -> bool:
        """True if a reader sees something: text, thought, a tool call, a picture."""
        return bool(self.text or self.tool_calls or self.reasoning or self.parts)

    @property
    def is_thinking(self) -> bool:
        """True if the model has begun to think and shows nothing of it: a sign of life, and nothing to read."""
        return self.marker == "thinking"

    @property
    def is_restart(self) -> bool:
        """True if the answer begins anew on another target: what came before it is no part of it."""
        return self.marker == "resumed"


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
    """Why it ended: "stop" (by itself), "length" (a token limit), "tool_calls", "content_filter", "refusal", "malformed_tool_call",
    "paused" (the vendor's servers go on when `message` is sent back to them: Anthropic's pause_turn) or "other".
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
    content: tuple[Part, ...] = ()
    """The answer's parts in the vendor's order, where it is more than text and tool calls; empty for all others. Read `parts`."""
    raw_json: bytes = b""
    """The vendor's own JSON as it came, of a stream put together in the form of a whole answer; empty: none was kept. Read `raw`."""
    response_id: str = ""
    """The vendor's id of this answer, in its body ("chatcmpl-...", "msg_..."); `request_id` is that of the request. Empty: it gave none."""
    citations: tuple[CitedSource, ...] = ()
    """Where passages of the answer come from, in its order. Empty: the vendor named no source."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """The answer's tokens with their probabilities, where they were asked for (`extra={"logprobs": True}`). Empty: they were not."""

    def __repr__(self) -> str:
        """What is not at its default; of the vendor's JSON the length alone."""
        told = [(name, getattr(self, name)) for name in self.__struct_fields__]
        shown = [
            f"{name}=<{len(value)} bytes>" if name == "raw_json" else f"{name}={value!r}"
            for name, value in told
            if value != DEFAULT_REPLY[name]
        ]
        return f"ChatReply({', '.join(shown)})"

    @property
    def raw(self) -> Any:
        """The vendor's own JSON, decoded at each reading; None where none was kept.

        Text where the server's answer was no JSON that anybody reads.
        """
        if not self.raw_json:
            return None
        try:
            return msgspec.json.decode(self.raw_json)
        except (ValueError, RecursionError):  # NaN, half an emoji: what our readers forgave
            text = self.raw_json.decode("utf-8", "replace")
        try:
            return json.loads(text, strict=False)
        except (ValueError, RecursionError):
            return text

    @property
    def parts(self) -> tuple[Part, ...]:
        """The answer's parts in the vendor's order: thoughts, text, pictures, sounds, and what only the vendor understands.

        Tool calls stand apart; `ToolCall.after` says where between the parts one stood.
        """
        if self.content:
            return self.content
        thoughts: tuple[Part, ...] = (Reasoning(text=self.reasoning, signature=self.signature),) if self.reasoning or self.signature else ()
        return (*thoughts, Text(self.text)) if self.text else thoughts

    @property
    def images(self) -> tuple[Image, ...]:
        """The pictures of the answer, in order."""
        return tuple(part for part in self.content if isinstance(part, Image))

    @property
    def audio(self) -> tuple[File, ...]:
        """The sounds of the answer, in order; what was said stands in `text`, too."""
        return tuple(part for part in self.content if isinstance(part, File) and part.media_type.startswith("audio/"))

    @property
    def invalid_tool_calls(self) -> tuple[ToolCall, ...]:
        """Tool calls whose arguments are not valid JSON; they carry the raw text and must not be run."""
        return tuple(call for call in self.tool_calls if call.error)

    @property
    def message(self) -> Message:
        """The answer as the next turn of the conversation, with all that its vendor wants back."""
        return Message(role="assistant", content=self.parts if self.content or self.signature else self.text, tool_calls=self.tool_calls)


DEFAULT_REPLY: dict[str, Any] = dict(zip(ChatReply.__struct_fields__, ChatReply.__struct_defaults__, strict=True))


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
