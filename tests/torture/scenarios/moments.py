"""Time and cancellation: hints kept to, deadlines met, nothing held by whoever leaves, no clock that confuses."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from random import Random
from typing import Any

from surefoot.errors import Overloaded, RateLimited
from surefoot.layers.guards.concurrency import Concurrency
from surefoot.layers.guards.rate import Rate
from surefoot.layers.watch.chaos import FAULTS, PASSING
from surefoot.rules.hints import retry_after_s
from surefoot.settings import Policy
from surefoot.testing.contract import Stepper
from surefoot.testing.virtual import VirtualLoop
from surefoot.testing.world import Serving, ServingProvider, World, virtual_run
from surefoot.types import Call
from tests.torture.figures import Figure, FigureRow
from tests.torture.scenarios.faults import answer_s

EPOCH_S = 1_795_000_000.0
HINTS: dict[str, dict[str, str]] = {
    "0": {"retry-after": "0"},
    "0.3": {"retry-after": "0.3"},
    "300 ms": {"retry-after-ms": "300"},
    "5": {"retry-after": "5"},
    "119": {"retry-after": "119"},
    "121": {"retry-after": "121"},
    "date": {"retry-after": formatdate(EPOCH_S + 7, usegmt=True), "date": formatdate(EPOCH_S, usegmt=True)},
    "junk": {"retry-after": "soon"},
    "1e400": {"retry-after": "1e400"},
}
MEANT_S = {"0": 0.0, "0.3": 0.3, "300 ms": 0.3, "5": 5.0, "119": 119.0, "121": 121.0, "date": 7.0, "junk": 0.0, "1e400": float("inf")}


def hints(seed: int, *, cases: int = 1_000) -> FigureRow:
    """One refusal with a hint, a random deadline: asked again never before the hint, answered or given up never after the deadline."""
    rng = Random(f"{seed}:hints")

    async def run() -> FigureRow:
        early = late = unanswered = above_cap = answered = 0
        for case in range(cases):
            name = rng.choice(list(HINTS))
            hint_s = retry_after_s(HINTS[name], now_epoch_s=EPOCH_S)
            deadline_s = rng.choice((3.0, 8.0, 60.0, 118.0, 120.0, 130.0, 600.0)) * (0.9 + 0.2 * rng.random())
            first = True

            def serve(call: Call, hint_s: float | None = hint_s) -> Serving:
                nonlocal first
                del call
                if first:
                    first = False
                    return Serving(after_s=0.05, fault=RateLimited("429", status=429, retry_after_s=hint_s, target="a:m"))
                return Serving(after_s=0.5)

            provider = ServingProvider("a:m", serve=serve)
            world = World(1000 * seed + case, provider, log=False)
            ended = await world.ask(case, stream=case % 2 == 0, deadline_s=deadline_s)
            again_s = provider.started_s[1] - provider.started_s[0] - 0.05 if provider.requests > 1 else None
            early += again_s is not None and again_s < MEANT_S[name] - 1e-6
            above_cap += again_s is not None and MEANT_S[name] > 120.0
            late += ended.late_s > 0.010
            answered += ended.error is None
            # What fits must be waited for: 10 % of jitter, up to 1 s of backoff where there is no hint, and the answer's own time.
            unanswered += ended.error is not None and MEANT_S[name] <= 120.0 and MEANT_S[name] * 1.1 + 1.6 < deadline_s
        return FigureRow(
            "Retry-After " + ", ".join(HINTS),
            seed,
            (
                Figure("cases", cases),
                Figure("asked again too early", early, "= 0"),
                Figure("ended beyond the deadline", late, "= 0"),
                Figure("beyond 120 s, yet waited for", above_cap, "= 0"),
                Figure("would have fitted, given up", unanswered, "= 0"),
                Figure("answered", answered / cases),
            ),
        )

    return virtual_run(run())


def deadlines(seed: int, *, cases: int = 2_000, hops: int = 5) -> FigureRow:
    """Random deadlines over `hops` targets that are slow, silent, failing, full or refusing at random."""
    rng = Random(f"{seed}:deadlines")

    def serve(call: Call) -> Serving:
        del call
        drawn = rng.random()
        after_s = rng.expovariate(0.5)
        if drawn < 0.15:
            return Serving(stalls=True, breaks_at=rng.randrange(4))
        if drawn < 0.5:
            return Serving(after_s=after_s, fault=FAULTS[rng.choice(PASSING)]("x:m"), breaks_at=rng.choice((0, 0, 0, 2)))
        return Serving(after_s=after_s, gap_s=rng.expovariate(2.0))

    def tune(endpoint: Any) -> None:
        endpoint.concurrency = Concurrency(target=endpoint.name, limit=rng.choice((3, 10, 100)))
        if rng.random() < 0.5:
            endpoint.rate = Rate(target=endpoint.name, requests_per_minute=rng.choice((60, 600)))

    async def run() -> FigureRow:
        world_size = 250
        latest_ms, lost, ended, left = float("-inf"), 0, 0, 0
        missed = 0
        for number in range(cases // world_size):
            world = World(
                1000 * seed + number,
                *(ServingProvider(f"p{i}:m", serve=serve) for i in range(hops)),
                policy=Policy(attempts=rng.choice((3, 6, 10)), first_token_s=4, idle_s=4),
                tune=tune,
                log=False,
            )
            async with asyncio.TaskGroup() as group:
                for n in range(world_size):
                    group.create_task(world.ask(n, stream=n % 2 == 0, deadline_s=0.05 * 600 ** rng.random()))
            left += len(await world.left_over())
            latest_ms = max(latest_ms, 1000 * world.latest_s)
            lost += world.counts["lost"]
            ended += world.ended
            missed += world.counts["DeadlineExceeded"] + world.counts["DeadlineTooNear"]
        return FigureRow(
            f"random deadlines over {hops} hops",
            seed,
            (
                Figure("cases", ended, f"= {cases}"),
                Figure("latest after its deadline, ms", latest_ms, "<= 10"),
                Figure("ended by their deadline", missed / cases),
                Figure("lost", lost, "= 0"),
                Figure("left over", left, "= 0"),
            ),
        )

    return virtual_run(run())


SURFACES = ("chat", "stream", "embed")
PATHS = (
    "answer", "retry", "fallback", "queue", "pace", "missed", "cached", "shared", "stalled", "broken", "hedged", "balanced", "everything",
)  # fmt: skip


class FarStore:
    """A store behind a wire: every access is an await."""

    def __init__(self) -> None:
        self._rows: dict[str, bytes] = {}

    async def get(self, key: str) -> bytes | None:
        await asyncio.sleep(0.05)
        return self._rows.get(key)

    async def set(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        await asyncio.sleep(0.05)
        self._rows[key] = value

    async def delete(self, key: str) -> None:
        self._rows.pop(key, None)

    async def aclose(self) -> None:
        """Nothing to close."""


def cancel_everywhere(path: str, *, surface: str, twice: bool) -> FigureRow:
    """A call along one `path` through the whole stack, cancelled at its k-th await for every k, with a neighbour that must not suffer."""

    def serve(call: Call) -> Serving:
        number = call.attempt if path != "fallback" else 1
        if path in {"retry", "fallback", "everything"} and number == 1 and call.state.attempts < 3:
            return Serving(after_s=0.2, fault=Overloaded("busy", status=503, target="a:m"))
        if path == "stalled":
            return Serving(stalls=True, breaks_at=2)
        if path == "broken":
            return Serving(after_s=0.2, fault=Overloaded("busy", target="a:m"), breaks_at=2 if call.stream else 0)
        return Serving(after_s=0.2)

    def tune(endpoint: Any) -> None:
        if path in {"queue", "everything"}:
            endpoint.concurrency = Concurrency(target="a:m", limit=1)
        if path in {"pace", "everything"}:
            endpoint.rate = Rate(target="a:m", requests_per_minute=60, tokens_per_minute=600, estimate=lambda _: 10)

    async def run() -> FigureRow:
        held = swallowed = awaits = 0
        for k in range(1, 400):
            targets: list[ServingProvider | list[ServingProvider]] = [
                ServingProvider("a:m", serve=serve),
                ServingProvider("b:m", serve=serve),
            ]
            if path in {"balanced", "everything"}:
                targets = [[ServingProvider(f"{name}:m", serve=serve) for name in "ab"], ServingProvider("c:m", serve=serve)]
            policy = Policy(
                attempts=4,
                coalesce=path == "shared",
                resume=path == "everything",
                hedge_after=0.1 if path in {"hedged", "everything"} else None,
                first_token_s=3,
                idle_s=3,
            )
            world = World(
                k, *targets, policy=policy, tune=tune, cache=FarStore() if path in {"missed", "cached", "everything"} else None, log=False
            )
            loop = asyncio.get_running_loop()
            asked: dict[str, Any] = {"stream": surface == "stream", "deadline_s": 60, "text": "same", "temperature": 0.0}
            if surface == "embed":
                asked = {"texts": ("same", "too"), "deadline_s": 60}
            if path == "cached":
                await world.ask(9, **asked)
                await world.left_over()  # it is written
            neighbours = [loop.create_task(world.ask(n, **asked)) for n in range(2)]
            stepper = Stepper(world.ask(2, **asked), cancel_at=(k, k + 1) if twice else (k,))
            task = loop.create_task(stepper.run())
            await asyncio.wait([task, *neighbours])
            held += len(await world.left_over())
            swallowed += bool(stepper.cancels and not task.cancelled())
            if not stepper.cancels:
                break
            awaits = k
        return FigureRow(
            f"cancelled at every await: {path}, {surface}",
            0,
            (
                Figure("awaits", awaits, ">= 1"),
                Figure("held", held, "= 0"),
                Figure("swallowed", swallowed, "= 0"),
                Figure("not the end", awaits, "<= 398"),
            ),
        )

    return virtual_run(run())


def leave_anytime(*, stream: bool, others: int) -> FigureRow:
    """A shared call through everything, whose waiters leave one after the other: the first after k hundredths of a second."""
    ends_s = 6.0

    def serve(call: Call) -> Serving:
        if call.state.attempts < 2:
            return Serving(after_s=0.2, fault=Overloaded("busy", status=503, target="a:m"))
        return Serving(after_s=0.5, gap_s=0.1)

    async def run() -> FigureRow:
        held = lost = spoiled = 0
        steps = int(ends_s * 100)
        for k in range(0, steps, 5):
            targets = [ServingProvider("a:m", serve=serve), ServingProvider("b:m", serve=serve)]
            world = World(k, *targets, policy=Policy(attempts=4, coalesce=True, resume=True), log=False)
            loop = asyncio.get_running_loop()
            leaver = loop.create_task(world.ask(0, stream=stream, text="same"))
            stayers = [loop.create_task(world.ask(n, stream=stream, text="same")) for n in range(1, others + 1)]
            await asyncio.sleep(k / 100)
            leaver.cancel()
            await asyncio.wait([leaver, *stayers])
            held += len(await world.left_over())
            lost += world.counts["lost"]
            spoiled += sum(stayer.result().error is not None for stayer in stayers)
        return FigureRow(
            f"leaving a shared call of {others + 1} at any moment, {'stream' if stream else 'plain'}",
            0,
            (
                Figure("moments", len(range(0, steps, 5))),
                Figure("held", held, "= 0"),
                Figure("lost", lost, "= 0"),
                Figure("others spoiled", spoiled, "= 0"),
            ),
        )

    return virtual_run(run())


def impatient(seed: int, *, calls: int = 2_000) -> FigureRow:
    """Half of the callers give up, at a random moment."""
    rng = Random(f"{seed}:impatient")

    async def run() -> FigureRow:
        targets = [ServingProvider(name, serve=lambda _: Serving(after_s=answer_s(rng), gap_s=0.05)) for name in ("a:m", "b:m")]
        world = World(seed, *targets)

        async def ask(n: int) -> None:
            task = asyncio.create_task(world.ask(n, stream=n % 2 == 0))
            if rng.random() < 0.5:
                await asyncio.sleep(rng.random() * 1.2)
                task.cancel()
            await asyncio.wait([task])

        await world.arrivals(20, calls / 20, ask)
        left = await world.left_over()
        ended = world.ended
        return FigureRow(
            "half of the callers give up",
            seed,
            (
                Figure("cancelled", world.counts["CancelledError"] / ended, ">= 0.3"),
                Figure("breaker opened", world.events["BreakerOpened"], "= 0"),
                Figure("fallbacks", world.events["FellBack"] + targets[1].requests, "= 0"),
                Figure("retries", world.sent["retry"], "= 0"),
                Figure("lost", world.counts["lost"], "= 0"),
                Figure("left over", len(left), "= 0"),
            ),
            world.log_hash,
        )

    return virtual_run(run())


def clock(seed: int, *, leap_s: float, suspended: bool = False) -> FigureRow:
    """The loop's clock leaps while a breaker is open, a pace is spent, a queue is full and retries sleep; a minute later all must be well.

    `suspended`: the provider is well, and the leap comes upon answers under way, as when a laptop sleeps and wakes up.
    """
    rng = Random(f"{seed}:clock")

    async def run() -> FigureRow:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        dead = not suspended

        def serve(call: Call) -> Serving:
            del call
            if dead:
                return Serving(after_s=0.05, fault=Overloaded("503", status=503, target="a:m"))
            return Serving(after_s=answer_s(rng))

        def tune(endpoint: Any) -> None:
            endpoint.concurrency = Concurrency(target="a:m", limit=5)
            endpoint.rate = Rate(target="a:m", requests_per_minute=1200)

        world = World(seed, ServingProvider("a:m", serve=serve), tune=tune)
        early = asyncio.create_task(world.arrivals(20, 40))
        await asyncio.sleep(20)
        was_open = world.endpoints[0].breaker.rule.state != "closed"
        loop.leap(leap_s)
        dead = False
        await asyncio.wait([early])  # whoever slept across a clock set back sleeps longer; nobody may sleep for ever
        if leap_s < 0:
            loop.leap(leap_s)  # and once more, with everything at rest
        await asyncio.sleep(60)
        before, begun = world.counts[""], loop.time()
        await world.arrivals(5, 60)
        took_s = loop.time() - begun
        good = world.counts[""] - before
        left = await world.left_over()
        last = await world.ask(10**6)
        return FigureRow(
            f"clock {leap_s / 3600:+g} h" + (", suspended" if suspended else ""),
            seed,
            (
                Figure("breaker was open", was_open, f"= {int(not suspended)}"),
                Figure("answered a minute later, of 5 a second", good / 300, ">= 0.8"),
                Figure("seconds for a minute of calls", took_s, "<= 75"),
                Figure("the last one answered", last.error is None, "= 1"),
                Figure("left over", len(left), "= 0"),
            ),
            world.log_hash,
        )

    return virtual_run(run())
