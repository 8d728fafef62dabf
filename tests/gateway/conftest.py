"""A gateway on uvicorn, on loopback, in this process: on the background loop, as `surefoot serve` makes its loop the background loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from surefoot import runtime
from surefoot.config import Models
from surefoot.gateway.app import Gateway
from surefoot.gateway.records import KeyGrant
from surefoot.gateway.server import GatewayServer
from surefoot.gateway.services import StaticKeys
from surefoot.gateway.settings import ServeSettings
from surefoot.settings import Policy, Target
from surefoot.testing.wire import AnthropicSim, OpenAISim

KEY = "sf-test-0123456789abcdefghijklmnopqrstuv"
ADMIN = "sf-admin-0123456789abcdefghijklmnopqrstuv"
FAST = Policy(backoff_base_s=0.001, backoff_ceiling_s=0.002)


class Served:
    """A gateway that answers at `url`."""

    def __init__(self, gateway: Gateway, server: GatewayServer) -> None:
        self.gateway = gateway
        self.server = server
        self.url = f"http://127.0.0.1:{server.port}"
        self.ended: list[Any] = []
        gateway.services.observers.append(self.ended.append)


@contextmanager
def served(models: dict[str, Any], keys: Any = None, on_start: Any = None, **settings: Any) -> Iterator[Served]:
    """`models`: the settings as the file's reader gives them: {"chat": {"default": {"targets": [...]}}}."""
    said = ServeSettings(**{"port": 0, "ledger": "", "state": "", "batches": "", "log": False, **settings})
    keys = keys or StaticKeys({KEY: KeyGrant(key_id="k1", team="t1"), ADMIN: KeyGrant(key_id="a1", is_admin=True)})
    gateway = Gateway(Models(models), keys, said)
    gateway.on_start = on_start
    server = GatewayServer(gateway, log_level="error")

    async def run() -> asyncio.Task[None]:
        task = asyncio.ensure_future(server.serve())
        while not server.started and not task.done():
            await asyncio.sleep(0.005)
        return task

    task = runtime.run(run())
    assert server.started, "the gateway did not start"
    try:
        yield Served(gateway, server)
    finally:
        server.should_exit = True

        async def end() -> None:
            await asyncio.wait_for(task, 20)

        runtime.run(end())


@pytest.fixture(scope="module")
def sim() -> Iterator[OpenAISim]:
    with OpenAISim() as one:
        yield one


@pytest.fixture(scope="module")
def claude() -> Iterator[AnthropicSim]:
    with AnthropicSim() as one:
        yield one


def openai_target(sim: OpenAISim, model: str = "gpt-5-mini", **said: Any) -> Target:
    return Target(f"openai:{model}", base_url=f"{sim.url}/v1", api_key="upstream-key-0123456789", options=(("api", "chat"),), **said)


def anthropic_target(sim: AnthropicSim, model: str = "claude-sonnet-4-5") -> Target:
    return Target(f"anthropic:{model}", base_url=sim.url, api_key="upstream-key-0123456789")


@pytest.fixture(scope="module")
def gateway(sim: OpenAISim, claude: AnthropicSim) -> Iterator[Served]:
    chat = {
        "default": {"targets": [openai_target(sim)], "policy": FAST},
        "claude": {"targets": [anthropic_target(claude)], "policy": FAST},
    }
    with served({"chat": chat, "embed": {"embedder": {"targets": [openai_target(sim, "text-embedding-3-small")]}}}) as one:
        yield one


@pytest.fixture(autouse=True)
def _fresh(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for name in ("sim", "claude"):
        if name in request.fixturenames:
            request.getfixturevalue(name).reset()


Client = Callable[..., Any]
