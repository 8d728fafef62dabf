"""What a call costs that finds what it needs in hand: guards whose limits are shared, beside the same guards whose limits are their own."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from surefoot import runtime
from surefoot.core.stack import stack
from surefoot.layers.guards.concurrency import Concurrency
from surefoot.layers.guards.rate import Rate
from surefoot.layers.guards.shared import Shared
from surefoot.secret import Secret
from surefoot.shared.limits import SharedLimits
from surefoot.testing import Scripted, make_call

CALLS, ROUNDS = 10_000, 9
AMPLE = 1e9  # a minute: nobody waits for the limit itself
AT_ONCE = 20  # calls between two turns of the loop
PLACES = 64


async def _us(ask: Any) -> float:
    """CPU-us a call, the turns that are taken meanwhile included."""
    call = make_call("hi")
    spent = time.process_time()
    for _ in range(CALLS // AT_ONCE):
        for _ in range(AT_ONCE):
            await ask(call)
        await asyncio.sleep(0)
    return (time.process_time() - spent) / CALLS * 1e6


async def _measured(url: str) -> dict[str, float]:
    source = SharedLimits(Secret(url), "", "cost", requests_per_minute=AMPLE, tokens_per_minute=AMPLE, places=PLACES)
    shared, places = Rate(requests_per_minute=AMPLE, tokens_per_minute=AMPLE, estimate=lambda _: 100.0,
                          leased=(source.requests, source.tokens)), Concurrency(limit=PLACES)  # fmt: skip
    source.attach(places, None)
    places.on_wait = source.kick
    alone = Rate(requests_per_minute=AMPLE, tokens_per_minute=AMPLE, estimate=lambda _: 100.0)
    provider = Scripted()
    asks = {
        "shared": stack(provider, Shared(source=source), places, shared),
        "alone": stack(provider, Concurrency(limit=PLACES), alone),
    }
    rounds: dict[str, list[float]] = {name: [] for name in asks}
    for number in range(ROUNDS + 1):
        for name, ask in asks.items():
            took = await _us(ask)
            if number:  # the first is to warm up
                rounds[name].append(took)
    await source.aclose()
    found = {f"{name}_us": min(took) for name, took in rounds.items()}  # what others on the machine add is no cost of ours
    return found | {"added_us": found["shared_us"] - found["alone_us"]}


def measure(url: str) -> dict[str, float]:
    """CPU-us a call through the guards, in the best of ROUNDS: shared, alone, and the difference."""
    return runtime.run(_measured(url))
