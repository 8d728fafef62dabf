"""A load test of any OpenAI-compatible address: calls begun at an even rate, whether answered or not, and what became of them.

python -m surefoot_eval bench gateway --load https://gateway.example --key env:GATEWAY_KEY --rate 50 --seconds 60 --stream
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import Any

from surefoot.errors import Misconfigured
from surefoot_eval.bench.sections.gateway.cost import PATH
from surefoot_eval.bench.sections.gateway.subjects import PROMPT

SHARES = (0.5, 0.9, 0.99, 1.0)
OPEN = 2_000  # calls under way at most; beyond, they count as not begun
PATIENCE_S = 60.0


def run_load(url: str, *, key: str, model: str, rate: float, seconds: float, stream: bool) -> dict[str, Any]:
    """Ask `url` for so long. Raises Misconfigured for a key that is not there or a rate that is none."""
    if not 0 < rate <= 10_000 or not 0 < seconds <= 86_400:
        raise Misconfigured(f"--rate {rate} must be above 0 and at most 10,000 a second, --seconds {seconds} above 0 and at most a day")
    secret = os.environ.get(key.removeprefix("env:"), "") if key.startswith("env:") else key  # noqa: TID251 - a command's own option
    if not secret:
        raise Misconfigured(f"--key {key}: the variable is not set or empty")
    address = url.rstrip("/").removesuffix("/v1")
    return asyncio.run(_run(address, secret, model, rate, seconds, stream=stream))


async def _run(address: str, secret: str, model: str, rate: float, seconds: float, *, stream: bool) -> dict[str, Any]:
    import aiohttp

    asked = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 100, "stream": stream}
    headers = {"authorization": f"Bearer {secret}", "x-stainless-read-timeout": f"{PATIENCE_S:g}"}
    loop = asyncio.get_running_loop()
    took: list[float] = []
    first: list[float] = []
    ended: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    tasks: set[asyncio.Task[None]] = set()

    async def one(session: aiohttp.ClientSession) -> None:
        at = loop.time()
        try:
            async with session.post(address + PATH, json=asked) as answer:
                whole, began = b"", 0.0
                async for block in answer.content.iter_any():
                    began = began or loop.time() - at
                    whole = (whole + block)[-4096:]
                is_whole = answer.status == 200 and (not stream or b"data: [DONE]" in whole)
                ended[str(answer.status) if answer.status != 200 or is_whole else "200, but cut"] += 1
                if is_whole:
                    took.append(loop.time() - at)
                    first.append(began)
                elif answer.status != 200:
                    errors[whole[:200].decode(errors="replace")] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            ended[type(error).__name__] += 1

    timeout = aiohttp.ClientTimeout(total=None, sock_read=PATIENCE_S)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout, headers=headers) as session:
        begin, begun, missed = loop.time(), 0, 0
        while (now := loop.time()) < begin + seconds:
            while begun + missed < (now - begin) * rate:
                if len(tasks) >= OPEN:
                    missed += 1
                    continue
                begun += 1
                task = asyncio.ensure_future(one(session))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.sleep(min(0.005, 1 / rate))
        await asyncio.gather(*tasks)
        all_s = loop.time() - begin
    return {
        "address": address, "model": model, "stream": stream, "rate": rate, "seconds": seconds, "begun": begun, "missed": missed,
        "ended": dict(ended), "errors": dict(errors.most_common(3)), "good_per_s": len(took) / all_s,
        "took_ms": _shares(took), "first_ms": _shares(first) if stream else {},
    }  # fmt: skip


def _shares(values: list[float]) -> dict[str, float]:
    values = sorted(values)
    return {f"{share:g}": values[min(len(values) - 1, int(share * len(values)))] * 1e3 for share in SHARES} if values else {}


def report(found: dict[str, Any]) -> str:
    """The load test as Markdown."""
    kind = "streams" if found["stream"] else "whole answers"
    pace = f"{found['rate']:g} calls a second for {found['seconds']:g} s, {found['begun']:,} begun"
    lines = [
        f"{found['address']}, model {found['model']}, {kind}: {pace}, {found['good_per_s']:,.1f} answered whole a second.",
        "",
        "| ended | calls |",
        "|---|---|",
        *(f"| {what} | {count:,} |" for what, count in sorted(found["ended"].items())),
    ]
    if found["missed"]:
        lines.append(f"\n{found['missed']:,} calls were not begun: {OPEN:,} were under way.")
    lines += ["", "| ms | median | p90 | p99 | slowest |", "|---" * 5 + "|"]
    for name, shares in (("whole answer", found["took_ms"]), ("first chunk", found["first_ms"])):
        if shares:
            lines.append(f"| {name} | " + " | ".join(f"{one:,.1f}" for one in shares.values()) + " |")
    lines += [f"\n{count:,} times: `{text}`" for text, count in found["errors"].items()]
    return "\n".join(lines)
