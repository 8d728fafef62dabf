"""What a streamed chunk costs: CPU of the client process a chunk, 60 chunks a stream, each sent by a write of its own.

python -m surefoot_eval bench streams
"""

from __future__ import annotations

from typing import Any

from surefoot_eval.bench import plot
from surefoot_eval.bench.crew import Crew, grid, load, ratios
from surefoot_eval.bench.server import server
from surefoot_eval.bench.worker import (
    AIOHTTP,
    BARE,
    DIRECT,
    DIRECT_HOME,
    LC,
    LC_DIRECT,
    LC_SDK,
    LI,
    LI_DIRECT,
    LI_SDK,
    LITELLM,
    PYDANTIC,
    SDK,
    SDK_HOME,
)

WIRE = (BARE, AIOHTTP, SDK, SDK_HOME, DIRECT, DIRECT_HOME, LC, LC_SDK, LC_DIRECT, LI, LI_SDK, LI_DIRECT, LITELLM, PYDANTIC)


def run(*, rounds: int = 5) -> dict[str, Any]:
    """Measure every subject; medians and ratios."""
    with server() as provider, Crew(WIRE) as crew:
        jobs = {
            f"{width} at once": {"what": "stream", "setting": {"url": provider.url}, "width": width, "calls": calls, "warm": 4}
            for width, calls in ((1, 12), (32, 64))
        }
        medians = crew.rounds(jobs, rounds=rounds, title="streams")
        absent = crew.absent
    return {
        "what": "CPU-us a chunk, medians",
        "rounds": rounds,
        "load": load(),
        "absent": absent,
        "medians": medians,
        "ratios": ratios(medians, BARE),
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    absent = f"\n\nAbsent (`make peers`): {', '.join(result['absent'])}." if result["absent"] else ""
    return grid(result["medians"], BARE, unit="CPU-us a chunk") + absent


def plots(result: dict[str, Any]) -> dict[str, str]:
    """One chart."""
    values = {name: found["32 at once"] for name, found in result["medians"].items() if "32 at once" in found}
    return {"streams": plot.bars("CPU of one streamed chunk, 32 streams at once", values, unit="us")}
