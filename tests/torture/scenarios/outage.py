"""A provider that is gone, and comes back: what is sent meanwhile, how soon it serves again, and that nobody storms it."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

from surefoot.errors import ConnectionLost, Overloaded, QuotaExhausted, RateLimited
from surefoot.settings import Policy
from surefoot.testing.world import Serving, ServingProvider, World, virtual_run
from surefoot.types import Call
from tests.torture.figures import Figure, FigureRow
from tests.torture.scenarios.faults import answer_s

DEAD_S = 0.02  # how soon a dead provider says so


def mortal(name: str, rng: Random, *, dead_from_s: float, dead_until_s: float = float("inf"), drops: bool = True) -> ServingProvider:
    """A provider that answers with 503 between two moments; `drops`: what was in flight when it died is reset, else still answered."""

    def serve(call: Call) -> Serving:
        del call
        now, takes_s = asyncio.get_running_loop().time(), answer_s(rng)
        if dead_from_s <= now < dead_until_s:
            return Serving(after_s=DEAD_S, fault=Overloaded("503", status=503, target=name))
        if drops and now < dead_from_s <= now + takes_s:
            return Serving(after_s=dead_from_s - now, fault=ConnectionLost("reset", target=name))
        return Serving(after_s=takes_s)

    return ServingProvider(name, serve=serve)


def outage(seed: int, *, per_s: float, healthy_s: float = 60.0, dead_s: float = 600.0, targets: int = 1, drops: bool = True) -> FigureRow:
    """`dead_s` of nothing but 503, after `healthy_s` of health; `targets` that fail together.

    Unless it `drops` what was in flight, the last answers come some seconds into the outage, and each says that it is none yet.
    """
    rng = Random(f"{seed}:outage")

    async def run() -> FigureRow:
        loop = asyncio.get_running_loop()
        providers = [mortal(f"p{i}:m", rng, dead_from_s=healthy_s, drops=drops) for i in range(targets)]
        world = World(seed, *providers)
        refused_s: list[float] = []
        took_s: list[float] = []  # of all calls since the breakers first opened
        calls = 0

        async def ask(n: int) -> None:
            nonlocal calls
            calls += loop.time() >= healthy_s
            has_opened = world.events["BreakerOpened"] >= targets
            ended = await world.ask(n)
            if has_opened:
                took_s.append(ended.seconds)
            if ended.error is not None and not ended.attempts:
                refused_s.append(ended.seconds)

        await world.arrivals(per_s, healthy_s + dead_s, ask)
        left = await world.left_over()
        requests = sum(at >= healthy_s for provider in providers for at in provider.started_s)
        trials = sum(at >= healthy_s for at in world.providers[0].started_s) - world.sent["retry"]
        cold = ("" if healthy_s else ", from a cold start") + ("" if drops else ", calls in flight still answered")
        return FigureRow(
            f"outage of {dead_s / 60:.3g} min at {per_s:g} calls/s" + (f", {targets} targets" if targets > 1 else "") + cold,
            seed,
            (
                Figure("requests a call", requests / calls, "<= 1.1" if per_s >= 10 and targets == 1 else ""),
                Figure("retries", world.sent["retry"], "<= 100" if drops else ""),
                Figure("other requests", trials),
                Figure("calls refused at once", len(refused_s) / calls),
                Figure("p99 of these, ms", p99_ms(refused_s), "<= 50"),
                Figure("p99 of all since first open, ms", p99_ms(took_s), "<= 50" if per_s >= 100 else ""),
                Figure("lost", world.counts["lost"], "= 0"),
                Figure("left over", len(left), "= 0"),
            ),
            world.log_hash,
        )

    return virtual_run(run())


def p99_ms(seconds: list[float]) -> float:
    return 1000 * sorted(seconds)[int(0.99 * len(seconds))] if seconds else float("inf")


def recovery(seed: int, *, per_s: float = 100.0, dead_s: float = 300.0) -> FigureRow:
    """After `dead_s` of 503 the provider is well again: how soon 95 % of the calls of a second are answered, and what rushes in."""
    rng = Random(f"{seed}:recovery")
    healthy_s = 60.0
    back_s = healthy_s + dead_s

    async def run() -> FigureRow:
        loop = asyncio.get_running_loop()
        provider = mortal("a:m", rng, dead_from_s=healthy_s, dead_until_s=back_s)
        world = World(seed, provider)
        came, good = Counter[int](), Counter[int]()

        async def ask(n: int) -> None:
            second = int(loop.time() - back_s) if loop.time() >= back_s else -1
            ended = await world.ask(n)
            came[second] += 1
            good[second] += ended.error is None

        async with asyncio.TaskGroup() as group:
            for n in range(int(per_s * (back_s + 60.0))):  # evenly, so that a second's inflow is the policy's doing and not luck
                await asyncio.sleep(n / per_s + 0.5 * rng.random() / per_s - loop.time())
                group.create_task(ask(n))
        left = await world.left_over()
        bad = [second for second in range(59) if good[second] < 0.95 * came[second]]
        served_s = max(bad) + 1.0 if bad else 0.0
        inflow = Counter(int(at - back_s) for at in provider.started_s if at >= back_s)
        return FigureRow(
            "recovery after 5 min of outage",
            seed,
            (
                Figure("95 % goodput after, s", served_s, "<= 15"),
                Figure("inflow over steady, first 10 s", max(inflow[second] for second in range(10)) / per_s, "<= 1.2"),
                Figure("inflow over steady, first 60 s", max(inflow[second] for second in range(60)) / per_s),
                Figure("lost", world.counts["lost"], "= 0"),
                Figure("left over", len(left), "= 0"),
            ),
            world.log_hash,
        )

    return virtual_run(run())


def herd(seed: int, *, clients: int = 50, per_s: float = 10.0) -> FigureRow:
    """`clients` processes whose breakers opened in the same moment: how evenly they come back."""
    rng = Random(f"{seed}:herd")
    back_s = 3.0

    async def run() -> FigureRow:
        worlds = [World(1000 * seed + i, mortal("a:m", rng, dead_from_s=0.0, dead_until_s=back_s)) for i in range(clients)]
        async with asyncio.TaskGroup() as group:
            for world in worlds:
                group.create_task(world.in_flight(20, 20))  # at once: so all of them open in one moment
                group.create_task(world.arrivals(per_s, 25.0))
        left = [line for world in worlds for line in await world.left_over()]
        came = sorted(at for world in worlds for at in world.providers[0].started_s if at >= back_s)
        first = sorted(min(at for at in world.providers[0].started_s if at >= back_s) for world in worlds)
        opened = sum(world.events["BreakerOpened"] > 0 for world in worlds)
        return FigureRow(
            f"{clients} clients reopening together",
            seed,
            (
                Figure("clients whose breaker opened", opened, f"= {clients}"),
                Figure("trials, max over mean of 100 ms", peak(first), "<= 3"),
                Figure("all requests of 15 s, max over mean of 100 ms", peak([at for at in came if at < first[0] + 15]), "<= 3"),
                Figure("left over", len(left), "= 0"),
            ),
        )

    return virtual_run(run())


def peak(moments: list[float], width_s: float = 0.1) -> float:
    """The fullest of the windows of `width_s` between the first and the last moment, over their mean."""
    windows = max(1, int((moments[-1] - moments[0]) / width_s) + 1)
    full = Counter(int((at - moments[0]) / width_s) for at in moments)
    return max(full.values()) / (len(moments) / windows)


def told_to_wait(seed: int, *, hint_s: float, per_s: float = 2.0, seconds: float = 60.0) -> FigureRow:
    """The first target refuses everything for `hint_s` and says so; another one is at hand, and the deadline is a minute."""
    rng = Random(f"{seed}:wait")

    async def run() -> FigureRow:
        loop = asyncio.get_running_loop()

        def serve(call: Call) -> Serving:
            del call
            left_s = hint_s - loop.time()
            if left_s > 0:
                return Serving(after_s=0.05, fault=RateLimited("429", status=429, retry_after_s=left_s, target="a:m"))
            return Serving(after_s=answer_s(rng))

        first, second = ServingProvider("a:m", serve=serve), ServingProvider("b:m", serve=lambda _: Serving(after_s=answer_s(rng)))
        world = World(seed, first, second, policy=Policy(deadline_s=60.0))
        took_s: list[float] = []

        async def ask(n: int) -> None:
            took_s.append((await world.ask(n, stream=n % 2 == 0)).seconds)

        await world.arrivals(per_s, seconds, ask)
        left = await world.left_over()
        took_s.sort()
        return FigureRow(
            f"told to wait {hint_s:g} s, another target at hand",
            seed,
            (
                Figure("answered", world.counts[""] / len(took_s), "= 1"),
                Figure("requests before the time", sum(at < hint_s for at in first.started_s[1:]), "= 0"),
                Figure("lost", world.counts["lost"], "= 0"),
                Figure("left over", len(left), "= 0"),
                Figure("answered by the other", second.answered / len(took_s)),
                Figure("seconds in the median", took_s[len(took_s) // 2]),
                Figure("p99", took_s[int(0.99 * len(took_s))]),
            ),
            world.log_hash,
        )

    return virtual_run(run())


def quota(seed: int, *, calls: int = 1_000) -> FigureRow:
    """The first target's account is empty: each call asks it exactly once and is answered by the next."""
    rng = Random(f"{seed}:quota")

    def serve(call: Call) -> Serving:
        del call
        return Serving(after_s=0.1, fault=QuotaExhausted("insufficient_quota", status=429, code="insufficient_quota", target="a:m"))

    async def run() -> FigureRow:
        empty, next_one = ServingProvider("a:m", serve=serve), ServingProvider("b:m", serve=lambda _: Serving(after_s=answer_s(rng)))
        world = World(seed, empty, next_one, policy=Policy(attempts=6))
        per_call = Counter[int]()

        async def ask(n: int) -> None:
            per_call[(await world.ask(n, stream=n % 2 == 0)).attempts] += 1

        await world.in_flight(calls, 50, ask)
        left = await world.left_over()
        return FigureRow(
            "quota exhausted",
            seed,
            (
                Figure("requests a call to the empty account", empty.requests / calls, "= 1"),
                Figure("requests a call to the next", next_one.requests / calls, "= 1"),
                Figure("answered", world.counts[""] / calls, "= 1"),
                Figure("calls of other than two attempts", calls - per_call[2], "= 0"),
                Figure("left over", len(left), "= 0"),
            ),
            world.log_hash,
        )

    return virtual_run(run())
