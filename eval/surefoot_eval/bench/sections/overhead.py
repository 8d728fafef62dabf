"""What one call costs: CPU of the client process, beside the vendor's SDK, the frameworks and the routers, in one run.

The provider is a server of canned answers in a process of its own (its own capacity is printed: it is never what is measured). Each
subject runs in a process of its own, in its own environment; subjects take turns in rounds, and each figure is the median over the
rounds; ratios are against the bare SDK with its default client at the same number in flight. No two prompts are alike, so a cache misses.

    python -m surefoot_eval bench overhead
"""

from __future__ import annotations

from typing import Any

from surefoot_eval.bench import plot
from surefoot_eval.bench.crew import Crew, grid, load, ratios, versions
from surefoot_eval.bench.server import capacity, server
from surefoot_eval.bench.worker import (
    AIOHTTP,
    BARE,
    CROSSING,
    DIRECT,
    DIRECT_HOME,
    DIRECT_UVLOOP,
    HEDGED,
    LC,
    LC_DIRECT,
    LC_LEAST,
    LC_NULL,
    LC_SDK,
    LI,
    LI_DIRECT,
    LI_LEAST,
    LI_NULL,
    LI_SDK,
    LITELLM,
    NULL,
    PROVIDER,
    PYDANTIC,
    RAW,
    SDK,
    SDK_HOME,
    STACK,
)

CALLS = {1: 60, 32: 320, 256: 768}  # in flight -> calls a round
WARM = {1: 20, 32: 64, 256: 600}  # an adaptive limit begins at 8 places: 600 answers take it to 256
WIRE = (
    *(BARE, AIOHTTP, RAW, SDK, SDK_HOME, DIRECT, DIRECT_HOME, DIRECT_UVLOOP, HEDGED, PROVIDER, STACK, CROSSING),
    *(LC, LC_SDK, LC_DIRECT, LI, LI_SDK, LI_DIRECT, LITELLM, PYDANTIC),
)
ADAPTERS = (NULL, LC_NULL, LC_LEAST, LI_NULL, LI_LEAST)


def column(width: int) -> str:
    """The column of `width` calls in flight."""
    return f"{width} in flight"


def run(*, rounds: int = 5) -> dict[str, Any]:
    """Measure every subject; medians, ratios, what the adapters add, and what the server could do."""
    before = load()
    with server() as provider:
        server_capacity = capacity(provider)
        with Crew(WIRE) as crew:
            setting = {"url": provider.url}
            jobs = {
                column(width): {"what": "ask", "setting": setting, "width": width, "calls": calls, "warm": WARM[width]}
                for width, calls in CALLS.items()
            }
            medians = crew.rounds(jobs, rounds=rounds, title="overhead")
            absent = crew.absent
        with Crew(ADAPTERS) as crew:
            idle = {"url": provider.url}
            small = {
                "call": {"what": "ask", "setting": idle, "width": 1, "calls": 400, "warm": 50},
                "chunk": {"what": "stream", "setting": idle, "width": 1, "calls": 40, "warm": 3},
            }
            adapters = crew.rounds(small, rounds=rounds, title="adapters")
    return {
        "what": "CPU-us a call, medians",
        "rounds": rounds,
        "load": f"{before} -> {load()}",
        "versions": versions(WIRE),
        "server": server_capacity,
        "absent": absent,
        "medians": medians,
        "ratios": ratios(medians, BARE),
        "adapters": adapters,
        "adapter_shares": _shares(adapters),
    }


def _shares(adapters: dict[str, dict[str, float]]) -> dict[str, float]:
    """What an adapter adds to the model under it, over what its framework's least model costs."""
    found: dict[str, float] = {}
    for name, mine, least in (("LangChain", LC_NULL, LC_LEAST), ("LlamaIndex", LI_NULL, LI_LEAST)):
        for what in ("call", "chunk"):
            if what in adapters[mine] and what in adapters[least]:
                found[f"{name}, {what}"] = (adapters[mine][what] - adapters[NULL][what]) / adapters[least][what]
    return found


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    server_capacity = result["server"]
    lines = [grid(result["medians"], BARE, unit="CPU-us a call"), ""]
    lines.append(
        f"The server answers {server_capacity['per_cpu_s']:,.0f} calls a CPU-second of its own; the rawest client (no HTTP parsed) pays "
        f"{server_capacity['raw_us']:.0f} us a call. {result['rounds']} rounds; load {result['load']}."
    )
    lines += [f"Absent (`make peers`): {', '.join(result['absent'])}."] if result["absent"] else []
    lines += [f"{name}: {what}" for name, what in result["versions"].items()]
    lines += ["", grid(result["adapters"], NULL, unit="adapters, CPU-us", digits=1), ""]
    lines += [
        f"{name}: the adapter adds {share:.2f} of what the framework's least model costs"
        for name, share in result["adapter_shares"].items()
    ]
    return "\n".join(lines)


def plots(result: dict[str, Any]) -> dict[str, str]:
    """A chart for each number in flight."""
    return {
        f"overhead-{width}": plot.bars(
            f"CPU of one chat call, {width} in flight",
            {name: found[column(width)] for name, found in result["medians"].items() if column(width) in found},
            unit="us",
        )
        for width in CALLS
    }
