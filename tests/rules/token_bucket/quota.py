"""A simulated provider that enforces a quota, and closed-loop clients before it. No clock: events on a heap, draws from a seed."""

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from surefoot.rules.token_bucket import LearnedTokenBucket, Reservation, TokenBucket

Said = tuple[float, float, float]  # limit, remaining, reset_s


class QuotaServer(Protocol):
    """Accepts or refuses; says how long until `amount` would fit, and what its headers say (limit, remaining, reset_s)."""

    def accepts(self, amount: float, now_s: float) -> bool: ...
    def retry_after_s(self, amount: float, now_s: float) -> float: ...
    def headers(self, now_s: float) -> Said: ...


class BucketServer:
    """Refills evenly; holds `holds_s` seconds of the limit (OpenAI and Anthropic hold a minute)."""

    def __init__(self, per_minute: float, *, holds_s: float = 60.0) -> None:
        self.per_minute, self.rate = per_minute, per_minute / 60.0
        self.level = self.holds = self.rate * holds_s
        self.at_s = 0.0

    def _refill(self, now_s: float) -> None:
        self.level = min(self.holds, self.level + self.rate * (now_s - self.at_s))
        self.at_s = now_s

    def accepts(self, amount: float, now_s: float) -> bool:
        self._refill(now_s)
        if self.level < amount:
            return False
        self.level -= amount
        return True

    def retry_after_s(self, amount: float, now_s: float) -> float:
        self._refill(now_s)
        return max(0.0, (amount - self.level) / self.rate)

    def headers(self, now_s: float) -> Said:
        self._refill(now_s)
        return self.per_minute, max(0.0, self.level), (self.holds - self.level) / self.rate


class FixedWindow:
    """So much in each window, all windows beginning at `phase_s`; what is left over lapses."""

    def __init__(self, per_minute: float, *, window_s: float = 60.0, phase_s: float = 0.0) -> None:
        self.per_minute, self.window_s, self.phase_s = per_minute, window_s, phase_s
        self.holds = per_minute / 60.0 * window_s
        self.used, self.index = 0.0, -1

    def _turn(self, now_s: float) -> None:
        index = int((now_s + self.phase_s) // self.window_s)
        if index > self.index:
            self.index, self.used = index, 0.0

    def accepts(self, amount: float, now_s: float) -> bool:
        self._turn(now_s)
        if self.used + amount > self.holds + 1e-6:
            return False
        self.used += amount
        return True

    def retry_after_s(self, amount: float, now_s: float) -> float:
        self._turn(now_s)
        return (self.index + 1) * self.window_s - self.phase_s - now_s

    def headers(self, now_s: float) -> Said:
        self._turn(now_s)
        return self.per_minute, self.holds - self.used, self.retry_after_s(0.0, now_s)


class SlidingWindow:
    """So much in any `window_s`, by a log."""

    def __init__(self, per_minute: float, *, window_s: float = 60.0) -> None:
        self.per_minute, self.window_s = per_minute, window_s
        self.holds = per_minute / 60.0 * window_s
        self.log: deque[tuple[float, float]] = deque()
        self.used = 0.0

    def _expire(self, now_s: float) -> None:
        while self.log and self.log[0][0] <= now_s - self.window_s:
            self.used -= self.log.popleft()[1]

    def accepts(self, amount: float, now_s: float) -> bool:
        self._expire(now_s)
        if self.used + amount > self.holds + 1e-6:
            return False
        self.used += amount
        self.log.append((now_s, amount))
        return True

    def retry_after_s(self, amount: float, now_s: float) -> float:
        self._expire(now_s)
        over = self.used + amount - self.holds
        for at_s, spent in self.log:
            over -= spent
            if over <= 0:
                return at_s + self.window_s - now_s
        return 0.0

    def headers(self, now_s: float) -> Said:
        self._expire(now_s)
        return self.per_minute, self.holds - self.used, self.window_s


TPM = 1_000_000.0
TWO_SECONDS = TPM / 30.0
PROVIDERS: dict[str, Callable[[float], QuotaServer]] = {
    "token bucket of a minute": BucketServer,
    "token bucket of 2 s": lambda per_minute: BucketServer(per_minute, holds_s=2.0),
    "windows of 2 s": lambda per_minute: FixedWindow(per_minute, window_s=2.0, phase_s=0.7),
    "windows of 60 s": lambda per_minute: FixedWindow(per_minute, phase_s=20.0),
    "log of 60 s": SlidingWindow,
    "log of 2 s": lambda per_minute: SlidingWindow(per_minute, window_s=2.0),
}


@dataclass
class ClosedLoopClient:
    """Closed-loop workers before a bucket: each sends, waits for its answer, sends again."""

    gate: TokenBucket | LearnedTokenBucket
    provider: QuotaServer
    workers: int
    size: Callable[[random.Random], float]
    latency_s: float = 0.5
    lag_s: float = 0.004  # the way to the provider takes up to so much longer for one request than for another
    estimate: Callable[[float, random.Random], float] = lambda actual, _rng: actual
    hints: bool = True
    headers: bool = False
    cancels: float = 0.0  # share of waiting requests that are walked away from
    wakes: bool = True
    seed: int = 1
    accepted: list[tuple[float, float]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    heap: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = field(default_factory=list)
    pushed: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def run(self, seconds: float) -> "ClosedLoopClient":
        """Drive the workers until `seconds`."""
        beside([self], seconds)
        return self

    def start(self) -> None:
        """All workers begin, within one answer's time."""
        for _ in range(self.workers):
            self._push(self.rng.uniform(0.0, self.latency_s), self._begin, 0.0)

    def used(self, per_minute: float, from_s: float, to_s: float) -> float:
        """Share of the quota that was accepted between two times."""
        return sum(n for at_s, n in self.accepted if from_s <= at_s < to_s) / (per_minute / 60.0 * (to_s - from_s))

    def rejected(self) -> float:
        """Share of all requests sent that were refused."""
        return len(self.refused) / max(1, len(self.refused) + len(self.accepted))

    def _push(self, at_s: float, act: Callable[..., None], *what: object) -> None:
        self.pushed += 1
        heapq.heappush(self.heap, (at_s, self.pushed, act, what))

    def _begin(self, now_s: float, actual: float) -> None:
        actual = actual or self.size(self.rng)
        reservation = self.gate.reserve(self.estimate(actual, self.rng), now_s)
        reservation.waiter = actual
        if reservation.wait_s and self.rng.random() < self.cancels:
            self._push(now_s + self.rng.uniform(0.0, reservation.wait_s), self._cancel, reservation)
        self._send_or_sleep(now_s, reservation, self.gate.ready(reservation, now_s))

    def _ask(self, now_s: float, reservation: Reservation) -> None:
        if reservation.at_s < math.inf or not reservation.waiter:  # woken twice, or cancelled
            return
        sleep_s = self.gate.ready(reservation, now_s)
        self._send_or_sleep(now_s, reservation, sleep_s)
        if not sleep_s:
            self._moved(now_s)

    def _send_or_sleep(self, now_s: float, reservation: Reservation, sleep_s: float) -> None:
        if sleep_s:
            self._push(now_s + sleep_s, self._ask, reservation)
        else:
            self._push(now_s + 0.02 + self.rng.uniform(0.0, self.lag_s), self._arrive, reservation, reservation.waiter)

    def _moved(self, now_s: float) -> None:
        if self.wakes and self.gate.head is not None:
            self._push(now_s, self._ask, self.gate.head)

    def _arrive(self, now_s: float, reservation: Reservation, actual: float) -> None:
        if self.provider.accepts(actual, now_s):
            self.accepted.append((now_s, actual))
            said = self.provider.headers(now_s)  # as of now, not of when the answer is read
            self._push(now_s + self.latency_s * self.rng.uniform(0.5, 1.5), self._done, reservation, actual, said)
        else:
            self.refused.append(now_s)
            hint_s = self.provider.retry_after_s(actual, now_s) if self.hints else None
            self._push(now_s + 0.05, self._refused, reservation, actual, hint_s, self.provider.headers(now_s))

    def _done(self, now_s: float, reservation: Reservation, actual: float, said: Said) -> None:
        self._heed(now_s, reservation, said)
        self.gate.settle(reservation, actual, now_s)
        self._push(now_s, self._begin, 0.0)

    def _refused(self, now_s: float, reservation: Reservation, actual: float, hint_s: float | None, said: Said) -> None:
        self._heed(now_s, reservation, said)
        self.gate.on_refusal(reservation, now_s, retry_after_s=hint_s)
        self._moved(now_s)
        self._push(now_s + max(hint_s or 0.0, self.rng.uniform(0.0, 1.0)), self._begin, actual)

    def _cancel(self, now_s: float, reservation: Reservation) -> None:
        if reservation.at_s == math.inf:
            reservation.waiter = None
            self.gate.cancel(reservation, now_s)
            self._moved(now_s)
            self._push(now_s, self._begin, 0.0)

    def _heed(self, now_s: float, reservation: Reservation, said: Said) -> None:
        if self.headers:
            limit, remaining, reset_s = said
            if isinstance(self.gate, LearnedTokenBucket):
                self.gate.observe(now_s, limit=limit, remaining=remaining, reset_s=reset_s, asked=reservation)
            else:
                self.gate.observe(now_s, remaining=remaining, reset_s=reset_s, asked=reservation)


def beside(clients: list[ClosedLoopClient], seconds: float) -> None:
    """Drive clients who know nothing of one another until `seconds`."""

    def due_s(client: ClosedLoopClient) -> float:
        return client.heap[0][0] if client.heap else math.inf

    for client in clients:
        client.start()
    while due_s(first := min(clients, key=due_s)) < seconds:
        now_s, _, act, what = heapq.heappop(first.heap)
        act(now_s, *what)


def sizes(mean: float) -> Callable[[random.Random], float]:
    """Requests between half and one and a half of `mean`."""
    return lambda rng: rng.uniform(0.5, 1.5) * mean


def offer(
    gate: TokenBucket | LearnedTokenBucket, provider: QuotaServer, *, mean: float, times: float = 2.0, **options: object
) -> ClosedLoopClient:
    """Ten minutes of `times` the limit."""
    workers = max(3, math.ceil(times * TPM / 60.0 / mean * 0.55))
    return ClosedLoopClient(gate, provider, workers, sizes(mean), **options).run(600.0)  # type: ignore[arg-type]
