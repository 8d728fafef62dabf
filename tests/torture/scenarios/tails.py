"""Slow answers hedged, bad targets left out, and half an hour of traffic that leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from random import Random

from surefoot.errors import ConnectionLost, Overloaded
from surefoot.layers.watch.chaos import FAULTS, PASSING
from surefoot.settings import Policy
from surefoot.testing.world import Serving, ServingProvider, World, virtual_run
from surefoot.types import Call
from tests.torture.figures import Figure, FigureRow
from tests.torture.scenarios.faults import answer_s
from tests.torture.scenarios.storm import know


def tail(seed: int, *, calls: int = 5_000, per_s: float = 20.0) -> FigureRow:
    """Two calls in a hundred take twenty times as long; the same world with hedging and without."""

    async def run(after: str | None) -> tuple[list[float], ServingProvider, World, list[str]]:
        rng = Random(f"{seed}:tail")

        def serve(call: Call) -> Serving:
            del call
            return Serving(after_s=(0.4 + 0.2 * rng.random()) * (20 if rng.random() < 0.02 else 1), gap_s=0.01)

        provider = ServingProvider("a:m", serve=serve)
        world = World(seed, provider, policy=Policy(hedge_after=after), tune=lambda endpoint: know(endpoint, 500))  # type: ignore[arg-type]
        took: list[float] = []

        async def ask(n: int) -> None:
            took.append((await world.ask(n, stream=n % 2 == 0)).seconds)

        await world.arrivals(per_s, calls / per_s, ask)
        return sorted(took), provider, world, await world.left_over()

    plain, _, _, _ = virtual_run(run(None))
    hedged, provider, world, left = virtual_run(run("p95"))
    before_s, after_s = plain[int(0.99 * len(plain))], hedged[int(0.99 * len(hedged))]
    return FigureRow(
        "2 % take 20 times as long, hedged",
        seed,
        (
            Figure("p99 without, s", before_s),
            Figure("p99 hedged, s", after_s),
            Figure("cut", 1 - after_s / before_s, ">= 0.6"),
            Figure("extra requests", provider.requests / len(hedged) - 1, "<= 0.05"),
            Figure("lost", world.counts["lost"], "= 0"),
            Figure("left over", len(left), "= 0"),
        ),
        world.log_hash,
    )


def broken_streams(seed: int, *, resume: bool, calls: int = 5_000, share: float = 0.2) -> FigureRow:
    """A fifth of the streams break after none to three deltas; three targets, two of them equal. `resume`: restarted, once, and said so."""
    rng = Random(f"{seed}:broken")

    def serve(call: Call) -> Serving:
        del call
        if rng.random() >= share:
            return Serving(after_s=answer_s(rng))
        return Serving(after_s=answer_s(rng), breaks_at=rng.randrange(4), fault=ConnectionLost("reset", target="x:m"))

    async def run() -> FigureRow:
        first, second, third = (ServingProvider(f"{name}:m", serve=serve) for name in "abc")
        world = World(seed, [first, second], third, policy=Policy(attempts=6, resume=resume))
        midway = again = same = 0

        async def ask(n: int) -> None:
            nonlocal midway, again, same
            ended = await world.ask(n, stream=True)
            kinds = [one.kind for one in ended.trail]
            midway += any(one.error == "Interrupted" for one in ended.trail)
            if "resume" in kinds:
                at = kinds.index("resume")
                again += 1
                same += ended.trail[at].target == ended.trail[at - 1].target

        await world.arrivals(20, calls / 20, ask)
        left = await world.left_over()
        return FigureRow(
            f"{share:.0%} of the streams break, " + ("resumed" if resume else "not resumed"),
            seed,
            (
                Figure("spliced, doubled or lost", world.counts["lost"], "= 0"),
                Figure("asked again after the first token", again, "" if resume else "= 0"),
                Figure("of these on the target that broke", same, "= 0"),
                Figure("broken in the middle", midway / world.ended),
                Figure("answered whole", world.counts[""] / world.ended, ">= 0.95" if resume else ""),
                Figure("ended in anything but Interrupted", world.ended - world.counts[""] - world.counts["Interrupted"], "= 0"),
                Figure("left over", len(left), "= 0"),
            ),
            world.log_hash,
        )

    return virtual_run(run())


def outliers(seed: int, *, bad: int, per_s: float = 50.0, seconds: float = 120.0) -> FigureRow:
    """Ten equal targets of which `bad` fail every call from the tenth second on."""
    rng = Random(f"{seed}:outliers")
    begin_s = 10.0

    async def run() -> FigureRow:
        loop = asyncio.get_running_loop()

        def provider(i: int) -> ServingProvider:
            def serve(call: Call) -> Serving:
                del call
                if i < bad and loop.time() >= begin_s:
                    return Serving(after_s=0.05, fault=Overloaded("503", status=503, target=f"t{i}:m"))
                return Serving(after_s=answer_s(rng))

            return ServingProvider(f"t{i}:m", serve=serve)

        providers = [provider(i) for i in range(10)]
        world = World(seed, providers, policy=Policy(attempts=6))
        fewest = 10

        async def watch() -> None:
            nonlocal fewest
            while True:
                await asyncio.sleep(0.1)
                asked = {i for i, one in enumerate(providers) if one.started_s and one.started_s[-1] > loop.time() - 1.0}
                fewest = min(fewest, len(asked)) if 2 < loop.time() < begin_s + seconds else fewest

        watching = asyncio.create_task(watch())
        await world.arrivals(per_s, begin_s + seconds)
        watching.cancel()
        left = await world.left_over()
        late = [(i, at) for i, one in enumerate(providers) for at in one.started_s if at >= begin_s + 10.0]
        share = sum(i < bad for i, _ in late) / len(late)
        ended = world.ended
        return FigureRow(
            f"10 equal targets, {bad} of them bad",
            seed,
            (
                Figure("requests to the bad after 10 s", share, "< 0.01"),
                Figure("fewest targets asked in any second", fewest, ">= 1"),
                Figure("answered", world.counts[""] / ended, ">= 0.99"),
                Figure("lost", world.counts["lost"], "= 0"),
                Figure("left over", len(left), "= 0"),
            ),
            world.log_hash,
        )

    return virtual_run(run())


def soak(seed: int, *, minutes: int = 30, per_s: float = 5.0) -> FigureRow:
    """Half an hour of mixed traffic with 5 % faults and callers who give up: memory and tasks at the end as at the fifth minute."""
    rng = Random(f"{seed}:soak")

    def serve(call: Call) -> Serving:
        del call
        if rng.random() < 0.05:
            return Serving(after_s=0.1, fault=FAULTS[rng.choice(PASSING)]("a:m"), breaks_at=rng.choice((0, 0, 2)))
        return Serving(after_s=answer_s(rng), gap_s=0.02)

    async def run() -> FigureRow:
        loop = asyncio.get_running_loop()
        targets = [ServingProvider(name, serve=serve) for name in ("a:m", "b:m")]
        for target in targets:
            target.keeps_times = False
        policy = Policy(attempts=4, hedge_after="p95", coalesce=True)
        world = World(seed, *targets, policy=policy, tune=lambda endpoint: know(endpoint, 100))
        memory: list[float] = []
        tasks: list[int] = []

        async def ask(n: int) -> None:
            task = asyncio.create_task(world.ask(n, stream=n % 2 == 0, text=f"question {n // 2}"))
            if rng.random() < 0.05:
                await asyncio.sleep(rng.random())
                task.cancel()
            await asyncio.wait([task])

        async def sample() -> None:
            for minute in range(minutes):
                await asyncio.sleep(60 * (minute + 1) - loop.time())
                gc.collect()
                memory.append(tracemalloc.get_traced_memory()[0] / 1024)
                tasks.append(len(asyncio.all_tasks()))

        sampling = asyncio.create_task(sample())
        await world.arrivals(per_s, 60.0 * minutes, ask)
        await asyncio.wait([sampling])
        left = await world.left_over()
        warm = memory[5:]
        middle = len(warm) // 2
        growth = sum(warm[middle:]) / (len(warm) - middle) - sum(warm[:middle]) / middle
        return FigureRow(
            f"{minutes} min of traffic",
            seed,
            (
                Figure("memory after 5 min, KiB", warm[0]),
                Figure("grown between the halves after, KiB", growth, "<= 64"),
                Figure("tasks at most, second half", max(tasks[minutes // 2 :])),
                Figure("of first half", max(tasks[: minutes // 2])),
                Figure("calls", world.ended),
                Figure("lost", world.counts["lost"], "= 0"),
                Figure("left over", len(left), "= 0"),
            ),
            world.log_hash,
        )

    tracemalloc.start(1)
    try:
        return virtual_run(run())
    finally:
        tracemalloc.stop()
