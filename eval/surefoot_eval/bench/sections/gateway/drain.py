"""SIGTERM under many streams: the gateway is not ready any more, and all that were begun end whole."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from surefoot_eval.bench.sections.gateway.client import KeptConnection, Unanswered, request_of
from surefoot_eval.bench.sections.gateway.cost import PATH
from surefoot_eval.bench.sections.gateway.subjects import GatewayProcess, body
from surefoot_eval.bench.server import CHUNKS

STREAMS = 200
LOOK_S = 0.05  # between two looks at readiness
END_S = 30.0


def measure(subject: GatewayProcess) -> dict[str, Any]:
    """STREAMS streams, SIGTERM once all have begun: how many end whole, and how soon the gateway says that it is not ready."""
    found = asyncio.run(_measure(subject))
    subject.wait(END_S)
    return found


async def _measure(subject: GatewayProcess) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    request = request_of(PATH, body(stream=True), subject.headers)
    begun = [loop.create_future() for _ in range(STREAMS)]

    async def stream(at: int) -> bool:
        connection = KeptConnection(subject.address)
        connection.on_data = lambda events: None if begun[at].done() or not events else begun[at].set_result(None)
        try:
            return await connection.ask(request) == 200 and connection.events >= CHUNKS
        except Unanswered:
            return False
        finally:
            if not begun[at].done():
                begun[at].set_result(None)
            connection.drop()

    streams = [asyncio.ensure_future(stream(at)) for at in range(STREAMS)]
    await asyncio.gather(*begun)
    subject.signal(signal.SIGTERM)
    at = loop.time()
    ready = request_of("/health/ready", None, {})
    while True:
        connection = KeptConnection(subject.address)
        try:
            status = await connection.ask(ready)
        except Unanswered:
            status = 0  # it takes no connection any more
        connection.drop()
        if status != 200:
            break
        await asyncio.sleep(LOOK_S)
    not_ready_s = loop.time() - at
    under_way = sum(not one.done() for one in streams)
    whole = sum(await asyncio.gather(*streams))
    return {"streams": STREAMS, "under_way": under_way, "cut": STREAMS - whole, "not_ready_s": not_ready_s}
