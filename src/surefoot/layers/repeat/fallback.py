"""Asks the next target when one cannot answer, and only targets that can.

What moves a call on, and what does not:

* Transient faults, Exhausted, CircuitOpen and QueueFull: the target is in trouble, the next one may not be. DeadlineTooNear: its queue is
  too long for this call, the next one's may not be.
* AuthFailed, QuotaExhausted, NotFound: this account or model is out, the next one is another.
* ContextTooLong: to a larger window (or one of unknown size) only. ContentRefused: filters differ between vendors.
* Not BadRequest: it is the caller's own mistake; the next vendor would refuse it too, or worse, take it in another sense, and the
  mistake would show only as a bill. Not BudgetExceeded: another target would spend what was refused. Never a cancellation.

Embeddings move only within one embedding space id: equal dimensions are not an equal space, and one foreign vector spoils an index.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec.structs import replace

from surefoot.core.stack import Handler, names_of, traits_of
from surefoot.errors import (
    AuthFailed,
    CircuitOpen,
    ContentRefused,
    ContextTooLong,
    DeadlineTooNear,
    Exhausted,
    NotFound,
    QueueFull,
    QuotaExhausted,
    SurefootError,
    Transient,
    Unsupported,
)
from surefoot.events import FellBack, emit
from surefoot.types import Call, ChatRequest, EmbedReply, EmbedRequest, File, Image, Traits

MOVES_ON = (Transient, AuthFailed, QuotaExhausted, NotFound, ContextTooLong, ContentRefused, CircuitOpen, QueueFull, DeadlineTooNear)
BYTES_PER_CHARACTER = 4  # a tokenizer never makes more tokens than UTF-8 bytes, so a text of n characters has at most 4 n tokens


class Fallback:
    """Targets in order of preference: `Fallback(handlers=(a, b), traits=(a_traits, b_traits), attempts=6)`.

    `names` and `traits` are read off the handlers where left out; `attempts` bounds the wire attempts over all targets (None: no bound).
    `estimate(request)` gives the prompt's tokens; it is asked only when a window is known and the text could be too long for it.
    Raises Unsupported or ContextTooLong (nothing sent) when no target can do what is asked, the error itself when one failure was all,
    Exhausted with every failure in order otherwise.
    """

    def __init__(
        self,
        *,
        handlers: Sequence[Handler],
        names: Sequence[str] | None = None,
        traits: Sequence[Traits] | None = None,
        attempts: int | None = None,
        estimate: Callable[[Any], int] | None = None,
    ) -> None:
        self.handlers = tuple(handlers)
        self.names = names_of(handlers) if names is None else tuple(names)
        self.traits = traits_of(handlers) if traits is None else tuple(traits)
        self.attempts = attempts
        self.estimate = estimate
        self.space = self.traits[0].space
        windows = [one.context_tokens for one in self.traits if one.context_tokens is not None]
        self._smallest = min(windows, default=None)
        self._picky = any(not (one.tools and one.vision and one.pdf and one.schema and one.chat) for one in self.traits)
        self._all = tuple(range(len(self.handlers)))

    def describe(self) -> str:
        """One line for `describe()`; the targets follow."""
        return f"fallback: {len(self.handlers)} targets, in order of preference"

    def __call__(self, call: Call[Any], inner: Handler | None = None) -> Awaitable[Any]:  # noqa: ARG002 - it has handlers instead
        """Ask the first target that can answer; the next ones as far as needed."""
        rest = self._able(call.request)
        if len(rest) == 1:  # its errors are the call's: nobody else can help
            return self.handlers[rest[0]](self._addressed(call, rest[0]))
        return self._ask(call, rest)

    async def _ask(self, call: Call[Any], rest: Sequence[int]) -> Any:
        """The targets `rest`, in order."""
        if broken := call.state.broken_targets:  # resume: elsewhere first
            rest = sorted(rest, key=lambda index: self.names[index] in broken)
        errors: list[SurefootError] = []
        while True:
            index, rest = rest[0], rest[1:]
            try:
                asked = self._addressed(call, index)
                answer = await self.handlers[index](replace(asked, others=True) if rest else asked)
            except SurefootError as error:
                failure = error
            else:
                if not errors or not isinstance(answer, EmbedReply) or answer.space == self.space:
                    return answer
                failure = Unsupported(f"{self.names[index]} answered in embedding space {answer.space!r}, not {self.space!r}: dropped")
            errors.append(failure)
            last = failure.last if isinstance(failure, Exhausted) else failure
            rest = self._after(last, index, rest)
            if not rest or (self.attempts is not None and call.state.attempts >= self.attempts):
                raise Exhausted.of(errors, "targets asked failed") from (None if len(errors) > 1 else failure.__cause__)
            call.state.next_kind = "fallback"
            call.state.next_wait_s = 0.0
            emit(call, FellBack, target=self.names[index], next_target=self.names[rest[0]], cause=type(last).__name__)

    def _addressed(self, call: Call[Any], index: int) -> Call[Any]:
        """`call` for target `index`: a model named for this request, and another vendor's extra fields, are the first target's own.

        So are they for another model at another server of one protocol, and an effort with them: some refuse what they do not know.
        """
        request = call.request
        if index == 0 or not isinstance(request, ChatRequest):
            return call
        is_foreign = self.names[index].partition(":")[0] != self.names[0].partition(":")[0]
        is_elsewhere = not is_foreign and self.traits[index].host != self.traits[0].host and self.names[index] != self.names[0]
        if not request.model and not ((is_foreign or is_elsewhere) and (request.extra or request.reasoning_effort)):
            return call
        extra = "" if is_foreign or is_elsewhere else request.extra
        effort = "" if is_elsewhere and self.traits[index].host else request.reasoning_effort
        return replace(call, request=replace(request, model="", extra=extra, reasoning_effort=effort))

    def _after(self, last: SurefootError, index: int, rest: Sequence[int]) -> Sequence[int]:
        """The targets that may still help after `last` at target `index`."""
        if not isinstance(last, (*MOVES_ON, Unsupported)):
            return ()
        if isinstance(last, ContextTooLong):
            tried = self.traits[index].context_tokens or 0
            return [other for other in rest if (self.traits[other].context_tokens or tried + 1) > tried]
        return rest

    def _able(self, request: Any) -> Sequence[int]:
        """The targets that can do what `request` asks, in order. Raises Unsupported or ContextTooLong if there is none."""
        if isinstance(request, EmbedRequest):
            return [i for i in self._all if i == 0 or (self.space and self.traits[i].space == self.space)]
        able: Sequence[int] = self._all
        if self._picky:
            needs = _needs(request)
            able = [i for i in able if all(getattr(self.traits[i], need) for need in needs)]
            if not able:
                wants = ", ".join(sorted(needs - {"chat"})) or "chat"
                raise Unsupported(f"none of {', '.join(self.names)} can do {wants}; nothing was sent")
        if self._smallest is None or self.estimate is None or _longest(request) <= self._smallest:
            return able
        tokens = self.estimate(request)
        fitting = [i for i in able if tokens <= (self.traits[i].context_tokens or tokens)]
        if not fitting:
            largest = max(self.traits[i].context_tokens or 0 for i in able)
            raise ContextTooLong(f"the prompt has about {tokens} tokens, the largest window at hand {largest}; nothing was sent")
        return fitting


def _needs(request: ChatRequest) -> set[str]:
    """What a target must be able to do, as names of Traits."""
    needs = {"chat"}
    if request.tools:
        needs.add("tools")
    if request.schema is not None:
        needs.add("schema")
    for message in request.messages:
        if isinstance(message.content, tuple):
            for part in message.content:
                if isinstance(part, Image):
                    needs.add("vision")
                elif isinstance(part, File) and part.media_type == "application/pdf":
                    needs.add("pdf")
    return needs


def _longest(request: ChatRequest) -> float:
    """An upper bound of the prompt's tokens, cheap; infinite when something besides text is in it."""
    if request.tools or request.schema is not None:
        return float("inf")
    if not all(isinstance(message.content, str) and not message.tool_calls for message in request.messages):
        return float("inf")
    characters = sum(len(message.content) + 16 for message in request.messages)  # 16: the turn's own marks, generously
    return characters * BYTES_PER_CHARACTER
