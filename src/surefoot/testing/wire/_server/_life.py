"""The life of a simulator: in a thread of its own, or on the running loop."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self

from surefoot.testing.wire._server._http import Connection, WireReply, WireRequest

START_S = 10.0  # a server thread that has not bound its port by then never will


class LoopbackServer:
    """Binds a port on loopback and hands every request to `serve`.

    `with` runs it in a thread of its own: right for every client, sync or async. `async with` runs it on the running loop: then that
    loop's (perhaps virtual) time governs its delays, and only async clients of that loop may call it.
    """

    def __init__(self, host: str, port: int) -> None:
        """Nothing is opened yet; `port` 0 takes a free one."""
        self.host, self.port = host, port
        self.url = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._listening: asyncio.Server | None = None
        self._halt: asyncio.Event | None = None
        self._live: set[Connection] = set()

    def serve(self, request: WireRequest) -> WireReply:
        """Answer one request; the simulator fills this in."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Run in a thread of its own."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop, ending open connections."""
        self.stop()

    async def __aenter__(self) -> Self:
        """Run on the running loop."""
        await self._open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop, ending open connections."""
        await self._shut()

    def start(self) -> Self:
        """Start the thread; returns once the port is bound. Raises OSError when it is taken."""
        started, failed = threading.Event(), []

        async def main() -> None:
            try:
                self._halt = asyncio.Event()
                await self._open()
            except OSError as error:
                failed.append(error)
                return
            finally:
                started.set()
            await self._halt.wait()
            await self._shut()

        self._thread = threading.Thread(target=lambda: asyncio.run(main()), name="surefoot-sim", daemon=True)
        self._thread.start()
        if not started.wait(START_S):
            raise TimeoutError(f"the simulator did not bind a port within {START_S} s")
        if failed:
            raise failed[0]
        return self

    def stop(self) -> None:
        """Stop the thread, ending open connections: from now on the port refuses."""
        loop, halt, thread = self._loop, self._halt, self._thread
        if loop is not None and halt is not None and thread is not None:
            loop.call_soon_threadsafe(halt.set)
            thread.join(START_S)
            self._thread = self._halt = None

    async def _open(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(lambda: Connection(self.serve, self._live, loop), self.host, self.port, backlog=4096)
        bound = self._listening.sockets[0].getsockname()[1]
        self.url = f"http://{self.host}:{bound}"

    async def _shut(self) -> None:
        if self._listening is not None:
            self._listening.close()
            for connection in tuple(self._live):
                connection.abort()
            await asyncio.sleep(0)  # let every connection_lost run, so that all bills are written
            await self._listening.wait_closed()
            self._listening = None
        self._loop = None
