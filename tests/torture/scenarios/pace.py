"""How much of a provider's limits is used, and how often it has to refuse: limits given, learned from headers, learned from refusals.

And how many calls may be in flight: found, when the provider's capacity changes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from random import Random
from typing import Any

from surefoot.errors import Overloaded, RateLimited
from surefoot.layers.guards.concurrency import Concurrency
from surefoot.layers.guards.rate import Rate
from surefoot.rules.aimd import Limit
from surefoot.settings import Policy
from surefoot.testing.world import Serving, ServingProvider, World, virtual_run
from surefoot.types import Call
from tests.torture.figures import Figure, FigureRow
from tests.torture.scenarios.faults import answer_s

NAME = "a:m"


# What limits a pace that is found from refusals: `surefoot.rules.token_bucket.LearnedTokenBucket`.
LIMITED = (
    "limited by its own caution: what was accepted between two refusals is the measure, the pace is 2 % less and grows until the next "
    "refusal, which is the next measure; so some refusals remain for as long as more is asked than is granted"
)


class Windows:
    """A strict provider: at most a window's share of the limit in any `window_s`, wherever it begins; `tells` what is left of that."""

    def __init__(self, per_minute: float, window_s: float, *, tells: bool) -> None:
        self.per_minute = per_minute
        self.tells = tells
        self.most = per_minute * window_s / 60
        self.window_s = window_s
        self._taken: deque[tuple[float, float]] = deque()
        self._sum = 0.0

    def take(self, amount: float, now_s: float) -> bool:
        """Whether `amount` is let in."""
        while self._taken and self._taken[0][0] <= now_s - self.window_s:
            self._sum -= self._taken.popleft()[1]
        if self._sum + amount > self.most + 1e-6:
            return False
        self._taken.append((now_s, amount))
        self._sum += amount
        return True

    def headers(self, now_s: float) -> dict[str, str]:
        """The limit is per minute, what is left is of the window."""
        left_s = self._taken[-1][0] + self.window_s - now_s if self._taken else 0.0
        return told(self.per_minute, self.most - self._sum, left_s) if self.tells else {}


class Saved:
    """A lenient one: a bucket that holds up to a minute of the limit and fills evenly, and tells so in its headers."""

    def __init__(self, per_minute: float, *, tells: bool) -> None:
        self.per_minute = per_minute
        self.tells = tells
        self._level, self._at_s = per_minute, 0.0

    def _fill(self, now_s: float) -> None:
        self._level = min(self.per_minute, self._level + (now_s - self._at_s) * self.per_minute / 60)
        self._at_s = now_s

    def take(self, amount: float, now_s: float) -> bool:
        """Whether `amount` is let in."""
        self._fill(now_s)
        if amount > self._level + 1e-6:
            return False
        self._level -= amount
        return True

    def headers(self, now_s: float) -> dict[str, str]:
        """What is left of a minute."""
        self._fill(now_s)
        return told(self.per_minute, self._level, (self.per_minute - self._level) / self.per_minute * 60) if self.tells else {}


def told(per_minute: float, left: float, reset_s: float) -> dict[str, str]:
    """As OpenAI writes it."""
    return {
        "x-ratelimit-limit-requests": f"{per_minute:.0f}",
        "x-ratelimit-remaining-requests": f"{max(0, int(left + 1e-6))}",
        "x-ratelimit-reset-requests": f"{reset_s:.3f}s",
    }


KINDS = {  # how the limit is known: what the row is called, what it must keep to (used, refused, least used of a minute)
    "given": ("limit given", ">= 0.98", "= 0", ""),
    "given, headers of windows": ("limit given, by a provider that tells what is left of its 2 s", ">= 0.98", "= 0", ""),
    "headers": ("learned from headers", "", "<= 0.005", ">= 0.95"),
    "headers of windows": ("learned from headers that tell what is left of 2 s", "", "<= 0.005", ">= 0.95"),
    "refusals of windows": ("learned from refusals of windows alone", "", "", ""),
    "refusals of a bucket": ("learned from refusals of a bucket alone", "", "", ""),
}


def pace(seed: int, *, how: str, per_minute: float = 600.0, minutes: int = 10) -> FigureRow:
    """Twice the limit is offered for `minutes`; `how` the limit is known: one of KINDS."""
    rng = Random(f"{seed}:pace")

    async def run() -> FigureRow:
        loop = asyncio.get_running_loop()
        title, used_bound, refused_bound, least_bound = KINDS[how]
        tells, saves = "headers" in how, how in {"headers", "refusals of a bucket"}
        meter: Any = Saved(per_minute, tells=tells) if saves else Windows(per_minute, 2.0, tells=tells)
        taken: list[float] = []
        refused: list[float] = []

        def serve(call: Call) -> Serving:
            fits = meter.take(1.0, loop.time())
            call.state.rate_headers = meter.headers(loop.time())  # as of now: the answer is read later
            if not fits:
                refused.append(loop.time())
                fault = RateLimited("429: rate limit reached for requests per min (RPM)", status=429, target=NAME)
                return Serving(after_s=0.05, fault=fault)
            taken.append(loop.time())
            return Serving(after_s=min(answer_s(rng), 2.0))

        def tune(endpoint: Any) -> None:
            if how.startswith("given"):
                endpoint.rate = Rate(target=NAME, requests_per_minute=per_minute)
            endpoint.concurrency = Concurrency(target=NAME, limit=500)

        provider = ServingProvider(NAME, serve=serve)
        provider.keeps_times = False
        world = World(seed, provider, policy=Policy(deadline_s=20.0), tune=tune, log=False)
        await world.arrivals(2 * per_minute / 60, 60.0 * minutes)
        end_s = 60.0 * minutes
        left = await world.left_over()
        quota = per_minute * minutes
        answered = world.counts[""]
        by_minute = [sum(60 * m <= at < 60 * (m + 1) for at in taken) / per_minute for m in range(minutes)]
        used = sum(at < end_s for at in taken) / quota
        return FigureRow(
            f"twice the limit for {minutes} min, {title}",
            seed,
            (
                Figure("of the quota used", used, used_bound),
                Figure(
                    "refused by the provider",
                    len(refused) / max(1, len(taken) + len(refused)) if refused_bound != "= 0" else len(refused),
                    refused_bound,
                ),
                Figure("least used of a minute after the first", min(by_minute[1:]), least_bound),
                Figure("used of the last minute", by_minute[-1]),
                Figure("answered of the requests taken", answered / len(taken)),
                Figure("lost", world.counts["lost"], "= 0"),
                Figure("left over", len(left), "= 0"),
            ),
            note=LIMITED if how.startswith("refusals") else "",
        )

    return virtual_run(run())


def start(seed: int, *, per_minute: float = 4800.0, answer_s: float = 2.0, seconds: int = 20) -> FigureRow:
    """More work than the limit allows from the first second on, before anything is known of how long answers take."""

    async def run() -> FigureRow:
        meter, refused = Windows(per_minute, 2.0, tells=False), 0

        def serve(call: Call) -> Serving:
            del call
            nonlocal refused
            if meter.take(1.0, asyncio.get_running_loop().time()):
                return Serving(after_s=answer_s)
            refused += 1
            return Serving(after_s=0.05, fault=RateLimited("429: rate limit reached for requests per min (RPM)", status=429, target=NAME))

        def tune(endpoint: Any) -> None:
            endpoint.rate = Rate(target=NAME, requests_per_minute=per_minute)
            endpoint.concurrency = Concurrency(target=NAME, adaptive=Limit.paced(per_minute))

        provider = ServingProvider(NAME, serve=serve)
        world = World(seed, provider, tune=tune, log=False)
        allowed = int(per_minute / 60 * seconds)
        begun = asyncio.get_running_loop().time()
        await world.in_flight(allowed, 400)
        took_s = asyncio.get_running_loop().time() - begun - answer_s
        left = await world.left_over()
        return FigureRow(
            f"{seconds} s of the limit from a standstill, answers in {answer_s:g} s",
            seed,
            (
                Figure("of the limit used", seconds / took_s, ">= 0.8"),
                Figure("refused by the provider", refused, "= 0"),
                Figure("lost", world.counts["lost"], "= 0"),
                Figure("left over", len(left), "= 0"),
            ),
        )

    return virtual_run(run())


def capacity(seed: int, *, window_s: float = 1.0) -> FigureRow:
    """A provider that serves 50 at once, then 10, then 50 again, and answers 529 beyond; the limit is found. A window is a round trip.

    After 30 windows, the mean in flight over 10 windows must be within a fifth of the capacity.
    """
    rng = Random(f"{seed}:capacity")

    async def run() -> FigureRow:
        most = 50

        def serve(call: Call) -> Serving:
            del call
            if provider.in_flight >= most:
                return Serving(after_s=0.05, fault=Overloaded("529", status=529, target=NAME))
            return Serving(after_s=window_s * (0.9 + 0.2 * rng.random()))

        def tune(endpoint: Any) -> None:
            endpoint.concurrency = Concurrency(target=NAME, adaptive=Limit(), queue_size=5000)
            endpoint.rate = Rate(target=NAME, requests_per_minute=1e6)

        provider = ServingProvider(NAME, serve=serve)
        world = World(seed, provider, policy=Policy(attempts=6), tune=tune, log=False)
        means: list[float] = []
        busy = asyncio.create_task(world.in_flight(100_000, 80))  # more than it ever serves
        for capacity_now in (50, 10, 50):
            most = capacity_now
            await asyncio.sleep(30 * window_s)
            seen: list[int] = []
            for _ in range(100):
                await asyncio.sleep(window_s / 10)
                seen.append(provider.in_flight)
            means.append(sum(seen) / len(seen))
        busy.cancel()
        await asyncio.wait([busy])
        left = await world.left_over()
        off = [abs(mean - most) / most for mean, most in zip(means, (50, 10, 50), strict=True)]
        return FigureRow(
            "capacity 50 -> 10 -> 50, found",
            seed,
            (
                Figure("mean in flight at 50", means[0]),
                Figure("at 10", means[1]),
                Figure("at 50 again", means[2]),
                Figure("farthest off", max(off), "<= 0.2"),
                Figure("lost", world.counts["lost"], "= 0"),
                Figure("left over", len(left), "= 0"),
            ),
        )

    return virtual_run(run())


def overload(seed: int, *, deadline_s: float = 20.0, minutes: int = 3) -> FigureRow:
    """Twice as many calls as 20 places serve, for longer than the deadline: what becomes of the work that is done.

    First come, first served lets each call wait until little is left of its deadline: what is then sent is paid for and cut off.
    """
    rng = Random(f"{seed}:overload")

    async def run() -> FigureRow:
        provider = ServingProvider(NAME, serve=lambda _: Serving(after_s=0.9 + 0.2 * rng.random()))

        def tune(endpoint: Any) -> None:
            endpoint.concurrency = Concurrency(target=NAME, limit=20, queue_size=5_000)
            endpoint.rate = Rate(target=NAME, requests_per_minute=1e6)

        world = World(seed, provider, policy=Policy(deadline_s=deadline_s), tune=tune, log=False)
        await world.arrivals(40.0, 60.0 * minutes)
        left = await world.left_over()
        return FigureRow(
            f"twice what 20 places serve, for {minutes} min, deadline {deadline_s:g} s",
            seed,
            (
                Figure("answered of what could be", world.counts[""] / (20 * 60 * minutes)),
                Figure("requests cut off by the deadline", 1 - provider.answered / provider.requests),
                Figure("lost", world.counts["lost"], "= 0"),
                Figure("left over", len(left), "= 0"),
            ),
        )

    return virtual_run(run())
