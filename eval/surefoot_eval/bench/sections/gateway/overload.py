"""Five times more than there are places for: does the probe answer, and how much is still answered well?

The upstream takes 50 ms, and the gateway has few places, so that it is the places that are short, as they are before a provider. The
peak is measured with as many clients as places; then calls are begun at five times that rate, whether answered or not.
"""

from __future__ import annotations

import asyncio
from typing import Any

from surefoot_eval.bench.sections.gateway.client import KeptConnection, Unanswered, ask_all, request_of
from surefoot_eval.bench.sections.gateway.cost import PATH
from surefoot_eval.bench.sections.gateway.subjects import GatewayProcess, body

LATENCY_MS = 50
PLACES, QUEUED = 16, 16
TIMES = 5
PEAK_CALLS = 800
OVERLOAD_S = 6.0
PROBE_S = 0.02  # between two probes


def measure(subject: GatewayProcess) -> dict[str, Any]:
    """Goodput at the peak and at five times it, the probe's and the refusals' time."""
    return asyncio.run(_measure(subject))


async def _measure(subject: GatewayProcess) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    request = request_of(PATH, body(stream=False), subject.headers)
    await ask_all(subject.address, request, calls=2 * PLACES, width=PLACES)
    began = loop.time()
    peak_of = await ask_all(subject.address, request, calls=PEAK_CALLS, width=PLACES)
    peak = peak_of.get(200, 0) / (loop.time() - began)
    flood = _Flood(subject.address, request)
    begin = loop.time()
    until = begin + OVERLOAD_S
    probing = asyncio.ensure_future(_probe(subject, until))
    begun = 0
    while (now := loop.time()) < until:
        while begun < (now - begin) * TIMES * peak:
            begun += 1
            flood.begin()
        await asyncio.sleep(0.002)
    probes = sorted(await probing)
    await flood.end()
    refused = sorted(flood.refused)
    return {
        "peak_per_s": peak,
        "offered_per_s": begun / OVERLOAD_S,
        "good_per_s": sum(at <= until for at in flood.answered) / OVERLOAD_S,
        "refused": len(refused),
        "others": flood.others[:20],
        "probes": len(probes),
        "probe_p99_ms": _at(probes, 0.99),
        "probe_worst_ms": _at(probes, 1.0),
        "refused_p50_ms": _at(refused, 0.5),
        "refused_p99_ms": _at(refused, 0.99),
    }


class _Flood:
    """Calls begun whether others were answered or not, over as many connections as that takes."""

    def __init__(self, address: str, request: bytes) -> None:
        self._address, self._request = address, request
        self._free: list[KeptConnection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.answered: list[float] = []  # when
        self.refused: list[float] = []  # after how many seconds
        self.others: list[int] = []  # statuses; 0: no answer

    def begin(self) -> None:
        """Begin one more."""
        task = asyncio.ensure_future(self._ask())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self) -> None:
        connection = self._free.pop() if self._free else KeptConnection(self._address)
        loop = asyncio.get_running_loop()
        at = loop.time()
        try:
            status = await connection.ask(self._request)
        except Unanswered:
            status = 0
        else:
            self._free.append(connection)
        if status == 200:
            self.answered.append(loop.time())
        elif status == 503:
            self.refused.append(loop.time() - at)
        else:
            self.others.append(status)

    async def end(self) -> None:
        """Wait for those under way."""
        await asyncio.gather(*self._tasks)
        for connection in self._free:
            connection.drop()


async def _probe(subject: GatewayProcess, until: float) -> list[float]:
    """Seconds that the live probe took, each time."""
    connection, asked, loop = KeptConnection(subject.address), request_of("/health/live", None, {}), asyncio.get_running_loop()
    found: list[float] = []
    while loop.time() < until:
        at = loop.time()
        status = await connection.ask(asked)
        found.append(loop.time() - at if status == 200 else float("inf"))
        await asyncio.sleep(PROBE_S)
    connection.drop()
    return found


def _at(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))] * 1e3 if values else float("nan")
