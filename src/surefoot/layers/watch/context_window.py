"""Keeps a conversation within the model's window by the rule that was chosen, and says what it left out.

"drop_oldest" leaves the oldest turns out, whole. "summarise" asks the model itself to sum them up in a few sentences, which then stand
among the instructions; that is one call more, paid for and within the same limits and deadline. Without this layer a prompt that does not
fit is refused before it is sent (fallback does that). It stands behind the cache: the same question finds the same answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from msgspec.structs import replace

from surefoot.core.stack import Handler
from surefoot.core.stream import Stream, collect
from surefoot.errors import ContextTooLong
from surefoot.events import Trimmed, emit
from surefoot.types import Call, CallState, ChatRequest, Message
from surefoot.usage.tokens import DEFAULT_OUTPUT_TOKENS, estimate_message, estimate_window
from surefoot.usage.trim import Parted, part

SUMMARY_TOKENS = 256  # a paragraph: enough for names, numbers and decisions; of a small window an eighth
MARKS = 16  # for the marks between pieces
ASK = (
    "Sum up the conversation below in at most 120 words, in its own language, for somebody who goes on with it: who is who, what was "
    "asked, what was decided, which numbers and names were said. Only the summary."
)


class ContextWindow:
    """`ContextWindow(tokens=128_000, how="drop_oldest")`: prompts estimated above `tokens`, less the answer's share, are shortened.

    `tokens()` may be a function, since a model's window can be known only once its endpoint exists; None there means unknown, and nothing
    is touched. Raises ContextTooLong (nothing sent) if the instructions and the newest turn alone do not fit.
    """

    def __init__(
        self,
        *,
        tokens: int | Callable[[], int | None] | None = None,
        how: Literal["drop_oldest", "summarise"] = "drop_oldest",
        model: str = "",
    ) -> None:
        self._tokens = tokens if callable(tokens) else lambda: tokens
        self.how = how
        self.model = model

    def describe(self) -> str:
        """One line for `describe()`."""
        size = self._tokens()
        return f"window: {self.how} beyond {'an unknown window' if size is None else f'{size:,} tokens'}"

    async def __call__(self, call: Call[Any], inner: Handler) -> Any:
        """Ask, with what fits."""
        request, size = call.request, self._tokens()
        if size is None or not isinstance(request, ChatRequest):
            return await inner(call)
        answer = request.max_tokens or min(DEFAULT_OUTPUT_TOKENS, size // 4)
        before = estimate_window(replace(request, max_tokens=None), model=self.model)
        if before + answer <= size:
            return await inner(call)
        beside = before - sum(map(self._count, request.messages))  # tools and schema
        free_tokens = size - answer - beside
        parted = part(request.messages, window_tokens=free_tokens, count=self._count)
        messages = [*parted.standing, *parted.kept]
        if self.how == "summarise" and parted.left_out:
            messages = await self._summed(call, inner, request, free_tokens, size)
        kept = set(map(id, messages))
        emit(call, Trimmed, how=self.how, messages=sum(id(one) not in kept for one in request.messages), tokens=before, window=size)
        return await inner(replace(call, request=replace(request, messages=tuple(messages))))

    def _count(self, message: Message) -> int:
        return estimate_message(message, model=self.model)

    async def _summed(self, call: Call[Any], inner: Handler, request: ChatRequest, free_tokens: int, size: int) -> list[Message]:
        """The newest turns, and a summary of the others among the instructions."""
        parted = part(request.messages, window_tokens=free_tokens - _share(size), count=self._count)
        summary = await self._summary(call, inner, parted, size)
        told = Message.system(f"Earlier in this conversation: {summary}")
        if self._count(told) > free_tokens - sum(map(self._count, (*parted.standing, *parted.kept))):
            raise ContextTooLong(f"the summary of the earlier turns does not fit the window of {size} tokens either; nothing more was sent")
        return [*parted.standing, told, *parted.kept]

    async def _summary(self, call: Call[Any], inner: Handler, parted: Parted, size: int) -> str:
        """What was said, summed up piece by piece where it does not fit at once."""
        summary = ""
        lines = [f"{one.role}: {one.text}" for one in parted.left_out if one.text]
        while lines:
            piece = [f"Summary so far: {summary}"] if summary else []
            free_tokens = size - _share(size) - self._count(Message.system(ASK)) - self._count(Message.user("\n".join(piece))) - MARKS
            taken = 0
            while taken < len(lines) and (cost := self._count(Message.user(lines[taken]))) <= free_tokens:
                free_tokens -= cost
                taken += 1
            if not taken:
                raise ContextTooLong(f"one message alone is longer than the window of {size} tokens, so that it cannot be summed up")
            piece, lines = piece + lines[:taken], lines[taken:]
            asked = ChatRequest(messages=(Message.system(ASK), Message.user("\n".join(piece))), max_tokens=_share(size))
            summary = await self._ask(call, inner, asked)
        return summary

    async def _ask(self, call: Call[Any], inner: Handler, request: ChatRequest) -> str:
        """One question of ours; what it cost stands in the call's trail, its attempts are its own."""
        state = CallState(call.state.listeners, call.state.call_id)
        try:
            answer = await inner(replace(call, request=request, state=state, stream=False))
        finally:
            for attempt in state.trail:
                attempt.number = len(call.state.trail) + 1
                call.state.trail.append(attempt)
        reply = await collect(answer) if isinstance(answer, Stream) else answer
        return str(reply.text)


def _share(size: int) -> int:
    """Tokens of a summary in a window of `size`."""
    return min(SUMMARY_TOKENS, size // 8)
