"""What the edge alone costs: CPU of the client process for one call and one streamed chunk, beside the vendor's SDK, in one run.

The provider is the OpenAI simulator in a process of its own, each subject runs in a process of its own, subjects take turns, and each
figure is the median over the rounds; ratios are against the bare SDK with its default client in the same column.

    python -m eval.bench.edge [--rounds 5]
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
from typing import Any

from eval.bench.overhead import simulator

ROUNDS = 5
CALLS = {1: 300, 32: 2_000, 256: 2_000}  # in flight -> calls measured
STREAMS = 200  # read at 32 in flight, some 60 chunks each
TEXTS = 256  # of one embeddings request, 1,536 numbers each
PROMPT = "What is retrieval augmented generation, in one sentence? " * 4
MODEL = "gpt-4.1"
BASE = "openai SDK, default client"
MESSAGES: Any = [{"role": "user", "content": PROMPT}]

Ask = Callable[[], Awaitable[int]]  # makes one call; the number of chunks it was answered in


class Subject:
    """One client: how it asks, streams and embeds."""

    def __init__(self, ask: Ask, stream: Ask, embed: Ask) -> None:
        self.ask, self.stream, self.embed = ask, stream, embed


def _bare(url: str, *, aiohttp: bool) -> Subject:
    import openai

    kwargs: dict[str, Any] = {"http_client": openai.DefaultAioHttpClient()} if aiohttp else {}
    client = openai.AsyncOpenAI(base_url=url, api_key="bench", max_retries=0, **kwargs)

    async def ask() -> int:
        reply = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
        return len(reply.choices)

    async def stream() -> int:
        chunks = 0
        events = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True})
        async for _ in events:
            chunks += 1
        return chunks

    async def embed() -> int:
        return len((await client.embeddings.create(model="text-embedding-3-small", input=[PROMPT] * TEXTS)).data)

    return Subject(ask, stream, embed)


def _edge(url: str, *, lane: Any) -> Subject:
    from surefoot.providers.openai import OpenAIEdge
    from surefoot.target import Target
    from surefoot.types import Call, ChatRequest, EmbedRequest, Message, Tally

    chat = OpenAIEdge(Target(f"openai:{MODEL}", base_url=url, api_key="bench", lane=lane), None)
    vectors = OpenAIEdge(Target("openai:text-embedding-3-small", base_url=url, api_key="bench", lane=lane), None)

    async def ask() -> int:
        reply = await chat.chat(Call(request=ChatRequest(messages=(Message.user(PROMPT),)), tally=Tally()))
        return bool(reply.text)  # type: ignore[union-attr]

    async def stream() -> int:
        chunks = 0
        async for _ in await chat.chat(Call(request=ChatRequest(messages=(Message.user(PROMPT),)), tally=Tally(), stream=True)):  # type: ignore[union-attr]
            chunks += 1
        return chunks

    async def embed() -> int:
        return len((await vectors.embed(Call(request=EmbedRequest(texts=(PROMPT,) * TEXTS), tally=Tally()))).vectors)

    return Subject(ask, stream, embed)


SUBJECTS: dict[str, Callable[[str], Subject]] = {
    BASE: lambda url: _bare(url, aiohttp=False),
    "openai SDK, aiohttp client": lambda url: _bare(url, aiohttp=True),
    "edge, SDK lane": lambda url: _edge(url, lane="sdk"),
    "edge, direct lane": lambda url: _edge(url, lane="direct"),
}


async def _cpu_us(ask: Ask, *, width: int, calls: int) -> tuple[float, int]:
    """CPU-us of `calls` calls, `width` at a time, and the chunks they brought."""
    left = iter(range(calls))
    chunks = 0

    async def worker(left: Iterator[int]) -> None:
        nonlocal chunks
        for _ in left:
            brought = await ask()  # in two steps: others add while this one waits
            chunks += brought

    began = time.process_time()
    await asyncio.gather(*(worker(left) for _ in range(width)))
    return (time.process_time() - began) * 1e6, chunks


async def _measure(name: str, url: str) -> dict[str, float]:
    subject = SUBJECTS[name](url)
    for _ in range(20):
        await subject.ask()
    found: dict[str, float] = {}
    for width, calls in CALLS.items():
        found[f"call, {width} in flight"] = (await _cpu_us(subject.ask, width=width, calls=calls))[0] / calls
    spent, chunks = await _cpu_us(subject.stream, width=32, calls=STREAMS)
    found["streamed chunk"] = spent / chunks
    await subject.embed()
    spent, texts = await _cpu_us(subject.embed, width=1, calls=8)
    found["embedded text"] = spent / texts
    return found


def run(*, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measure every subject in turn; medians and ratios."""
    from tqdm import tqdm

    samples: dict[str, list[dict[str, float]]] = {name: [] for name in SUBJECTS}
    with simulator() as url, tqdm(total=rounds * len(SUBJECTS), unit="run") as bar:
        for _ in range(rounds):
            for name in SUBJECTS:
                command = [sys.executable, "-m", "eval.bench.edge", "--subject", name, "--url", url]
                out = subprocess.run(command, capture_output=True, text=True, check=True)
                samples[name].append(json.loads(out.stdout))
                bar.update()
    medians = {name: {what: statistics.median(run[what] for run in runs) for what in runs[0]} for name, runs in samples.items()}
    base = medians[BASE]
    ratios = {name: {what: value / base[what] for what, value in found.items()} for name, found in medians.items()}
    return {"what": "CPU-us, medians", "rounds": rounds, "medians": medians, "ratios": ratios}


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    columns = list(result["medians"][BASE])
    lines = ["| CPU-us | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, found in result["medians"].items():
        cells = (f"{value:,.0f} ({result['ratios'][name][what]:.2f}x)" for what, value in found.items())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--subject", choices=SUBJECTS)
    parser.add_argument("--url")
    arguments = parser.parse_args()
    if arguments.subject:
        print(json.dumps(asyncio.run(_measure(arguments.subject, arguments.url))))
    else:
        print(table(run(rounds=arguments.rounds)))
