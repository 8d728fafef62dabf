"""Faults on demand, by seed: so that a test, or a rehearsal in staging, sees what a bad day brings.

The innermost layer: everything above it takes a fault for the provider's own. Each call draws once for a fault and once for latency;
the same seed and the same order of calls give the same faults.
"""

from __future__ import annotations

import asyncio
import difflib
import random
from collections.abc import Callable, Mapping
from typing import Any

from surefoot.core.stack import Handler
from surefoot.core.stream import Stream, open_stream
from surefoot.errors import (
    AttemptTimedOut,
    AuthFailed,
    BadRequest,
    ConnectionLost,
    ContentRefused,
    ContextTooLong,
    Fault,
    MalformedReply,
    Misconfigured,
    NotFound,
    Overloaded,
    QuotaExhausted,
    RateLimited,
)
from surefoot.types import Call, Delta

HINT_S = 2.0  # what the injected 429 asks for: long enough to see that it is waited for
STALL_S = 1e7  # four months: no deadline reaches so far

FAULTS: dict[str, Callable[[str], Fault]] = {
    "rate_limited": lambda target: RateLimited("chaos: 429 without a hint", status=429, target=target),
    "rate_limited_hint": lambda target: RateLimited("chaos: 429 with a hint", status=429, retry_after_s=HINT_S, target=target),
    "server_error": lambda target: Overloaded("chaos: 500", status=500, target=target),
    "overloaded": lambda target: Overloaded("chaos: 529 overloaded", status=529, code="overloaded_error", target=target),
    "reset": lambda target: ConnectionLost("chaos: connection reset", target=target),
    "timed_out": lambda target: AttemptTimedOut("chaos: connect timed out", target=target),
    "html": lambda target: MalformedReply("chaos: an HTML page with status 200", status=200, target=target),
    "no_choices": lambda target: MalformedReply("chaos: choices: null", status=200, target=target),
    "quota": lambda target: QuotaExhausted("chaos: insufficient_quota", status=429, code="insufficient_quota", target=target),
    "auth": lambda target: AuthFailed("chaos: invalid key", status=401, target=target),
    "not_found": lambda target: NotFound("chaos: no such model", status=404, target=target),
    "bad_request": lambda target: BadRequest("chaos: no such field", status=400, target=target),
    "too_long": lambda target: ContextTooLong("chaos: context_length_exceeded", status=400, target=target),
    "refused": lambda target: ContentRefused("chaos: content filter", status=400, target=target),
}
# In the middle of a stream; a plain call gets "reset" instead, or a stall.
STREAM_FAULTS = ("truncated", "cut", "error_midway", "stalled_midway")
KINDS = (*FAULTS, *STREAM_FAULTS, "stalled")
PASSING = ("rate_limited", "rate_limited_hint", "server_error", "overloaded", "reset", "timed_out", "html", "no_choices")


class Chaos:
    """Injects faults at given rates: `Chaos(seed=7, rates={"overloaded": 0.1, "truncated": 0.05}, slow_rate=0.02, slow_s=5)`.

    `rates` maps KINDS to shares of calls (together at most 1). "stalled" never answers; "truncated" ends a stream cleanly in its middle,
    "cut" resets it, "error_midway" sends an error event, "stalled_midway" falls silent. Independently, a share `slow_rate` of calls is
    `slow_s` late. `draw` overrides `seed`. Raises Misconfigured for an unknown kind or rates above 1.
    """

    def __init__(
        self,
        *,
        rates: Mapping[str, float] | None = None,
        slow_rate: float = 0.0,
        slow_s: float = 1.0,
        seed: int = 0,
        draw: Callable[[], float] | None = None,
        target: str = "",
    ) -> None:
        self.rates = dict(rates or {})
        for kind in self.rates:
            if kind not in KINDS:
                near = difflib.get_close_matches(kind, KINDS, n=1)
                raise Misconfigured(
                    f"chaos: unknown fault {kind!r}{f', did you mean {near[0]!r}' if near else ''}; known: {', '.join(KINDS)}"
                )
        if sum(self.rates.values()) > 1 or not 0 <= slow_rate <= 1 or any(rate < 0 for rate in self.rates.values()):
            raise Misconfigured(f"chaos: rates {self.rates} and slow_rate {slow_rate} must be shares, together at most 1")
        self.slow_rate = slow_rate
        self.slow_s = slow_s
        self.target = target
        self.draw = draw or random.Random(seed).random  # noqa: S311 - chaos by seed

    @classmethod
    def passing(cls, rate: float, *, seed: int = 0, target: str = "") -> Chaos:
        """Every fault that may pass by itself, in equal parts, `rate` together."""
        return cls(rates={kind: rate / len(PASSING) for kind in PASSING}, seed=seed, target=target)

    def describe(self) -> str:
        """The rates, for `describe()`."""
        return f"chaos: {', '.join(f'{kind} {rate:g}' for kind, rate in self.rates.items()) or 'no faults'}"

    async def __call__(self, call: Call[Any], inner: Handler) -> Any:
        """Ask, or fail in the provider's name."""
        kind = self._kind(self.draw())
        if self.slow_rate and self.draw() < self.slow_rate:
            await asyncio.sleep(self.slow_s)
        if kind is None:
            return await inner(call)
        if kind in FAULTS:
            raise FAULTS[kind](self.target)
        if kind == "stalled" or (kind == "stalled_midway" and not call.stream):
            await asyncio.sleep(STALL_S)
        answer = await inner(call)
        if not isinstance(answer, Stream):
            raise FAULTS["reset"](self.target)  # the answer was on its way, and billed
        return await open_stream(_Broken(answer, kind, keep=self.draw()), target=answer.target)

    def _kind(self, drawn: float) -> str | None:
        """The fault this call meets, or None."""
        for kind, rate in self.rates.items():
            drawn -= rate
            if drawn < 0:
                return kind
        return None


class _Broken:
    """A stream that breaks after a share of its deltas: at least one, never the terminal marker."""

    __slots__ = ("_keep", "_kind", "_left", "_stream")

    def __init__(self, stream: Stream, kind: str, *, keep: float) -> None:
        self._stream = stream
        self._kind = kind
        self._left = 1 + int(keep * 8)  # within the first eight deltas: most answers are longer

    async def __anext__(self) -> Delta:
        """The next delta, or the break."""
        if self._left > 0:
            self._left -= 1
            delta = await self._stream.__anext__()
            if delta.finish_reason is None:
                return delta
        if self._kind == "cut":
            raise FAULTS["reset"](self._stream.target)
        if self._kind == "error_midway":
            raise FAULTS["overloaded"](self._stream.target)
        if self._kind == "stalled_midway":
            await asyncio.sleep(STALL_S)
        await self._stream.aclose()  # a source that ends has let go of its connection
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Drop the provider's stream."""
        await self._stream.aclose()
