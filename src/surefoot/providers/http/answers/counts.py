"""Tokens as servers count them: numbers, text, null, nothing at all, or twice; what nobody counted is estimated, and flagged as that."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from msgspec.structs import replace

from surefoot.types import ChatReply, ChatRequest, Delta, EmbedRequest, Usage
from surefoot.usage.tokens import guess_usage

LONGEST = 20  # letters of a count that came as text
MOST = 10**12  # tokens; what is more is no count


def count(where: Any, *names: str) -> int:
    """The first count under `names` that says anything: at least 0, also where it came as text; 0 where there is none."""
    if type(where) is not dict:
        return 0
    for name in names:
        value = where.get(name)
        if value is None:
            continue
        if type(value) is not int:
            value = number_of(value)
        if 0 < value < MOST:
            return int(value)
    return 0


def number_of(value: Any) -> float:
    """A count that is no plain number as one; 0 for what is none."""
    if isinstance(value, str) and len(value) <= LONGEST and value.isascii():
        try:
            value = float(value.replace(",", ""))
        except ValueError:
            return 0
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return value if isinstance(value, int) or isfinite(value) else 0


def larger(old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, Any] | None:
    """Two reports of one answer as one: of each count the larger.

    Reports of a stream are cumulative, so the last one is usually the largest; some servers end with one of zeros, or without the prompt.
    """
    if not old or not new:
        return new or old
    found = dict(old)
    for name, value in new.items():
        before = found.get(name)
        if before is None or value is None:
            found[name] = before if value is None else value
        elif isinstance(before, dict) and isinstance(value, dict):
            found[name] = larger(before, value)
        elif not (number_of(before) > number_of(value)):
            found[name] = value
    return found


def counted(usage: Usage | None, request: ChatRequest | EmbedRequest, said: str, *, target: str) -> Usage:
    """`usage` with what the server left out, or counted as 0, estimated from the prompt and what it `said`."""
    if usage is not None and usage.input_tokens and (usage.output_tokens or not said):
        return usage
    usage = usage or Usage()
    guessed = guess_usage(request, said, model=target)
    inputs = usage.input_tokens or guessed.input_tokens
    return replace(usage, input_tokens=inputs, output_tokens=usage.output_tokens or guessed.output_tokens, estimated=True)


def with_usage(reply: ChatReply, request: ChatRequest) -> ChatReply:
    """A whole answer with all its tokens counted."""
    usage = reply.usage
    if usage.input_tokens and usage.output_tokens:
        return reply
    said = reply.reasoning + reply.text + "".join([call.name + call.arguments for call in reply.tool_calls])
    found = counted(usage, request, said, target=reply.target)
    return reply if found is usage else replace(reply, usage=found)


class EndOfStream:
    """Counts the tokens of a streamed answer where its last delta does not: `EndOfStream(request, "openai:m")(last, deltas, usage)`."""

    __slots__ = ("_request", "_target")

    def __init__(self, request: ChatRequest, target: str) -> None:
        self._request = request
        self._target = target

    def __call__(self, last: Delta, before: Sequence[Delta], usage: Usage | None) -> Delta:
        """The last delta with usage; `before` are all others, `usage` is the latest of theirs."""
        told = last.usage or usage
        if told is not None and told.input_tokens and told.output_tokens:
            return last
        said = "".join(
            [one.reasoning + one.text + "".join([call.name + call.arguments for call in one.tool_calls]) for one in (*before, last)]
        )
        found = counted(told, self._request, said, target=self._target)
        return last if found is last.usage else replace(last, usage=found)
