"""Faults in every third attempt, 500 calls in flight: nothing lost, nothing doubled, nothing held.

Also: every fault of the catalogue, each coming out as its one typed error; and refusals (429) that have nothing to do with the pace.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from surefoot.errors import SurefootError
from surefoot.layers.chaos import FAULTS, PASSING
from surefoot.layers.concurrency import Concurrency
from surefoot.layers.rate import Rate
from surefoot.rules.aimd import Limit
from surefoot.target import Policy
from surefoot.testing.world import Provider, Serving, World, failures_of, virtual_run
from surefoot.types import Call
from tests.torture.figures import Figure, Row

NAME = "a:m"

# fault -> the class of the error that the caller must get when all his attempts meet it
MEANS = {
    "rate_limited": "RateLimited", "rate_limited_hint": "RateLimited", "server_error": "Overloaded", "overloaded": "Overloaded",
    "reset": "ConnectionLost", "timed_out": "AttemptTimedOut", "html": "MalformedReply", "no_choices": "MalformedReply",
    "quota": "QuotaExhausted", "auth": "AuthFailed", "not_found": "NotFound", "bad_request": "BadRequest", "too_long": "ContextTooLong",
    "refused": "ContentRefused", "stalled": "AttemptTimedOut", "cut_midway": "Interrupted", "reset_midway": "Interrupted",
    "stalled_midway": "Interrupted", "cut_at_once": "ConnectionLost",
}  # fmt: skip


def answer_s(rng: Random) -> float:
    """An answer takes about a second, seldom several."""
    return min(0.3 + rng.expovariate(1.5), 10.0)


def fault_s(rng: Random) -> float:
    """A fault comes at any time until an answer would have come."""
    return rng.random() * answer_s(rng)


def storm(
    seed: int,
    *,
    calls: int = 2_000,
    width: int = 500,
    share: float = 0.3,
    given: bool = True,
    kinds: tuple[str, ...] = PASSING,
    log: bool = True,
) -> Row:
    """`share` of the attempts meet a fault of `kinds` before their first token; half of the calls are streams.

    `given`: the target's limits are known, so what strikes at random is not taken for them. Else the policies learn what they can from it.
    """
    rng = Random(f"{seed}:storm")

    def serve(call: Call) -> Serving:
        del call
        if rng.random() >= share:
            return Serving(after_s=answer_s(rng))
        return Serving(after_s=fault_s(rng), fault=FAULTS[rng.choice(kinds)](NAME))

    async def run() -> Row:
        provider = Provider(NAME, serve=serve)
        provider.keeps_times = False
        world = World(seed, provider, policy=Policy(attempts=6), tune=(lambda door: know(door, width)) if given else learn, log=log)
        await world.in_flight(calls, width, lambda n: world.ask(n, stream=n % 2 == 0))
        left = await world.left_over()
        what = "" if kinds is PASSING else f" ({', '.join(kinds)})"
        return Row(
            f"{calls:,} calls, {width} in flight, {share:.0%} faults{what}, limits {'given' if given else 'not given'}",
            seed,
            (
                Figure("lost", world.counts["lost"], "= 0"),
                Figure("answers beyond one a call", provider.answered - world.counts[""], "= 0"),
                Figure("unaccounted", calls - sum(world.counts.values()) + world.counts["lost"], "= 0"),
                Figure("left over", len(left), "= 0"),
                Figure("success", world.counts[""] / calls, success_bound(calls, share) if given else ""),
                Figure("attempts a call", world.attempts / calls, ("<= 1.45" if calls >= 10_000 else "<= 1.50") if given else ""),
                Figure("virtual seconds", asyncio.get_running_loop().time()),
            ),
            world.log_hash if log else "",
        )

    return virtual_run(run())


def success_bound(calls: int, share: float) -> str:
    """Six attempts all fail by chance once in 1372 (0.3 ** 6), so among few calls luck decides: six standard deviations are its due."""
    if calls >= 100_000:
        return ">= 0.999"
    chance = share**6
    return f">= {1 - chance - 6 * (chance / calls) ** 0.5:.5f}"


def catalogue(seed: int, *, per_s: float = 10.0) -> Row:
    """For 400 s; of the first 100 s, one call in ten meets one fault of the catalogue at each attempt, the others now and then.

    The healthy traffic goes on behind them: else the last calls under way would all be doomed ones, and rightly stopped by the breaker.
    """
    rng = Random(f"{seed}:catalogue")
    kinds = list(MEANS)
    rng.shuffle(kinds)
    doomed = {10 * i + rng.randrange(10): kinds[i % len(kinds)] for i in range(int(10 * per_s))}

    def serve(call: Call) -> Serving:
        kind = doomed.get(int(call.tally.call_id.rpartition("-")[2]))
        if kind is None:
            if rng.random() < 0.1:
                return Serving(after_s=fault_s(rng), fault=FAULTS[rng.choice(PASSING)](NAME))
            return Serving(after_s=answer_s(rng))
        if kind == "cut_at_once":
            return Serving(after_s=0.1, is_cut=True)
        if kind.endswith("_midway"):
            fault = FAULTS["reset"](NAME) if kind == "reset_midway" else None
            return Serving(after_s=0.1, breaks_at=2, fault=fault, is_cut=kind == "cut_midway", stalls=kind == "stalled_midway")
        if kind == "stalled":
            return Serving(stalls=True)
        return Serving(after_s=fault_s(rng), fault=FAULTS[kind](NAME))

    async def run() -> Row:
        provider = Provider(NAME, serve=serve)
        world = World(seed, provider, policy=Policy(attempts=6, first_token_s=5, idle_s=5), tune=lambda door: know(door, 500))
        wrong: list[str] = []
        met = set[str]()
        asked = 0

        async def ask(n: int) -> None:
            nonlocal asked
            asked += 1
            kind = doomed.get(n)
            ended = await world.ask(n, stream=n % 2 == 0 or bool(kind and kind.startswith(("stalled", "cut_", "reset_"))), deadline_s=300)
            if kind is None:
                return
            met.add(kind)
            if {type(one).__name__ for one in failures_of(ended.error)} != {MEANS[kind]} or not isinstance(ended.error, SurefootError):
                wrong.append(f"{n}: {kind} came out as {ended.error!r}")

        await world.arrivals(per_s, 400, ask)
        left = await world.left_over()
        for line in wrong[:3]:
            print(line)
        return Row(
            "every fault of the catalogue mixed in",
            seed,
            (
                Figure("lost", world.counts["lost"], "= 0"),
                Figure("not its one typed error", len(wrong), "= 0"),
                Figure("kinds of fault", len(met), f"= {len(MEANS)}"),
                Figure("unaccounted", asked - sum(world.counts.values()) + world.counts["lost"], "= 0"),
                Figure("left over", len(left), "= 0"),
            ),
            world.log_hash,
        )

    return virtual_run(run())


def learn(door: Any) -> None:
    """Leave the target's limits to be found, as for any target of which nothing is said."""
    door.concurrency = Concurrency(target=door.name, adaptive=Limit())


def know(door: Any, width: int) -> None:
    """Give the target its limits: `width` in flight, and a pace that is never reached."""
    door.rate = Rate(target=door.name, requests_per_minute=60_000, tokens_per_minute=1e12)
    door.concurrency = Concurrency(target=door.name, limit=width)
