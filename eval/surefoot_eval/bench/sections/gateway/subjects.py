"""Who is measured, each in a process of its own: `surefoot serve` with everything on, the byte pipe, and the peers that are installed."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import psutil  # type: ignore[import-untyped, unused-ignore]

from surefoot import runtime
from surefoot.gateway.keys.store import SqlKeys
from surefoot.gateway.records import Allowance
from surefoot.secret import Secret
from surefoot_eval.bench.crew import PEERS, ROOT, python_of

OURS, FLOOR, LITELLM, PORTKEY = "surefoot serve", "byte pipe (the floor)", "LiteLLM proxy", "Portkey"
START_S = 90.0  # LiteLLM takes a quarter of it on a quiet machine
MODEL = "default"
NOTHING: Mapping[str, str] = {}
PROMPT = "Tell me what retrieval augmented generation is, in two sentences, and name a case in which it does not help. " * 2


class GatewayProcess:
    """A gateway in a process of its own, at `address`; `headers` are what a client sends."""

    def __init__(
        self, command: list[str], port: int, *, headers: Mapping[str, str], ready: str = "", env: Mapping[str, str] = NOTHING
    ) -> None:
        self.port = port
        self.address = f"http://127.0.0.1:{port}"
        self.headers = dict(headers)
        self.folder: Path | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        said = {**os.environ, **env}  # noqa: TID251 - for a process
        self._process = subprocess.Popen(command, cwd=ROOT / "eval", stdout=self._log, stderr=self._log, env=said, start_new_session=True)
        try:
            self._await(ready)
        except BaseException:
            self.stop()
            raise

    def _await(self, ready: str) -> None:
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s:
            if self._process.poll() is not None:
                break
            try:
                if ready:
                    urlopen(self.address + ready, timeout=5).close()  # noqa: S310 - loopback
                else:
                    socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            except (URLError, OSError):
                time.sleep(0.1)
            else:
                return
        self._log.seek(0)
        raise RuntimeError(f"it did not start: {self._log.read()[-2000:].decode(errors='replace')}")

    @property
    def pid(self) -> int:
        """Of its first process."""
        return self._process.pid

    def _all(self) -> list[Any]:
        first = psutil.Process(self._process.pid)
        return [first, *first.children(recursive=True)]

    def cpu_s(self) -> float:
        """Seconds of CPU so far, of all its processes."""
        times = [one.cpu_times() for one in self._all()]
        return float(sum(one.user + one.system for one in times))

    def rss_mb(self) -> float:
        """Megabytes of memory, of all its processes."""
        return float(sum(one.memory_info().rss for one in self._all()) / 2**20)

    def connections(self) -> int:
        """Its connections that stand, to clients and upstream."""
        return sum(one.status == psutil.CONN_ESTABLISHED for one in psutil.Process(self._process.pid).net_connections("tcp"))

    def signal(self, number: int) -> None:
        """Send a signal to its first process."""
        self._process.send_signal(number)

    def wait(self, timeout_s: float) -> int:
        """Wait until it has ended; its exit code."""
        return self._process.wait(timeout_s)

    def log(self) -> str:
        """What it has written so far."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def stop(self) -> None:
        """End it, with its children."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def free_port() -> int:
    """A TCP port that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


ALLOWANCE = Allowance(budget_nano=10**15, period="month", requests_per_minute=10**8, tokens_per_minute=10**9)


def made_key(state: str, allowance: Allowance = ALLOWANCE, *, team: Allowance = ALLOWANCE) -> str:
    """The secret of a new key in a new team, in the gateway's database."""

    async def made() -> str:
        keys = SqlKeys(Secret(state))
        try:
            name = f"bench-{secrets.token_hex(4)}"
            await keys.set_team(name, team)
            return (await keys.create(team=name, allowance=allowance))[1]
        finally:
            await keys.aclose()

    return runtime.run(made())


def ours(upstream: str, *, secret: str = "", target: Mapping[str, Any] = NOTHING, **serve: Any) -> GatewayProcess:
    """`surefoot serve` as it comes: keys, limits and budgets of key and team, ledger and metrics on.

    `secret`: of a key that is there already; left out, one is made. `target`, `serve`: more of the target, and of `[serve]`.
    """
    folder = Path(tempfile.mkdtemp(prefix="surefoot-gateway-"))
    port = free_port()
    said = {"port": port, "state": f"sqlite:{folder}/state.db", "ledger": f"sqlite:{folder}/usage.db", "metrics": "open"}
    said |= {"spool": f"{folder}/spool", **serve}
    at = {"base_url": f"{upstream}/v1", "api_key": "upstream-key-0123456789", **target}
    lines = ["[serve]", *(f"{name} = {json.dumps(value)}" for name, value in said.items())]
    lines += ["[chat.default]", f"targets = [{json.dumps('openai:gpt-5-mini')}]", '[target."openai:gpt-5-mini"]']
    lines += ['options = { api = "chat" }', *(f"{name} = {json.dumps(value)}" for name, value in at.items())]
    (folder / "surefoot.toml").write_text("\n".join(lines), encoding="utf-8")
    secret = secret or made_key(str(said["state"]))
    command = [sys.executable, "-m", "surefoot.cli.main", "serve", str(folder / "surefoot.toml")]
    found = GatewayProcess(command, port, headers={"authorization": f"Bearer {secret}"}, ready="/health/live")
    found.folder = folder
    return found


def floor(upstream: str) -> GatewayProcess:
    """The byte pipe."""
    port = free_port()
    command = [sys.executable, "-m", "surefoot_eval.bench.sections.gateway.floor", upstream, str(port)]
    return GatewayProcess(command, port, headers={"authorization": "Bearer anybody"})


def litellm(upstream: str) -> GatewayProcess:
    """LiteLLM's proxy, without a database, as its quick start has it."""
    folder, port = Path(tempfile.mkdtemp(prefix="surefoot-litellm-")), free_port()
    params = {"model": "openai/gpt-5-mini", "api_base": f"{upstream}/v1", "api_key": "upstream-key"}
    (folder / "config.json").write_text(json.dumps({"model_list": [{"model_name": MODEL, "litellm_params": params}]}), encoding="utf-8")
    command = [str(PEERS / "litellm-proxy" / "bin" / "litellm"), "--config", str(folder / "config.json"), "--port", str(port)]
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "NO_DOCS": "True"}
    found = GatewayProcess(
        [*command, "--host", "127.0.0.1"], port, headers={"authorization": "Bearer anybody"}, ready="/health/liveliness", env=env
    )
    found.folder = folder
    return found


def portkey(upstream: str) -> GatewayProcess:
    """Portkey's gateway on node."""
    port = free_port()
    command = ["node", str(_portkey()), f"--port={port}", "--headless"]
    headers = {"authorization": "Bearer anybody", "x-portkey-provider": "openai", "x-portkey-custom-host": f"{upstream}/v1"}
    return GatewayProcess(command, port, headers=headers)


def _portkey() -> Path:
    return PEERS / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"


SUBJECTS: dict[str, tuple[Callable[[str], GatewayProcess], Callable[[], bool]]] = {  # name -> how it is started, whether it is here
    FLOOR: (floor, lambda: True),
    OURS: (ours, lambda: True),
    LITELLM: (litellm, lambda: python_of("litellm-proxy") is not None),
    PORTKEY: (portkey, lambda: _portkey().exists() and shutil.which("node") is not None),
}


def body(*, stream: bool) -> dict[str, Any]:
    """What is asked."""
    return {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 100, "stream": stream}
