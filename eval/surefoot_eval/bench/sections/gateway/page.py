"""The page over a ledger of many rows: how long each view takes, and how much of it goes over the wire.

The rows are made by the ledger's own writer and by the call log's, over forty days, 50 keys and 6 targets; each view is then asked through
the gateway's whole pipeline, without a socket.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from surefoot.config import Models
from surefoot.gateway.app import Gateway
from surefoot.gateway.calls import CALLS, bucket_of
from surefoot.gateway.calls.log import write_calls
from surefoot.gateway.keys.store import SqlKeys
from surefoot.gateway.page.frame import MENU
from surefoot.gateway.page.sessions import PageSessions
from surefoot.gateway.router import SESSION_COOKIE
from surefoot.gateway.settings import ServeSettings
from surefoot.secret import Secret
from surefoot.usage.rows.sqlite import SqliteRows

DAYS, KEYS, AT_ONCE = 40, 50, 50_000
TARGETS = (
    "openai:gpt-5-mini",
    "openai:gpt-5",
    "anthropic:claude-sonnet-4-5",
    "anthropic:claude-haiku-4-5",
    "google:gemini-3-flash",
    "local:e5",
)
VIEWS = (*(path for path, _ in MENU), "/ui/calls?outcome=failed", "/ui/calls?model=rare", "/ui/compare?hours=168")


def measure(rows: int, *, rounds: int) -> dict[str, Any]:
    """Each view asked `4 * rounds` times over `rows` rows of the ledger and as many calls."""
    with tempfile.TemporaryDirectory() as at:
        return asyncio.run(_measure(Path(at), rows, rounds))


async def _measure(at: Path, rows: int, rounds: int) -> dict[str, Any]:
    keys = SqlKeys(Secret(f"sqlite:{at}/gateway.db"))
    ids = [(await keys.create(name=f"key {number}"))[0].id for number in range(KEYS)]
    admin, _ = await keys.create(name="admin", is_admin=True)
    begun = time.perf_counter()
    await _fill(at, keys, ids, rows)
    filled_s = time.perf_counter() - begun
    settings = ServeSettings(ledger=f"sqlite:{at}/usage.db", spool="", log=False)
    gateway = Gateway(Models({"chat": {"default": {"targets": ["local:extractive"]}}}), keys, settings)
    await gateway.start()
    session = await PageSessions(keys.database).begin(admin.id)
    took: dict[str, list[float]] = {view: [] for view in VIEWS}
    sizes: dict[str, int] = {}
    for number in range(4 * rounds + 1):
        for view in VIEWS:
            begun = time.perf_counter()
            sizes[view] = await _ask(gateway, view, session.token)
            if number:  # the first opens files and reads templates
                took[view].append((time.perf_counter() - begun) * 1e3)
    await gateway.stop()
    views = {
        view: {"p50_ms": statistics.median(ms), "p95_ms": statistics.quantiles(ms, n=20)[18], "bytes": sizes[view]}
        for view, ms in took.items()
    }
    return {
        "rows": rows,
        "filled_s": filled_s,
        "views": views,
        "worst_p95_ms": max(one["p95_ms"] for one in views.values()),
        "most_bytes": max(sizes.values()),
    }


async def _fill(at: Path, keys: SqlKeys, ids: list[str], rows: int) -> None:
    ledger = SqliteRows(at / "usage.db")
    ledger.prepare()
    draw, now = random.Random(7), time.time()  # noqa: TID251 - rows of the last days
    for begin in range(0, rows, AT_ONCE):
        booked, calls, counts = [], [], Counter[tuple[Any, ...]]()
        for number in range(begin, min(rows, begin + AT_ONCE)):
            moment = now - DAYS * 86_400 * (1 - number / rows)
            key, target = draw.choice(ids), draw.choice(TARGETS)
            model = "rare" if number % 50_000 == 7 else "default"
            ms, error = int(draw.lognormvariate(6, 1)), "Overloaded" if draw.random() < 0.02 else ""
            outcome = "failed" if error and draw.random() < 0.05 else "ok"
            day, tags = (
                time.strftime("%Y-%m-%d", time.gmtime(moment)),
                f'{{"key":"{key}","model":"{model}","request":"req_{number:024x}","team":"t"}}',
            )
            booked.append((moment, day, f"c{number}", "first", target, "team:t", tags, error, 700, 200, 0, 0, 0, 0.000_575, 0.0))
            trail = f'[["first","{target}","{error}",0,0,{ms},700,200,575000]]'
            calls.append(
                (moment, f"req_{number:024x}", "chat", model, target, key, "t", outcome, 200, "", ms, 0, None, 700, 200, 575_000, 0, trail)
            )
            hour = int(moment // 3600)
            counts[hour, "request", model, outcome, bucket_of(ms)] += 1
            counts[hour, "attempt", target, error, bucket_of(ms)] += 1
        ledger.write(booked, f"b{begin}")
        await keys.database.run(lambda sql, calls=calls, counts=counts: write_calls(sql, calls, counts), CALLS)  # type: ignore[misc]


async def _ask(gateway: Gateway, view: str, token: str) -> int:
    path, _, query = view.partition("?")
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "headers": [(b"host", b"127.0.0.1"), (b"accept-encoding", b"gzip"), (b"cookie", f"{SESSION_COOKIE}={token}".encode())],
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await gateway(scope, receive, send)
    assert sent[0]["status"] == 200, (view, sent[0]["status"])
    return sum(len(message.get("body", b"")) for message in sent)
