"""What kinds that ask a model share: an item refused before it was sent waits and is asked again; a budget's end pauses the job."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from surefoot.errors import BudgetExceeded, CircuitOpen, DeadlineTooNear, QueueFull, Refused
from surefoot.jobs.bodies import packed_error
from surefoot.jobs.kinds import ItemResult, Put

PATIENCE_S = (
    60.0  # how long an item waits while nothing is sent (breaker open, queue full): an outage's beginning shall not fail a whole job
)
PAUSE_S = 0.5  # before asking again, where the refusal does not say how long
DEADLINE_S = 600.0  # for an item, where nobody says: the vendors' SDKs' own; its time in the queue counts
NOT_SENT = (CircuitOpen, QueueFull, DeadlineTooNear)  # nothing was sent and nothing spent: to ask again is no second try


async def each(asks: Mapping[int, Callable[[], Awaitable[ItemResult]]], put: Put) -> str:
    """Ask all at once and put what came of each, by number; the reason to pause the job, or ""."""
    reasons: list[str] = []

    async def one(n: int, ask: Callable[[], Awaitable[ItemResult]]) -> None:
        try:
            put(await patiently(ask))
        except BudgetExceeded as error:
            reasons.append(str(error))
        except Exception as error:  # noqa: BLE001 - an item's error is its result
            put(failed(n, error))

    async with asyncio.TaskGroup() as group:
        for n, ask in asks.items():
            group.create_task(one(n, ask))
    return reasons[0] if reasons else ""


async def patiently(ask: Callable[[], Awaitable[Any]], patience_s: float = PATIENCE_S) -> Any:
    """What `ask` gives. Refused before anything is sent, it is asked again, for `patience_s` in all; then the refusal is raised."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience_s
    while True:
        try:
            return await ask()
        except NOT_SENT as refusal:
            wait_s = max(PAUSE_S, refusal.retry_after_s or 0.0)
            if loop.time() + wait_s > until:
                raise
        await asyncio.sleep(wait_s)


def failed(n: int, error: BaseException) -> ItemResult:
    """The result of an item that could not be done. A refusal cost nothing; of a failure, what its attempts are known to have cost."""
    attempts = () if isinstance(error, Refused) else getattr(error, "attempts", ())
    cost = sum(getattr(one, "cost_usd", None) or 0.0 for one in attempts) if isinstance(attempts, tuple | list) else 0.0
    return ItemResult(n, ok=False, body=packed_error(error), cost_usd=cost)
