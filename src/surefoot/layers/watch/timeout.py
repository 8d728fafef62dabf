"""The attempt's own limits: how long until the first token, and how long a silence in mid-stream.

Two timers, because read timeouts of HTTP clients are reset by pings: with a limit of 1 s, a stream of `: ping` every 0.3 s ran until
the server stopped. Only content counts here, and only time spent waiting for the provider: a slow reader trips nothing.
"""

from __future__ import annotations

from typing import Any

from surefoot.core.deadlines import CancelScope, deadline_of
from surefoot.core.stack import Handler
from surefoot.core.stream import Stream
from surefoot.errors import AttemptTimedOut, SurefootError
from surefoot.runtime.timers import TimerQueues
from surefoot.settings import DEFAULTS
from surefoot.types import Call, ChatRequest
from surefoot.types.calls import loop_of


class Timeout:
    """Ends one attempt that takes too long: `Timeout(target="openai:m", first_token_s=20, idle_s=20)`; None switches a timer off.

    `first_token_s` bounds a stream's first content and an embedding. A plain chat answer shows no first token, it arrives whole: it gets
    `whole_s` or, left out, half of the time left until the deadline but at least `first_token_s`, so that a long answer is not cut and
    paid for three times. Without a deadline whatever arrives whole, embeddings too, takes as long as it takes. When another target is at
    hand, no attempt takes more than half of the time left: a stalled one must leave time for the next. Raises AttemptTimedOut, which
    retry and fallback catch.
    """

    def __init__(
        self,
        *,
        target: str = "",
        first_token_s: float | None = DEFAULTS.first_token_s,
        idle_s: float | None = DEFAULTS.idle_s,
        whole_s: float | None = None,
    ) -> None:
        self.target = target
        self.first_token_s = first_token_s
        self.idle_s = idle_s
        self.whole_s = whole_s
        self._timers = TimerQueues()

    def describe(self) -> str:
        """The settings, for `describe()`."""
        return f"timeout: first token {_shown(self.first_token_s)}, silence {_shown(self.idle_s)}"

    async def __call__(self, call: Call[Any], inner: Handler) -> Any:
        """Ask, and watch the clock."""
        loop = loop_of(call)
        now = loop.time()
        deadline = deadline_of(call)
        limit_s = self._limit_s(call, None if deadline is None else deadline - now)
        if limit_s is None or (deadline is not None and deadline <= now + limit_s):
            answer = await inner(call)  # the deadline comes first and has its own timer
        else:
            scope = CancelScope(now + limit_s, limit_s, _late, call, self.target, True)
            self._timers.put(scope, loop)
            try:
                answer = await inner(call)
            except BaseException as error:
                scope.raised(error)
                raise
            scope.answered(answer, until_finished=False)
        if self.idle_s is not None and isinstance(answer, Stream):
            answer.guard_silence(self.idle_s)
        return answer

    def _limit_s(self, call: Call[Any], left_s: float | None) -> float | None:
        """Seconds this attempt may take until it is answered."""
        limit_s = self.first_token_s
        if not call.stream:
            is_chat = isinstance(call.request, ChatRequest)
            if is_chat and self.whole_s is not None:
                limit_s = self.whole_s
            elif left_s is None:
                return None
            elif is_chat and limit_s is not None:
                limit_s = max(limit_s, left_s / 2)
        if limit_s is not None and call.others and left_s is not None:
            return min(limit_s, left_s / 2)
        return limit_s


def _late(call: Call[Any], seconds: float, target: str) -> SurefootError:
    what = "first token" if call.stream else "answer"
    return AttemptTimedOut(f"{target}: no {what} within {seconds:g} s", target=target)


def _shown(seconds: float | None) -> str:
    return "off" if seconds is None else f"{seconds:g} s"
