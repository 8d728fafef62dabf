"""Leaving out what does not fit, by a named rule: the oldest turns, or the passages with the lowest scores. Never a cut in mid-sentence.

A turn begins with what a person said and holds everything that followed from it, so a tool's result never stands without its call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.errors import ContextTooLong
from surefoot.types import Message
from surefoot.usage.tokens import estimate_message, estimate_text

T = TypeVar("T")
Count = Callable[[Message], int]


class Parted(Struct, Documented, frozen=True, kw_only=True):
    """A conversation in two: the standing instructions, what is left out (oldest first), and what is kept.

    `free_tokens` is what is free.
    """

    standing: list[Message]
    """System messages, which always stay."""
    left_out: list[Message]
    """Whole turns that do not fit, oldest first."""
    kept: list[Message]
    """The newest turns that fit, in order."""
    free_tokens: int
    """Tokens that are still free."""


def part(messages: Sequence[Message], *, window_tokens: int, count: Count = estimate_message) -> Parted:
    """The newest turns of `messages` that fit `window_tokens` beside the standing instructions, and the rest.

    Raises ContextTooLong, naming both numbers, if the instructions and the newest turn alone do not fit.
    """
    standing = [message for message in messages if message.role == "system"]
    turns = list(_turns(message for message in messages if message.role != "system"))
    free_tokens = window_tokens - sum(map(count, standing))
    first = len(turns)
    while first and (size := sum(map(count, turns[first - 1]))) <= free_tokens:
        free_tokens -= size
        first -= 1
    if turns and first == len(turns):
        needed = window_tokens - free_tokens + sum(map(count, turns[-1]))
        raise ContextTooLong(
            f"the newest turn and the instructions have about {needed} tokens, the window {window_tokens}; nothing was sent"
        )
    flat = [[message for turn in some for message in turn] for some in (turns[:first], turns[first:])]
    return Parted(standing=standing, left_out=flat[0], kept=flat[1], free_tokens=free_tokens)


def best(passages: Sequence[T], scores: Sequence[float], *, free_tokens: int, text: Callable[[T], str] = str, model: str = "") -> list[T]:
    """Those of `passages` with the highest scores that fit `free_tokens` together, in their own order; each whole or not at all.

    Of equal scores the earlier one wins. A passage too long for what is left is passed over for a shorter one below it.
    """
    kept: list[int] = []
    for at in sorted(range(len(passages)), key=lambda at: (-scores[at], at)):
        size = estimate_text(text(passages[at]), model=model)
        if size <= free_tokens:
            free_tokens -= size
            kept.append(at)
    return [passages[at] for at in sorted(kept)]


def _turns(messages: Iterator[Message]) -> Iterator[list[Message]]:
    turn: list[Message] = []
    for message in messages:
        if message.role == "user" and turn:
            yield turn
            turn = []
        turn.append(message)
    if turn:
        yield turn
