"""What an import costs: CPU over bare Python, and memory; each in a fresh process, taking turns.

python -m surefoot_eval bench import
"""

from __future__ import annotations

import statistics
import subprocess
from typing import Any

from surefoot_eval.bench import plot
from surefoot_eval.bench.crew import load, python_of

CODE = (
    "import resource, sys, time\nsys.dont_write_bytecode = False  # users compile once, whatever this environment says\n"
    "began = time.process_time()\nbefore = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n{}\n"
    "print(time.process_time() - began, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
)
CORE = "import langchain_core.language_models.chat_models"
WHAT = {  # name -> environment, code
    "import surefoot": ("", "import surefoot"),
    "surefoot: ChatModel, Target": ("", "from surefoot import ChatModel, Target"),
    "langchain_core's chat model": ("", CORE),
    "langchain_surefoot: ChatSurefoot": ("", "from langchain_surefoot import ChatSurefoot"),
    "llama_index.core's LLM": ("", "import llama_index.core.llms.function_calling"),
    "llama_index.llms.surefoot": ("", "from llama_index.llms.surefoot import Surefoot"),
    "openai": ("", "import openai; openai.AsyncOpenAI"),
    "aiohttp": ("", "import aiohttp"),
    "langchain_openai": ("langchain", "from langchain_openai import ChatOpenAI"),
    "llama_index.llms.openai": ("llamaindex", "from llama_index.llms.openai import OpenAI"),
    "litellm": ("litellm", "import litellm"),
    "pydantic_ai's FallbackModel": ("pydantic-ai", "from pydantic_ai.models.fallback import FallbackModel"),
}


def run(*, rounds: int = 5) -> dict[str, Any]:
    """Every import; medians."""
    from tqdm import tqdm

    present = {name: (python_of(where), code) for name, (where, code) in WHAT.items() if python_of(where)}
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in present}
    with tqdm(total=rounds * len(present), unit="import", desc="import", dynamic_ncols=True) as bar:
        for _ in range(rounds + 1):  # the first one of each may have to compile
            for name, (python, code) in present.items():
                out = subprocess.run([str(python), "-c", CODE.format(code)], capture_output=True, text=True, check=True)
                cpu_s, size_mb = out.stdout.split()[-2:]
                samples[name].append((float(cpu_s) * 1e3, float(size_mb)))
                bar.update()
    medians = {
        name: {"cpu_ms": statistics.median(one for one, _ in runs[1:]), "mb": statistics.median(one for _, one in runs[1:])}
        for name, runs in samples.items()
    }
    return {
        "what": "CPU-ms and MB over bare Python, medians",
        "rounds": rounds,
        "load": load(),
        "absent": [name for name in WHAT if name not in present],
        "medians": medians,
        "over_core_ms": medians["langchain_surefoot: ChatSurefoot"]["cpu_ms"] - medians["langchain_core's chat model"]["cpu_ms"],
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = ["| import | CPU-ms | MB |", "|---|---|---|"]
    lines += [f"| {name} | {one['cpu_ms']:,.0f} | {one['mb']:,.0f} |" for name, one in result["medians"].items()]
    lines += ["", f"ChatSurefoot over langchain_core's chat model alone: {result['over_core_ms']:.0f} ms. Load {result['load']}."]
    lines += [f"Absent (`make peers`): {', '.join(result['absent'])}."] if result["absent"] else []
    return "\n".join(lines)


def plots(result: dict[str, Any]) -> dict[str, str]:
    """One chart."""
    return {"import": plot.bars("CPU of an import", {name: one["cpu_ms"] for name, one in result["medians"].items()}, unit="ms")}
