"""A subject in a process of its own, in its own environment: reads jobs as JSON lines, measures, answers as JSON lines.

    python -m surefoot_eval.bench.worker SUBJECT          then, a line a job: {"what": "ask", "setting": {...}, "width": 32, "calls": 1000}

CPU is the process's own, all threads (`time.process_time`). Between jobs the loop runs, so that connections which the server closes are
noticed; nothing is measured then.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from surefoot_eval.bench import cookbook, frameworks, subjects
from surefoot_eval.bench.subjects import Setting, Subject

BARE, AIOHTTP, RAW = "openai SDK, default client", "openai SDK, aiohttp client", "aiohttp + msgspec, nothing else"
HTTPX, HTTP2 = "httpx2 + msgspec, HTTP/1.1", "httpx2 + msgspec, HTTP/2"
SDK, SDK_HOME = "surefoot, SDK lane", "surefoot, SDK lane, background loop"
DIRECT, DIRECT_HOME = "surefoot, direct lane", "surefoot, direct lane, background loop"
HEDGED, PROVIDER, STACK = "surefoot, direct lane, hedging", "surefoot's direct provider, no layers", "surefoot, the stack alone"
LC_SDK, LC_DIRECT, LC = "ChatSurefoot, SDK lane", "ChatSurefoot, direct lane", "LangChain ChatOpenAI, retry + fallbacks"
LI_SDK, LI_DIRECT, LI = "LlamaIndex Surefoot, SDK lane", "LlamaIndex Surefoot, direct lane", "LlamaIndex OpenAI"
LITELLM, PYDANTIC = "LiteLLM Router", "pydantic-ai FallbackModel"
LC_NULL, LI_NULL, NULL = "ChatSurefoot over nothing", "LlamaIndex Surefoot over nothing", "surefoot over nothing"
LC_LEAST, LI_LEAST = "LangChain's least chat model", "LlamaIndex's least LLM"
DIRECT_UVLOOP = "surefoot, direct lane, background loop on uvloop"
CROSSING = "an empty coroutine to the background loop"
GIVEN, LEARNED, COOKBOOK = "surefoot, limits given", "surefoot, limits learned", "OpenAI cookbook's parallel processor"
LITELLM_LIMITED, SDK_RETRIES = "LiteLLM Router, rpm and tpm", "openai SDK, 10 retries"

Maker = Callable[[Setting], Subject]
SUBJECTS: dict[str, tuple[str, Maker]] = {  # name -> environment ("" is ours), maker
    BARE: ("", subjects.bare),
    AIOHTTP: ("", partial(subjects.bare, aiohttp=True)),
    RAW: ("", subjects.raw),
    HTTPX: ("", partial(subjects.httpx2, http2=False)),
    HTTP2: ("", partial(subjects.httpx2, http2=True)),
    SDK: ("", partial(subjects.ours, lane="sdk")),
    SDK_HOME: ("", partial(subjects.ours, lane="sdk", adopt=False)),
    DIRECT: ("", partial(subjects.ours, lane="direct")),
    DIRECT_HOME: ("", partial(subjects.ours, lane="direct", adopt=False)),
    DIRECT_UVLOOP: ("", partial(subjects.ours, lane="direct", adopt=False, fast_loop=True)),
    HEDGED: ("", partial(subjects.ours, lane="direct", hedge_after="p95")),
    PROVIDER: ("", partial(subjects.provider, lane="direct")),
    STACK: ("", subjects.stack_alone),
    CROSSING: ("", subjects.crossing),
    LC_SDK: ("", partial(frameworks.chat_surefoot, lane="sdk")),
    LC_DIRECT: ("", partial(frameworks.chat_surefoot, lane="direct")),
    LC: ("langchain", frameworks.chat_openai),
    LI_SDK: ("", partial(frameworks.llama_surefoot, lane="sdk")),
    LI_DIRECT: ("", partial(frameworks.llama_surefoot, lane="direct")),
    LI: ("llamaindex", frameworks.llama_openai),
    LITELLM: ("litellm", frameworks.litellm_router),
    PYDANTIC: ("pydantic-ai", frameworks.pydantic_fallback),
    NULL: ("", frameworks.null_alone),
    LC_NULL: ("", partial(frameworks.chat_surefoot, lane="", null=True)),
    LC_LEAST: ("", frameworks.least_langchain),
    LI_NULL: ("", partial(frameworks.llama_surefoot, lane="", null=True)),
    LI_LEAST: ("", frameworks.least_llama),
    GIVEN: ("", partial(subjects.ours, lane="direct", attempts=10)),
    LEARNED: ("", partial(subjects.ours, lane="direct", learned=True)),
    COOKBOOK: ("", cookbook.processor),
    LITELLM_LIMITED: ("litellm", partial(frameworks.litellm_router, limited=True)),
    SDK_RETRIES: ("", partial(subjects.bare, retries=10)),
}


async def _job(subject: Subject, job: dict[str, Any]) -> dict[str, Any]:
    """`calls` calls of one kind, `width` at a time; or for `seconds`."""
    if job["what"] == "batch":
        return await _batch(subject, job["calls"])
    ask = getattr(subject, job["what"])
    width, calls, seconds = job["width"], job.get("calls", 1_000_000_000), job.get("seconds")
    left: Iterator[int] = iter(range(calls))
    units = 0
    errors: dict[str, int] = {}
    ended: list[tuple[float, float, bool]] = []  # when it began, how long it took, whether it was answered
    begun = time.perf_counter()

    async def worker() -> None:
        nonlocal units
        for _ in left:
            at = time.perf_counter() - begun
            if seconds is not None and at > seconds:
                return
            try:
                brought = await ask()  # in two steps: others add while this one waits
                units += brought
                well = brought > 0
            except Exception as error:  # noqa: BLE001 - a call that fails is a figure here
                name = type(error).__name__
                errors[name] = errors.get(name, 0) + 1
                well = False
            if job.get("times"):
                ended.append((at, time.perf_counter() - begun - at, well))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spent = time.process_time()
    await asyncio.gather(*(worker() for _ in range(width)))
    spent = time.process_time() - spent
    return {
        "us": spent / max(1, units) * 1e6,
        "units": units,
        "errors": errors,
        "wall_s": time.perf_counter() - begun,
        "grown_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / (1024 if sys.platform == "linux" else 1 << 20),
        "ended": ended,
    }


async def _batch(subject: Subject, calls: int) -> dict[str, Any]:
    """All calls handed over at once."""
    assert subject.batch is not None
    begun, spent = time.perf_counter(), time.process_time()
    units = await subject.batch(calls)
    spent = time.process_time() - spent
    return {"us": spent / max(1, units) * 1e6, "units": units, "errors": {}, "wall_s": time.perf_counter() - begun, "ended": []}


async def _serve(name: str) -> None:
    made: dict[str, Subject] = {}
    loop = asyncio.get_running_loop()
    maker = SUBJECTS[name][1]
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        job = json.loads(line)
        key = json.dumps(job["setting"])
        if key not in made:
            made[key] = maker(Setting(**job["setting"]))
        if getattr(made[key], job["what"]) is None:
            print(json.dumps({"missing": True}), flush=True)
            continue
        if warm := job.get("warm"):
            await _job(made[key], {**job, "calls": warm, "times": False, "width": min(job["width"], warm)})
        print(json.dumps(await _job(made[key], job)), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
