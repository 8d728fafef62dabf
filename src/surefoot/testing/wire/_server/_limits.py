"""Requests and tokens per minute, as providers enforce them: three kinds of window, one per key."""

from __future__ import annotations

from collections import deque
from typing import Literal

import msgspec

WindowKind = Literal["fixed", "sliding", "bucket"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider allows one key. None is unlimited.

    `window` is "fixed" (counts start again every `window_s`), "sliding" (the last `window_s` seconds count) or "bucket" (refills evenly,
    holds one window's worth). `tokens_per_minute` counts input and output together; with `output_tokens_per_minute` it counts input
    alone. `in_flight` bounds requests at the same time. Rates are per minute whatever `window_s` is.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    output_tokens_per_minute: float | None = None
    in_flight: int | None = None
    window: WindowKind = "sliding"
    window_s: float = 60.0


class Level(msgspec.Struct, frozen=True):
    """What a header tells: the limit per minute, what remains of the window, and in how many seconds that is whole again.

    A vendor names its limits per minute also where it enforces them over shorter times (OpenAI, "Rate limits").
    """

    limit: int
    remaining: int
    reset_s: float


class LimitWindow:
    """One counter. `wait_s(n)` says how long until `n` fit (0 = now); `take(n)` books them."""

    def __init__(self, per_minute: float, kind: WindowKind, window_s: float) -> None:
        """`per_minute` is the rate; the window holds `per_minute * window_s / 60`."""
        self.size = per_minute * window_s / 60.0
        self._per_minute = per_minute
        self._kind = kind
        self._window_s = window_s
        self._used = 0.0
        self._at = -1.0
        self._log: deque[tuple[float, float]] = deque()

    def wait_s(self, n: float, now_s: float) -> float:
        """Seconds until `n` fit; what never fits waits a whole window."""
        self._roll(now_s)
        over = self._used + n - self.size
        if over <= 1e-9:
            return 0.0
        if n > self.size:
            return self._window_s
        if self._kind == "fixed":
            return self._at + self._window_s - now_s
        if self._kind == "bucket":
            return over * self._window_s / self.size
        for at_s, amount in self._log:
            over -= amount
            if over <= 1e-9:
                return at_s + self._window_s - now_s
        return self._window_s

    def take(self, n: float, now_s: float) -> None:
        """Book `n`."""
        self._roll(now_s)
        self._used += n
        if self._kind == "sliding":
            self._log.append((now_s, n))

    def level(self, now_s: float) -> Level:
        """What the headers say now."""
        self._roll(now_s)
        remaining = int(max(0.0, self.size - self._used) + 1e-9)
        if self._kind == "fixed":
            reset = self._at + self._window_s - now_s
        elif self._kind == "bucket":
            reset = self._used * self._window_s / self.size
        else:
            reset = self._log[-1][0] + self._window_s - now_s if self._log else 0.0
        return Level(int(self._per_minute), remaining, max(0.0, reset))

    def _roll(self, now_s: float) -> None:
        if self._at < 0:
            self._at = now_s
        if self._kind == "fixed":
            if now_s - self._at >= self._window_s:
                self._at += (now_s - self._at) // self._window_s * self._window_s
                self._used = 0.0
        elif self._kind == "bucket":
            self._used = max(0.0, self._used - (now_s - self._at) * self.size / self._window_s)
            self._at = now_s
        else:
            while self._log and now_s - self._log[0][0] >= self._window_s:
                self._used -= self._log.popleft()[1]


class Quota:
    """The windows of one key."""

    def __init__(self, limits: Limits) -> None:
        """All windows start empty."""
        self.limits = limits

        def window(rate: float | None) -> LimitWindow | None:
            return None if rate is None else LimitWindow(rate, limits.window, limits.window_s)

        self.requests = window(limits.requests_per_minute)
        self.tokens = window(limits.tokens_per_minute)
        self.output = window(limits.output_tokens_per_minute)

    def admit(self, input_tokens: int, output_tokens: int, now_s: float) -> tuple[str, float]:
        """("", 0) and booked, or what is exhausted ("requests", "tokens", "output tokens") and the seconds until it fits."""
        tokens = input_tokens if self.output is not None else input_tokens + output_tokens
        asked = (("requests", self.requests, 1), ("tokens", self.tokens, tokens), ("output tokens", self.output, output_tokens))
        waits = [(window.wait_s(n, now_s), what) for what, window, n in asked if window is not None]
        longest = max(waits, default=(0.0, ""))
        if longest[0] > 0:
            return longest[1], longest[0]
        for _, window, n in asked:
            if window is not None:
                window.take(n, now_s)
        return "", 0.0
