"""The tool calls of an OpenAI answer: their JSON, and which piece of a stream belongs to which call.

By the protocol each piece carries the call's index, the first one its id and name. Servers leave out the index or the id, give index 0 to
all calls, repeat the name with each piece, or send a call that came in pieces once more as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from surefoot.providers.http.answers import lenient
from surefoot.providers.openai.shapes import OpenAICall, OpenAIFunction, Said
from surefoot.types import ToolCallDelta


def calls_of(said: Said) -> Sequence[OpenAICall]:
    """A message's tool calls, that of the old protocol included."""
    if said.tool_calls or said.function_call is None:
        return said.tool_calls or ()
    return (OpenAICall(index=0, function=said.function_call),)


def arguments_of(function: OpenAIFunction | None) -> str:
    """A call's arguments as text, also where a server sent the object itself; "" where there are none."""
    raw = lenient.raw_text(function.arguments) if function is not None else ""
    if raw[:1] == '"':
        return lenient.text_of(lenient.value_of(Raw(raw.encode())))
    return "" if raw in {"null", "[]"} else raw


class CallSoFar:
    """A tool call under way: what has come of it."""

    __slots__ = ("_arguments", "extra", "id", "is_empty", "name")

    def __init__(self) -> None:
        self.extra: dict[str, Any] = {}  # the server's own fields
        self.is_empty = False  # an empty object has come
        self.id = ""
        self.name = ""
        self._arguments: list[str] = []

    def add(self, arguments: str) -> None:
        """The next piece of its arguments."""
        self._arguments.append(arguments)

    @property
    def arguments(self) -> str:
        """Its arguments so far."""
        if len(self._arguments) > 1:
            self._arguments = ["".join(self._arguments)]
        return self._arguments[0].strip() if self._arguments else ""

    def is_whole(self) -> bool:
        """Whether its arguments are a JSON object already."""
        text = self.arguments
        if not text:
            return self.is_empty
        if text[-1:] != "}":
            return False
        try:
            msgspec.json.decode(text, type=dict[str, Raw])
        except (ValueError, RecursionError):
            return False
        return True

    def is_said_again(self, arguments: str) -> bool:
        """Whether `arguments` are all that it has said so far, once more."""
        return arguments[-1:] == "}" and arguments == self.arguments and self.is_whole()


class CallPieces:
    """Gives each piece of a stream's tool calls the index of the call that it belongs to, counted in the order in which they began.

    `names` are the tools that the model may call: the rest of a name is told from another call's name by them.
    """

    __slots__ = ("_by_index", "_names", "calls")

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(names)
        self.calls: list[CallSoFar] = []
        self._by_index: dict[int, int] = {}  # the server's index -> ours

    def add(self, piece: OpenAICall) -> tuple[CallSoFar, ToolCallDelta | None]:
        """The call that a piece belongs to, and the piece as ours; None for one that says nothing new."""
        function = piece.function
        name = (function.name if function is not None else "") or ""
        arguments = arguments_of(function)
        number = self._number(piece, name, arguments)
        is_first = number == len(self.calls)
        if is_first:
            self.calls.append(CallSoFar())
        if piece.index is not None:
            self._by_index[piece.index] = number
        known = self.calls[number]
        if not is_first and arguments and (name or piece.id) and known.is_said_again(arguments.strip()):
            arguments = ""
        if arguments == "{}" and not known.arguments:
            known.is_empty, arguments = True, ""  # what comes next may be the arguments; and if nothing does, none are meant
        if name == known.name:
            name = ""  # repeated with every piece by some servers; pieces of a name are joined
        told_id = "" if known.id else piece.id or ""
        known.id, known.name = known.id or told_id, known.name + name
        if arguments:
            known.add(arguments)
        elif not (is_first or name or told_id):
            return known, None
        return known, ToolCallDelta(index=number, id=told_id, name=name, arguments=arguments)

    def _number(self, piece: OpenAICall, name: str, arguments: str) -> int:
        """The place of the call that a piece belongs to; the number of all calls for a new one."""
        calls, new = self.calls, len(self.calls)
        number = max(new - 1, 0) if piece.index is None else self._by_index.get(piece.index, new)
        if piece.id:
            same = next((place for place, one in enumerate(calls) if one.id == piece.id), None)
            if same is not None:
                return same
            if number < new and calls[number].id:
                return new
        if number < new and name and self._begins(calls[number], name, arguments.strip()):
            return new
        return number

    def _begins(self, call: CallSoFar, name: str, arguments: str) -> bool:
        """Whether a piece with a name begins another call than `call`, to which its index points."""
        if not call.name:
            return False
        if name != call.name:
            return call.is_whole() or (call.name in self._names and name in self._names)
        return bool(arguments and call.arguments) and call.is_whole() and not call.is_said_again(arguments)
