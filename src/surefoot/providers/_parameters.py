"""What a model does not take as it was asked: left out, or sent as the nearest that it takes, and told once; or refused unsent."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from surefoot.errors import BadRequest
from surefoot.events import LeftOut, emit
from surefoot.types import Call, ChatRequest

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")  # all words of all vendors, from least to most


TOLD = 1_000  # remembered of one target; a caller may make names of models up


class LeftOutNotes:
    """Tells once a target, model and parameter what was not sent as it was asked, as a LeftOut event and a line in `logger`."""

    def __init__(self, target: str, logger: logging.Logger) -> None:
        self._target = target
        self._logger = logger
        self._told: set[tuple[str, str]] = set()

    def emit(self, call: Call[ChatRequest], model: str, names: Iterable[str]) -> None:
        """Tell of `names`, as far as they have not been told of."""
        new = tuple(dict.fromkeys(name for name in names if (model, name) not in self._told))
        if new:
            if len(self._told) >= TOLD:
                self._told.clear()
            self._told.update((model, name) for name in new)
            self._logger.warning(
                "%s: %s does not take %s as asked; sent without, or as the nearest that it takes", self._target, model, ", ".join(new)
            )
            emit(call, LeftOut, target=self._target, model=model, parameters=new)


def note(left_out: list[str] | None, name: str) -> None:
    """Add `name` to what is to be told."""
    if left_out is not None:
        left_out.append(name)


def nearest_effort(effort: str, known: Sequence[str], *, target: str, model: str, left_out: list[str] | None) -> str:
    """`effort`, or the nearest of the words that the model knows, which is noted; of two equally near the one that thinks more.

    "" where it knows none. Raises BadRequest for what is no vendor's word.
    """
    if effort in known:
        return effort
    if effort not in EFFORTS:
        raise BadRequest(
            f"{target}: reasoning_effort={effort!r} is no effort; {model} knows {', '.join(known) or 'none at all'}; nothing was sent",
            target=target, code="reasoning_effort",
        )  # fmt: skip
    note(left_out, "reasoning_effort")
    at = EFFORTS.index(effort)
    return min(known, key=lambda word: (abs(EFFORTS.index(word) - at), -EFFORTS.index(word)), default="")


def bounded_tokens(asked: int | None, limit: int | None, left_out: list[str] | None) -> int | None:
    """`asked` tokens of an answer, or the model's limit where that is less: a vendor answers more with a 400."""
    if asked is None or limit is None or asked <= limit:
        return asked
    note(left_out, "max_tokens")
    return limit


def check_stops(stop: Sequence[str], most: int, *, target: str) -> None:
    """Raise BadRequest (nothing is sent) for more stop sequences than the vendor takes: an answer that ran on would look like any other."""
    if len(stop) > most:
        raise BadRequest(f"{target}: {len(stop)} stop sequences, at most {most} are taken; nothing was sent", target=target, code="stop")


def differs(value: Any, default: Any) -> bool:
    """Whether leaving out `value` changes anything, where the vendor's own default is `default`."""
    return value is not None and value != default
