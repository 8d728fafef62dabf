"""A ChatReply and a stream's deltas into LlamaIndex's ChatResponses."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    AudioBlock,
    ChatMessage,
    ChatResponse,
    ContentBlock,
    ImageBlock,
    LogProb,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.llms.utils import parse_partial_json
from msgspec import to_builtins

from llama_index.llms.surefoot._messages import BROKEN, FINISH, SIGNATURES, said_calls
from surefoot.core.carried import KEY, carried
from surefoot.errors import InvalidOutput
from surefoot.types import ChatReply, Delta, ToolCall, ToolCallDelta, Usage


class Raw(dict[str, Any]):
    """The answer's own JSON as a dict whose keys are attributes, too: `raw["usage"]` and `raw.usage.prompt_tokens`, as people read.

    What is inside becomes one when it is looked at: most answers' is by nobody, and half of what `raw` cost went into that.
    """

    def __getattr__(self, name: str) -> Any:
        """The value of a key; an AttributeError where there is none."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __getitem__(self, name: str) -> Any:
        """The value of a key; dicts in it, also those in lists, have attributes as well."""
        value = super().__getitem__(name)
        if type(value) is dict or type(value) is list:
            value = self[name] = _raw(value)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a key, or `default`."""
        if name not in self:
            return default
        return self[name]

    def values(self) -> Any:
        """The values, as they are read by their keys."""
        return [self[name] for name in self]

    def items(self) -> Any:
        """The keys and their values, as they are read by their keys."""
        return [(name, self[name]) for name in self]


def _raw(value: Any) -> Any:
    if type(value) is dict:
        return Raw(value)
    return [_raw(one) for one in value] if type(value) is list else value


def response_out(reply: ChatReply, *, refusal: str = "") -> ChatResponse:
    """The whole answer; token counts stand where LlamaIndex's counters read them.

    An answer that a filter or the model withheld is one without text; its reason stands in `finish_reason`, and `refusal` beside it.
    """
    message = _whole_out(reply)
    if refusal:
        message.additional_kwargs["refusal"] = refusal
    more = {"citations": [to_builtins(one) for one in reply.citations]} if reply.citations else {}
    response = ChatResponse(
        message=message,
        raw=raw_out(reply),
        additional_kwargs={**usage_out(reply.usage), FINISH: reply.finish_reason, **more},
    )
    if reply.logprobs:
        response.logprobs = [
            [_likely(token, logprob) for token, logprob in one.top] or [_likely(one.token, one.logprob)] for one in reply.logprobs
        ]
    return response


def _likely(token: str, logprob: float) -> LogProb:
    return LogProb(token=token, logprob=logprob, bytes=list(token.encode("utf-8", "surrogatepass")))


def usage_out(usage: Usage) -> dict[str, int]:
    """Token counts in the words LlamaIndex reads."""
    return {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens, "total_tokens": usage.total_tokens}


def raw_out(reply: ChatReply) -> Raw:
    """The vendor's own JSON where there is some, with what is known of the answer beside its words under one name for all vendors.

    Plain values, so that events and memories can be stored.
    """
    usage = reply.usage
    own = reply.raw if reply.raw_json else None
    found: dict[str, Any] = own if isinstance(own, dict) else {}
    counts = {
        **usage_out(usage),
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": usage.audio_input_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": usage.audio_output_tokens},
        "cached_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "estimated": usage.estimated,
    }
    told = found.get("usage")
    found["usage"] = {**told, **counts} if isinstance(told, dict) else counts
    found |= {
        "model": reply.model,
        "target": reply.target,
        FINISH: reply.finish_reason,
        "attempts": reply.attempts,
        "cost_usd": reply.cost_usd,
        "cached": reply.cached,
        "request_id": reply.request_id,
        "response_id": reply.response_id,
    }
    return Raw(found)


def _media(reply: ChatReply) -> list[ContentBlock]:
    """Pictures and sounds, in base64: LlamaIndex takes bytes that happen to be some for it."""
    found: list[ContentBlock] = [
        ImageBlock(url=part.url) if part.url else ImageBlock(image=b64encode(part.data), image_mimetype=part.media_type)
        for part in reply.images
    ]
    found += [AudioBlock(audio=b64encode(part.data), format=part.media_type.removeprefix("audio/")) for part in reply.audio if part.data]
    return found


def _message_out(text: str, reasoning: str, signature: str, calls: Sequence[ToolCall]) -> ChatMessage:
    """An assistant message; tool calls stand both in blocks and in additional_kwargs, because LlamaIndex reads both."""
    blocks: list[ContentBlock] = []
    if reasoning or signature:
        blocks.append(ThinkingBlock(content=reasoning or None, additional_information={"signature": signature} if signature else {}))
    if text or not calls:
        blocks.append(TextBlock(text=text))
    extra: dict[str, Any] = {}
    blocks += [
        ToolCallBlock(tool_call_id=call.id, tool_name=call.name, tool_kwargs=call.arguments if call.error else call.parsed())
        for call in calls
    ]
    if calls:
        extra["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}} for call in calls
        ]
    if signatures := {call.id: call.signature for call in calls if call.signature}:
        extra[SIGNATURES] = signatures
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=extra)


def _whole_out(reply: ChatReply) -> ChatMessage:
    """The message of a whole answer, with the calls that must not be run: also those whose arguments look whole (the answer was cut)."""
    message = _message_out(reply.text, reply.reasoning, reply.signature, reply.tool_calls)
    if reply.content:
        message.blocks += _media(reply)
    if kept := carried(reply.content, reply.tool_calls):
        message.additional_kwargs[KEY] = kept
    if broken := {str(place): call.error for place, call in enumerate(reply.tool_calls) if call.error}:
        message.additional_kwargs[BROKEN] = broken
    return message


class Growing:
    """A streamed answer as LlamaIndex wants it: every response carries the message so far and the piece that is new."""

    def __init__(self) -> None:
        self._text = ""
        self._reasoning = ""
        self._calls: dict[int, list[ToolCallDelta]] = {}

    def add(self, delta: Delta) -> ChatResponse | None:
        """The response so far, or None for a delta a reader sees nothing of."""
        if not (delta.is_content or delta.is_restart):
            return None
        self._text += delta.text
        self._reasoning += delta.reasoning
        for piece in delta.tool_calls:
            self._calls.setdefault(piece.index, []).append(piece)
        extra: dict[str, Any] = {"thinking_delta": delta.reasoning} if delta.reasoning else {}
        if delta.is_restart:
            extra["marker"] = delta.marker  # a resumed stream begins again: the reader must be able to see where
        message = _message_out(self._text, self._reasoning, "", [_so_far(self._calls[index]) for index in sorted(self._calls)])
        return ChatResponse(message=message, delta=delta.text, raw=_piece(_delta_out(delta), None, delta.model), additional_kwargs=extra)

    @staticmethod
    def whole(reply: ChatReply, *, refusal: str = "") -> ChatResponse:
        """The last response: nothing new to read, usage and metadata beside the whole message."""
        last = response_out(reply, refusal=refusal)
        last.delta = ""
        last.raw = Raw({**_piece({}, reply.finish_reason, reply.model), **(last.raw or {})})
        return last


def _piece(delta: dict[str, Any], finish: str | None, model: str) -> Raw:
    """A piece of a stream as OpenAI's classes show it in `raw`, for all vendors: `raw.choices[0].delta.content`."""
    return Raw({"choices": [{"index": 0, "delta": delta, FINISH: finish}], "model": model, "usage": None})


def _delta_out(delta: Delta) -> dict[str, Any]:
    found: dict[str, Any] = {"content": delta.text}
    if delta.reasoning:
        found["reasoning_content"] = delta.reasoning
    if delta.tool_calls:
        found["tool_calls"] = [
            {
                "index": one.index,
                "id": one.id or None,
                "type": "function",
                "function": {"name": one.name or None, "arguments": one.arguments},
            }
            for one in delta.tool_calls
        ]
    return found


def _so_far(pieces: Sequence[ToolCallDelta]) -> ToolCall:
    """A call under way: its arguments are text until the end, whatever they look like."""
    return ToolCall(
        id=next((piece.id for piece in pieces if piece.id), ""),
        name="".join([piece.name for piece in pieces]),
        arguments="".join([piece.arguments for piece in pieces]),
        error="not whole yet",
    )


def selections_out(response: ChatResponse, *, tolerant: bool = False) -> list[ToolSelection]:
    """The tools a response calls. Of a stream under way, the arguments as far as they can be read.

    A tool is never run with half of its arguments. Raises InvalidOutput where a whole answer has a call with broken ones, or was cut; or,
    if `tolerant`, calls a tool that nobody has, so that an agent tells the model, in its name, what was wrong.
    """
    found: list[ToolSelection] = []
    broken: Mapping[str, str] = response.message.additional_kwargs.get(BROKEN) or {}
    for place, call in enumerate(said_calls(response.message)):
        why = broken.get(str(place), "")
        if not why:
            try:
                arguments = parsed(call, is_whole=FINISH in response.additional_kwargs)
            except InvalidOutput as error:
                why = str(error)
        if why and not tolerant:
            raise InvalidOutput(f"tool {call.name}: {why}; it was not run", partial=call.arguments)
        name = f"{call.name} (not run: {why}; call it again)" if why else call.name
        found.append(ToolSelection(tool_id=call.id, tool_name=name, tool_kwargs={} if why else arguments))
    return found


def parsed(call: ToolCall, *, is_whole: bool) -> dict[str, Any]:
    """The arguments of `call` as a dict; repaired only where more may come."""
    try:
        return call.parsed()
    except ValueError as broken:
        if is_whole:
            raise InvalidOutput(f"the model's arguments are no JSON object ({broken})", partial=call.arguments) from broken
    try:
        value = parse_partial_json(call.arguments)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
