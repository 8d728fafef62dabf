"""Which transport carries a call at the least cost: our direct provider, aiohttp, httpx2, or httpx2 over HTTP/2. CPU of the client process.

All send the same body and read the same answer with msgspec; nothing is checked, retried or timed. HTTP/2 is spoken in the clear, by
prior knowledge, with the h2 package on both sides (it is what httpx2 stands on), and has its own server, since the lean one speaks
HTTP/1.1 alone; all its calls share one connection, which is what HTTP/2 is for.

    python -m surefoot_eval bench transport
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from surefoot_eval.bench import plot
from surefoot_eval.bench.crew import Crew, grid, load, ratios
from surefoot_eval.bench.server import CHAT, server
from surefoot_eval.bench.worker import HTTP2, HTTPX, PROVIDER, RAW

CALLS = {1: 60, 32: 320, 256: 768}
STREAMS = 1_000  # at once on one connection, which the server allows: more than are in flight here


class Talk2(asyncio.Protocol):
    """One HTTP/2 connection: the canned chat answer to every request whose body has ended."""

    def __init__(self) -> None:
        from h2.config import H2Configuration
        from h2.connection import H2Connection
        from h2.settings import SettingCodes

        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._limits = {SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS}
        head, _, self._body = CHAT.partition(b"\r\n\r\n")
        names = [line.partition(": ")[::2] for line in head.decode().split("\r\n")[1:]]
        self._head = [(":status", "200"), *names]
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say the settings."""
        self._transport = transport
        self._h2.initiate_connection()
        self._h2.update_settings(self._limits)
        self._transport.write(self._h2.data_to_send())

    def data_received(self, data: bytes) -> None:
        """Answer what has been asked; take bodies as fast as they come."""
        from h2.events import DataReceived, StreamEnded

        for event in self._h2.receive_data(data):
            if isinstance(event, DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                self._h2.send_headers(event.stream_id, self._head)
                self._h2.send_data(event.stream_id, self._body, end_stream=True)
        if out := self._h2.data_to_send():
            self._transport.write(out)


async def _serve() -> None:
    listening = await asyncio.get_running_loop().create_server(Talk2, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1", flush=True)
    await asyncio.Event().wait()


@contextmanager
def _server2() -> Iterator[str]:
    """The HTTP/2 server in a process of its own; its base URL."""
    process = subprocess.Popen([sys.executable, "-m", "surefoot_eval.bench.sections.transport"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def run(*, rounds: int = 5) -> dict[str, Any]:
    """Every transport; medians and ratios. Without the package h2, HTTP/2 is named as absent."""
    names = (PROVIDER, RAW, HTTPX, *((HTTP2,) if find_spec("h2") else ()))
    medians: dict[str, dict[str, float]] = {name: {} for name in names}
    with server() as provider, _server2() as second:
        setting = {"url": provider.url, "spare": second}
        for width, calls in CALLS.items():
            # Processes of their own: httpx looks at every idle connection at each call, so 256 of an earlier job would be paid for here.
            with Crew(names) as crew:
                job = {"what": "ask", "setting": setting, "width": width, "calls": calls, "warm": width}
                for name, found in crew.rounds({f"{width} in flight": job}, rounds=rounds, title=f"transport, {width}").items():
                    medians[name] |= found
    return {
        "what": "CPU-us a call, medians",
        "rounds": rounds,
        "load": load(),
        "absent": [name for name in (HTTP2,) if name not in names],
        "medians": medians,
        "ratios": ratios(medians, RAW),
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = [grid(result["medians"], RAW, unit="CPU-us a call"), "", f"{result['rounds']} rounds; load {result['load']}."]
    lines += [f"Absent (`make peers`): {', '.join(result['absent'])}."] if result["absent"] else []
    return "\n".join(lines)


def plots(result: dict[str, Any]) -> dict[str, str]:
    """One chart."""
    values = {name: found["32 in flight"] for name, found in result["medians"].items()}
    return {"transport": plot.bars("CPU of one exchange, 32 in flight", values, unit="us")}


if __name__ == "__main__":
    asyncio.run(_serve())
