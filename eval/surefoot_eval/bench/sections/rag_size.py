"""How an index grows: 20,000 to 200,000 passages with vectors that cost nothing, so that all the time is the pipeline's and its store's.

Each step is a process of its own, as in life: one indexes a folder's worth of documents, another opens the index and asks (the first
question, then a hundred, with a filter and without), a third indexes again with one line changed in one document, and removes one document.

    python -m surefoot_eval bench rag-size            # SIZES; minutes to an hour
    python -m surefoot_eval.bench.sections.rag_size --sizes 1000000 --index http://127.0.0.1:8000     # one size, against a Chroma server

Vectors have 384 dimensions and no meaning (a digest of the text decides them), which is the worst case for an approximate index. Seconds
are of this process's CPU, since a machine that others use says little by the clock; where it says more, the clock's stand beside them.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

from surefoot_eval.bench.crew import ROOT, load

SIZES = (20_000, 50_000, 100_000, 200_000)
DIMENSIONS = 384  # as multilingual-e5-small has
EACH = 40  # passages of a document
WORDS = 20_000  # different ones, spread as Zipf says
ASKED = 100
STEPS = ("index", "ask", "again")


class Cheap:
    """An embedding model that costs nothing: a vector is drawn by its text's digest."""

    name = "cheap:vectors"

    def __init__(self) -> None:
        from surefoot.types import Traits

        self.traits = Traits(space=f"cheap/{DIMENSIONS}", max_batch_texts=256)

    async def chat(self, call: Any) -> Any:
        """Nobody asks."""
        raise NotImplementedError

    async def embed(self, call: Any) -> Any:
        """Unit vectors."""
        import numpy as np

        from surefoot.types import EmbedReply

        rows = np.stack([_vector(text) for text in call.request.texts])
        return EmbedReply(vectors=rows / np.linalg.norm(rows, axis=1, keepdims=True), space=self.traits.space, attempts=1, target=self.name)

    async def aclose(self) -> None:
        """Nothing is open."""


def _vector(text: str) -> Any:
    import numpy as np

    seed = int.from_bytes(blake2b(text.encode(), digest_size=8).digest())
    return np.random.default_rng(seed).standard_normal(DIMENSIONS, dtype=np.float32)


def _vocabulary() -> list[str]:
    draw = random.Random(7)
    sounds = "ba be bi bo da de di do ka ke ki ko la le li lo ma me mi mo na ne ni no ra re ri ro sa se si so ta te ti to".split()  # noqa: SIM905
    return ["".join(draw.choices(sounds, k=draw.randint(2, 4))) for _ in range(WORDS)]


def documents(passages: int, *, changed: bool = False, without_last: bool = False) -> Iterator[Any]:
    """Documents that are cut into `passages` passages; with `changed` the first has one more line on top."""
    from surefoot_rag.records import Document

    words = _vocabulary()
    weights = [1 / rank for rank in range(1, WORDS + 1)]
    total = passages // EACH
    for number in range(total - without_last):
        draw = random.Random(number)
        drawn = draw.choices(words, weights, k=EACH * 110)
        parts = [" ".join(drawn[at : at + 110]) + f" number{number}x{at // 110}." for at in range(0, len(drawn), 110)]
        text = "\n\n".join(parts)
        if changed and number == 0:
            text = f"{'One more line, which nothing else says.' * 15}\n\n{text}"
        name = f"{number:06}.txt"
        yield Document(id=name, title=f"Document {number}", text=text, source=name, language="en", metadata={"group": number % 4})


def _step(step: str, size: int, index: str, name: str) -> dict[str, float]:
    began = _now()
    from surefoot import EmbedModel
    from surefoot_rag.frameworks import framework
    from surefoot_rag.retrieval.library import Library

    embed, module = EmbedModel(Cheap()), framework(name)
    if step == "ask":
        return _ask(began, Library(index, framework=name, embed=embed), module, size)
    corpus = list(documents(size, changed=step == "again", without_last=step == "again"))
    began = _now()
    library = Library(index, framework=name, embed=embed, create=True)
    done = module.index(library, corpus, progress=False)
    wall_s, cpu_s = _since(began)
    return {"s": cpu_s, "wall_s": wall_s, "added": done.added, "removed": done.removed, "mb": _peak_mb()}


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(began: tuple[float, float]) -> tuple[float, float]:
    """Seconds of wall clock and of this process's CPU."""
    return time.perf_counter() - began[0], time.process_time() - began[1]


def _ask(began: tuple[float, float], library: Any, module: Any, size: int) -> dict[str, float]:
    opened_s = _since(began)[1]
    asked_at = _now()
    module.retrieve(library, "Which number is said of number7x3?")
    wall_s, first_s = _since(asked_at)
    draw = random.Random(3)
    words = _vocabulary()
    took: dict[str, list[float]] = {"plain": [], "wide": [], "narrow": []}
    wheres: dict[str, Any] = {"plain": None, "wide": {"group": [1, 2]}, "narrow": {"document": f"{size // EACH // 2:06}.txt"}}
    for _ in range(ASKED):
        question = " ".join(draw.choices(words, k=6))
        for kind, where in wheres.items():
            start = _now()
            found = module.retrieve(library, question, **({"where": where} if where else {}))
            took[kind].append(_since(start)[1])
            if not found:
                raise SystemExit(f"{kind}: nothing was found")
    medians = {f"{kind}_ms": statistics.median(values) * 1e3 for kind, values in took.items()}
    return {"restart_s": opened_s, "first_s": first_s, "first_wall_s": wall_s, "mb": _peak_mb(), **medians}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(*, rounds: int = 1, sizes: tuple[int, ...] = SIZES, index: str = "", name: str = "langchain") -> dict[str, Any]:
    """Every step of every size, once: a larger one repeats what a smaller one showed."""
    from tqdm import tqdm

    del rounds
    found: dict[str, dict[str, dict[str, float]]] = {}
    with tqdm(total=len(sizes) * len(STEPS), unit="step", desc="rag-size", dynamic_ncols=True) as bar:
        for size in sizes:
            place = index or tempfile.mkdtemp(prefix="rag-size-")
            try:
                rows = found.setdefault(str(size), {})
                for step in STEPS:
                    rows[step] = json.loads(_python("--step", step, "--size", str(size), "--index", place, "--framework", name))
                    if not index:
                        rows[step]["disk_mb"] = sum(one.stat().st_size for one in Path(place).rglob("*") if one.is_file()) / 2**20
                    bar.update()
                bar.write(table({"framework": name, "load": load(), "sizes": found}))  # what is known is not lost with what follows
            finally:
                if not index:
                    shutil.rmtree(place, ignore_errors=True)
    return {"what": "seconds of CPU, MB", "framework": name, "load": load(), "sizes": found}


def _python(*arguments: str) -> str:
    command = [sys.executable, "-m", "surefoot_eval.bench.sections.rag_size", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout.splitlines()[-1]


COLUMNS = (
    ("passages", ""), ("index s", "index.s"), ("on the clock", "index.wall_s"), ("MB", "index.mb"), ("disk MB", "index.disk_mb"),
    ("open s", "ask.restart_s"), ("first question s", "ask.first_s"), ("on the clock", "ask.first_wall_s"), ("MB", "ask.mb"),
    ("question ms", "ask.plain_ms"), ("half filtered out ms", "ask.wide_ms"),
    ("one document ms", "ask.narrow_ms"), ("one change s", "again.s"), ("MB", "again.mb"),
)  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """The result as Markdown; the last line has each figure of the largest size over the smallest one's, as a share of linear growth."""
    lines = ["| " + " | ".join(name for name, _ in COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    sizes = result["sizes"]
    for size, steps in sizes.items():
        lines.append(f"| {int(size):,} | " + " | ".join(_shown(_value(steps, path)) for _, path in COLUMNS[1:]) + " |")
    if len(sizes) > 1:
        rows = list(sizes.items())
        (least, first), (most, last) = rows[0], rows[-1]
        linear = int(most) / int(least)
        shares = (_value(last, path) / max(_value(first, path), 1e-9) / linear for _, path in COLUMNS[1:])
        lines.append(f"| growth over linear ({linear:.0f} x) | " + " | ".join(f"{share:.2f}" for share in shares) + " |")
    return "\n".join([*lines, "", f"{result['framework']}; {DIMENSIONS} dimensions; load {result['load']}."])


def _value(rows: dict[str, dict[str, float]], path: str) -> float:
    step, _, name = path.partition(".")
    return rows[step].get(name, 0.0)


def _shown(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def main() -> None:
    """One step for `run`, or chosen sizes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--step", choices=STEPS)
    parser.add_argument("--size", type=int, default=SIZES[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--index", default="", help="a folder or a server's address; left out: a folder for the while")
    parser.add_argument("--framework", default="langchain")
    args = parser.parse_args()
    if args.step:
        print(json.dumps(_step(args.step, args.size, args.index, args.framework)))
        return
    print(table(run(sizes=tuple(args.sizes), index=args.index, name=args.framework)))


if __name__ == "__main__":
    main()
