"""What an embedded text costs: one request of 2,048 texts, 1,536 numbers each, CPU of the client process a text.

Ours and raw aiohttp end with a float32 matrix; the SDK and the frameworks with lists of floats, as is their way.

    python -m surefoot_eval bench embed
"""

from __future__ import annotations

from typing import Any

from surefoot_eval.bench import plot
from surefoot_eval.bench.crew import Crew, grid, load, ratios
from surefoot_eval.bench.server import server
from surefoot_eval.bench.worker import AIOHTTP, BARE, DIRECT, DIRECT_HOME, LC, LI, LITELLM, RAW, SDK

WIRE = (BARE, AIOHTTP, RAW, SDK, DIRECT, DIRECT_HOME, LC, LI, LITELLM)


def run(*, rounds: int = 5) -> dict[str, Any]:
    """Measure every subject; medians and ratios."""
    with server() as provider, Crew(WIRE) as crew:
        job = {"what": "embed", "setting": {"url": provider.url}, "width": 1, "calls": 2, "warm": 1}
        medians = crew.rounds({"2,048 texts": job}, rounds=rounds, title="embed")
        absent = crew.absent
    return {
        "what": "CPU-us a text, medians",
        "rounds": rounds,
        "load": load(),
        "absent": absent,
        "medians": medians,
        "ratios": ratios(medians, BARE),
        "to_raw": ratios(medians, RAW),
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    absent = f"\n\nAbsent (`make peers`): {', '.join(result['absent'])}." if result["absent"] else ""
    over = result["to_raw"].get(DIRECT, {}).get("2,048 texts")
    beside = f"\n\nThe direct lane over raw aiohttp: {over:.2f}x." if over else ""
    return grid(result["medians"], BARE, unit="CPU-us a text") + beside + absent


def plots(result: dict[str, Any]) -> dict[str, str]:
    """One chart."""
    values = {name: found["2,048 texts"] for name, found in result["medians"].items() if found}
    return {"embed": plot.bars("CPU of one embedded text of 1,536 numbers", values, unit="us")}
