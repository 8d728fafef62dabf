"""A process of the fleet, which asks models as it is told. Run as a file, also by the interpreter of a peer that has no surefoot.

    python worker.py NAME surefoot|litellm

Lines of JSON come in, one goes out for each. `open`: a model of that name, with its address, limits and store. `ask`: so many calls a
second of each model, at random moments, for so long. `hold`: so many calls of one model at a time, for so long.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

Ask = Callable[[str], Awaitable[object]]
WORDS = "what do many processes share of one quota "
ANSWER_TOKENS = 64


def surefoot(said: dict[str, Any]) -> Ask:
    """A model whose limits are shared through `store`, or its own where that is empty."""
    from surefoot import ChatModel, Policy, Target

    target = Target(
        "openai:gpt-4.1", base_url=said["url"], api_key="bench", lane="direct",
        requests_per_minute=said.get("rpm"), tokens_per_minute=said.get("tpm"), concurrency=said.get("places"),
    )  # fmt: skip
    chat = ChatModel(target, policy=Policy(shared=said["store"], deadline_s=None, queue_size=1_000_000, coalesce=False))

    async def ask(text: str) -> object:
        return await chat.ainvoke(text, max_tokens=ANSWER_TOKENS)

    return ask


def litellm(said: dict[str, Any]) -> Ask:
    """LiteLLM's Router as its documents have it for several instances: limits counted in Redis, and enforced before each call."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # noqa: TID251 - the package's own switch, for its prices not to be fetched
    import litellm as package
    from litellm import Router

    package.suppress_debug_info = True
    package.telemetry = False
    params = {"model": "openai/gpt-4.1", "api_base": said["url"], "api_key": "bench", "rpm": said.get("rpm"), "tpm": said.get("tpm")}
    host, port = said["store"].removeprefix("redis://").split("/")[0].split(":")
    router = Router(
        model_list=[{"model_name": "main", "litellm_params": {name: value for name, value in params.items() if value is not None}}],
        redis_host=host, redis_port=int(port), num_retries=10, enable_pre_call_checks=True,
        optional_pre_call_checks=["enforce_model_rate_limits"],
    )  # fmt: skip

    async def ask(text: str) -> object:
        return await router.acompletion(model="main", messages=[{"role": "user", "content": text}], max_tokens=ANSWER_TOKENS)

    return ask


class FleetProcess:
    """The models of this process, and what came of their calls."""

    def __init__(self, name: str, kind: str) -> None:
        self._name = name
        self._maker = {"surefoot": surefoot, "litellm": litellm}[kind]
        self._asks: dict[str, Ask] = {}
        self._count = 0
        self._took: dict[str, list[float]] = {}
        self._lost: dict[str, Counter[str]] = {}

    async def do(self, said: dict[str, Any]) -> dict[str, Any]:
        """One line."""
        if "open" in said:
            ask = self._asks[said["open"]] = self._maker(said)
            await ask(f"{self._name} is there")  # what is imported and opened by the first call is nothing to measure
            return {"opened": said["open"]}
        self._took, self._lost = {name: [] for name in self._asks}, {name: Counter() for name in self._asks}
        tasks: set[asyncio.Task[None]] = set()
        if "hold" in said:
            tasks |= {asyncio.create_task(self._again(said["hold"])) for _ in range(said["width"])}
            await asyncio.sleep(said["seconds"])
        else:
            rng = Random(said["seed"])
            await asyncio.gather(*(self._arrive(name, per_s, said["seconds"], rng, tasks) for name, per_s in said["ask"].items()))
        left = [task for task in tasks if not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        return {"took": self._took, "lost": self._lost, "left": len(left)}

    async def _arrive(self, name: str, per_s: float, seconds: float, rng: Random, tasks: set[asyncio.Task[None]]) -> None:
        loop = asyncio.get_running_loop()
        at = loop.time()
        until = at + seconds
        while (at := at + rng.expovariate(per_s)) < until:
            await asyncio.sleep(max(0.0, at - loop.time()))
            if loop.time() >= until:  # who cannot keep up offers less
                return
            tasks.add(asyncio.create_task(self._one(name)))

    async def _again(self, name: str) -> None:
        while True:
            await self._one(name)

    async def _one(self, name: str) -> None:
        self._count += 1
        text = f"{self._name} {self._count} " + WORDS * (1 + self._count * 7919 % 8)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            await self._asks[name](text)
        except Exception as error:  # noqa: BLE001 - a peer may raise anything
            self._lost[name][type(error).__name__] += 1
        else:
            self._took[name].append(loop.time() - begun)


async def main() -> None:
    """Do what the lines say, one after the other."""
    process = FleetProcess(*sys.argv[1:])
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await process.do(json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
