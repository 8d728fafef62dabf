"""Several gateways over one Postgres: budget and minute hold for all; through outages and kills the ledger has each call once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from surefoot.gateway.records import Allowance
from surefoot.usage.ledger import Ledger
from surefoot_eval.bench.sections.gateway.client import KeptConnection, Unanswered, ask_over, request_of
from surefoot_eval.bench.sections.gateway.cost import PATH
from surefoot_eval.bench.sections.gateway.subjects import GatewayProcess, body, made_key, ours
from surefoot_eval.bench.server import server
from surefoot_eval.bench.stores import PostgresServer

CENT = {"input_usd_per_mtok": 0.0, "output_usd_per_mtok": 250.0}  # the upstream's 40 tokens
TOKENS = 40
PROCESSES, WIDTH = 8, 64
ASKING, CALLS_EACH = 16, 20  # clients, and their calls over one connection
BOOKED_S = 60.0  # until every row must have been written


def limits(*, processes: int = PROCESSES, width: int = WIDTH) -> dict[str, Any]:
    """A dollar of calls of a cent, and 100 requests a minute, asked `width` at a time of each of `processes` gateways."""
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer())
        upstream = stack.enter_context(server("--latency-ms", "20"))
        dollar = made_key(postgres.url, Allowance(budget_nano=10**9))
        hundred = made_key(postgres.url, Allowance(requests_per_minute=100))
        crew: list[GatewayProcess] = []
        stack.callback(_stop, crew)
        for _ in range(processes):
            crew += [ours(upstream.address, secret=dollar, target=CENT, state=postgres.url, ledger="", log=False)]
        found: dict[str, Any] = {}
        for name, secret in (("budget", dollar), ("minute", hundred)):
            before = upstream.stats()["requests"]
            answers = asyncio.run(_flood(crew, secret, width))
            found[name] = {"admitted": answers.get(200, 0), "sent": upstream.stats()["requests"] - before, "answers": answers}
        return found


def _stop(crew: list[GatewayProcess]) -> None:
    """End all who are in it then."""
    for one in crew:
        one.stop()


async def _flood(crew: list[GatewayProcess], secret: str, width: int) -> dict[int, int]:
    """One call on each of `width` connections to each gateway, all at once."""
    request = request_of(PATH, {**body(stream=False), "max_tokens": TOKENS}, {"authorization": f"Bearer {secret}"})
    found: dict[int, int] = {}
    await asyncio.gather(*(ask_over(gateway.address, request, range(1), found) for gateway in crew for _ in range(width)))
    return found


def ledger(*, calls: int, kills: int, away_s: float, processes: int = 2, seed: int = 1) -> dict[str, Any]:
    """`calls` calls through gateways that are killed `kills` times and started again, with the ledger's Postgres away for `away_s`."""
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer())
        state = f"sqlite:{stack.enter_context(TemporaryDirectory())}/state.db"
        spool = stack.enter_context(TemporaryDirectory())
        upstream = stack.enter_context(server())
        secret = made_key(state, Allowance(), team=Allowance())
        said: dict[str, Any] = {"secret": secret, "target": CENT, "state": state, "ledger": postgres.url, "spool": spool, "log": False}
        crew = [ours(upstream.address, **said) for _ in range(processes)]
        stack.callback(_stop, crew)
        book = Ledger(postgres.url)
        told = _Known()
        asyncio.run(
            _through(crew, lambda: ours(upstream.address, **said), postgres, told, calls=calls, kills=kills, away_s=away_s, seed=seed)
        )
        began = time.monotonic()
        while time.monotonic() < began + BOOKED_S and any(Path(spool).glob("*.rows")):
            time.sleep(0.5)
        booked = {one.group[0]: one.attempts for one in book.sums(by=("tag:request",))}
        return {
            "answered": len(told.ids), "unanswered": told.failed, "kills": kills, "away_s": away_s, "rows": sum(booked.values()),
            "lost": len(told.ids - booked.keys()), "doubled": sum(one > 1 for one in booked.values()),
            "booked_s": time.monotonic() - began,
        }  # fmt: skip


class _Known:
    """What clients know."""

    def __init__(self) -> None:
        self.ids: set[str] = set()  # of the requests that were answered
        self.failed = 0
        self.is_over = False


async def _through(
    crew: list[GatewayProcess], start: Callable[[], GatewayProcess], postgres: PostgresServer, told: _Known, *, calls: int, kills: int,
    away_s: float, seed: int,
) -> None:  # fmt: skip
    """Ask until `calls` are answered, and the kills and the outage are over."""
    draw = Random(seed)

    async def ask() -> None:
        while len(told.ids) < calls or not told.is_over:
            gateway = draw.choice(crew)
            connection = KeptConnection(gateway.address)
            request = request_of(PATH, {**body(stream=False), "max_tokens": TOKENS}, gateway.headers)
            try:
                for _ in range(CALLS_EACH):
                    if await connection.ask(request) == 200:
                        told.ids.add(connection.head.partition(b"x-request-id: ")[2].partition(b"\r")[0].decode())
                    else:
                        told.failed += 1
            except Unanswered:
                told.failed += 1
                await asyncio.sleep(0.1)
            connection.drop()

    async def disturb() -> None:
        await asyncio.sleep(0.5)
        await asyncio.to_thread(postgres.kill)
        back_at = asyncio.get_running_loop().time() + away_s
        for number in range(kills):
            at = number % len(crew)
            await asyncio.sleep(0.2)
            crew[at].stop()  # with SIGKILL
            crew[at] = await asyncio.to_thread(start)
        await asyncio.sleep(max(0.0, back_at - asyncio.get_running_loop().time()))
        await asyncio.to_thread(postgres.start)
        told.is_over = True

    await asyncio.gather(disturb(), *(ask() for _ in range(ASKING)))
