"""A simulator in a process of its own: for load tests, and for tests of several processes against one provider."""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType
from typing import Self
from urllib.request import Request, urlopen

import msgspec

from surefoot.testing.wire._model._schema import Json
from surefoot.testing.wire.faults import Vendor

STOP_S = 5.0  # how long a terminated process may take before it is killed


class SimProcess:
    """`with SimProcess("openai", "--gap-s", "0.01") as sim: sim.url` runs `python -m surefoot.testing.wire` and stops it at the end.

    The arguments after the vendor are those of the command line.
    """

    def __init__(self, vendor: Vendor, *arguments: str, python: str = sys.executable) -> None:
        """Nothing runs yet. `python` is the interpreter to use."""
        self._command = [python, "-m", "surefoot.testing.wire", "--vendor", vendor, *arguments]
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        """Start it; returns once it has printed its address. Raises RuntimeError when it ends instead."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own module
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError(f"the simulator ended with code {self._process.wait()} before it printed its address")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Terminate it."""
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def stats(self) -> Json:
        """What `WireSim.stats` says there, with the process's CPU seconds."""
        return self._call("stats")

    def script(self, *faults: str, always: bool = False) -> Json:
        """Play faults by their names, one a request; with `always` the first one on every request."""
        return self._call("script", {"faults": list(faults), "always": always})

    def reset(self) -> Json:
        """Forget everything; the server goes on."""
        return self._call("reset", {})

    def _call(self, verb: str, body: Json | None = None) -> Json:
        data = None if body is None else msgspec.json.encode(body)
        request = Request(f"{self.url}/_sim/{verb}", data=data, method="GET" if body is None else "POST")  # noqa: S310 - loopback
        with urlopen(request, timeout=STOP_S) as answer:  # noqa: S310
            return msgspec.json.decode(answer.read(), type=dict[str, object])
