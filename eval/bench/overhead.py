"""What one call costs: CPU of the client process, beside the vendor's SDK alone, in one run.

The provider is the OpenAI simulator in a process of its own. Each subject runs in a process of its own as well, subjects take turns, and
each figure is the median over the rounds; ratios are against the bare SDK with its default client at the same number in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

ROUNDS = 5
CALLS = {1: 300, 32: 2_000, 256: 2_000}  # in flight -> calls measured
PROMPT = "What is retrieval augmented generation, in one sentence? " * 4
MODEL = "gpt-5-mini"
MESSAGES = [{"role": "user", "content": PROMPT}]

Ask = Callable[[], Awaitable[Any]]


def _bare(url: str, *, aiohttp: bool) -> Ask:
    import openai

    kwargs: dict[str, Any] = {"http_client": openai.DefaultAioHttpClient()} if aiohttp else {}
    client = openai.AsyncOpenAI(base_url=url, api_key="bench", max_retries=0, **kwargs)
    return lambda: client.chat.completions.create(model=MODEL, messages=MESSAGES)  # type: ignore[arg-type]


def _ours(url: str, *, lane: str, adopt: bool) -> Ask:
    from surefoot import ChatModel, Target, runtime

    if adopt:
        runtime.adopt()
    chat = ChatModel(Target(f"openai:{MODEL}", base_url=url, api_key="bench", lane=lane), **everything())  # type: ignore[arg-type]
    return lambda: chat.ainvoke(PROMPT)


def everything() -> dict[str, Any]:
    """Settings with all policies on."""
    from surefoot import Policy

    return {"policy": Policy(hedge_after="p95", budget_usd=1e9), "cache": None}


def _stack_alone(url: str) -> Ask:
    from surefoot import ChatModel, runtime
    from surefoot.types import ChatReply

    del url
    runtime.adopt()
    reply = ChatReply(text="fine", model=MODEL)

    class Null:
        """Answers at once: what is left is the rooms."""

        name = "null:edge"

        async def chat(self, call: Any) -> ChatReply:
            """One answer, made beforehand."""
            del call
            return reply

    chat = ChatModel(Null(), **everything())
    return lambda: chat.ainvoke(PROMPT)


def _raw(url: str) -> Ask:
    import aiohttp
    import msgspec

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    headers = {"authorization": "Bearer bench", "content-type": "application/json"}

    async def ask() -> Any:
        body = msgspec.json.encode({"model": MODEL, "messages": MESSAGES})
        async with session.post(f"{url}/chat/completions", data=body, headers=headers) as answer:
            return msgspec.json.decode(await answer.read())

    return ask


SUBJECTS: dict[str, Callable[[str], Ask]] = {
    "openai SDK, default client": lambda url: _bare(url, aiohttp=False),
    "openai SDK, aiohttp client": lambda url: _bare(url, aiohttp=True),
    "aiohttp + msgspec, nothing else": _raw,
    "surefoot, SDK lane, in-loop": lambda url: _ours(url, lane="sdk", adopt=True),
    "surefoot, SDK lane, home loop": lambda url: _ours(url, lane="sdk", adopt=False),
    "surefoot, direct lane, in-loop": lambda url: _ours(url, lane="direct", adopt=True),
    "surefoot, direct lane, home loop": lambda url: _ours(url, lane="direct", adopt=False),
    "surefoot, the stack alone": _stack_alone,
}
BASE = "openai SDK, default client"


async def _measure(subject: str, url: str) -> dict[int, float]:
    """CPU-us a call, by number in flight."""
    ask = SUBJECTS[subject](url)
    for _ in range(30):
        await ask()
    found: dict[int, float] = {}
    for width, calls in CALLS.items():
        left = iter(range(calls))

        async def worker(left: Iterator[int] = left) -> None:
            for _ in left:
                await ask()

        began = time.process_time()
        await asyncio.gather(*(worker() for _ in range(width)))
        found[width] = (time.process_time() - began) / calls * 1e6
    return found


@contextmanager
def simulator(*options: str) -> Iterator[str]:
    """The OpenAI simulator in a process of its own; yields its base URL."""
    command = [sys.executable, "-m", "surefoot.testing.wire", "--vendor", "openai", "--record", "10", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline() if server.stdout is not None else ""
            address = next(word for word in line.split() if word.startswith("http"))
            yield f"{address.rstrip('/')}/v1"
        finally:
            server.terminate()


def run(*, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measure every subject; returns medians and ratios."""
    from tqdm import tqdm

    if find_spec("openai") is None:
        raise SystemExit('the bare SDK is absent: pip install "surefoot[openai]"')
    samples: dict[str, list[dict[int, float]]] = {name: [] for name in SUBJECTS}
    with simulator() as url, tqdm(total=rounds * len(SUBJECTS), unit="run") as bar:
        for _ in range(rounds):
            for name in SUBJECTS:
                out = subprocess.run(
                    [sys.executable, "-m", "eval.bench.overhead", "--subject", name, "--url", url],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                samples[name].append({int(key): value for key, value in json.loads(out.stdout).items()})
                bar.update()
    medians = {name: {width: statistics.median(run[width] for run in runs) for width in CALLS} for name, runs in samples.items()}
    base = medians[BASE]
    return {
        "what": "CPU-us a call, medians",
        "rounds": rounds,
        "medians": medians,
        "ratios": {name: {width: value / base[width] for width, value in found.items()} for name, found in medians.items()},
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    head = "| CPU-us a call | " + " | ".join(f"{width} in flight" for width in CALLS) + " |"
    lines = [head, "|---" * (len(CALLS) + 1) + "|"]
    for name, found in result["medians"].items():
        cells = (f"{value:,.0f} ({result['ratios'][name][width]:.2f}x)" for width, value in found.items())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--subject", required=True, choices=SUBJECTS)
    parser.add_argument("--url", required=True)
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(_measure(arguments.subject, arguments.url))))
