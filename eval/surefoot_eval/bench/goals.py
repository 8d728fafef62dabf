"""The goals of speed, beside what a run measured: goal, measured, met. A row whose section was not run says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from surefoot_eval.bench import worker as who

Results = dict[str, Any]
SAVED_UP = "saved up"  # in the name of goodput's worlds


def _over(section: str, mine: str, theirs: str, column: str) -> Callable[[Results], float]:
    """One subject's figure over another's, of one column."""

    def read(results: Results) -> float:
        medians = results[section]["medians"]
        return float(medians[mine][column] / medians[theirs][column])

    return read


def _added(column: str) -> Callable[[Results], float]:
    """What the layers add to the direct provider, us."""

    def read(results: Results) -> float:
        medians = results["overhead"]["medians"]
        return float(medians[who.DIRECT][column] - medians[who.PROVIDER][column])

    return read


def _hit(results: Results) -> float:
    """A hit's us beyond the 3 us that each 1,000 characters may cost, at its worst size."""
    found = results["cache"]["medians"]["surefoot memory, in-loop"]
    return float(max(found[size] - 3 * int(size) / 1000 for size in ("20", "1000", "16000")))


def _goodput(name: str, key: str) -> Callable[[Results], float]:
    """The worst of all worlds; of the shares, of those that enforce windows: what another saves up is left alone."""

    def read(results: Results) -> float:
        worlds = results["goodput"]["figures"][name]
        found = [one[key] for world, one in worlds.items() if key != "share" or SAVED_UP not in world]
        return float(min(found) if key == "share" else max(found))

    return read


def _virtual(name: str) -> Callable[[Results], float]:
    return lambda results: float(results["goodput"]["virtual"]["headers"][name])


def _flat(part: str) -> Callable[[Results], float]:
    return lambda results: float(results["scale"]["most_over_least"][part])


_AT32, _AT256 = "32 in flight", "256 in flight"
GOALS: tuple[tuple[str, Callable[[Results], float], str, float, str], ...] = (  # what, measured, sense, goal, unit
    ("ainvoke, 32 in flight, SDK lane / bare SDK", _over("overhead", who.SDK, who.BARE, _AT32), "<=", 0.6, "x"),
    ("ainvoke, 32 in flight, direct lane / bare SDK", _over("overhead", who.DIRECT, who.BARE, _AT32), "<=", 0.18, "x"),
    ("ainvoke, 256 in flight, SDK lane / bare SDK", _over("overhead", who.SDK, who.BARE, _AT256), "<=", 0.5, "x"),
    ("ainvoke, 256 in flight, direct lane / bare SDK", _over("overhead", who.DIRECT, who.BARE, _AT256), "<=", 0.13, "x"),
    ("ainvoke, 32 in flight, direct lane / aiohttp + msgspec", _over("overhead", who.DIRECT, who.RAW, _AT32), "<=", 2.0, "x"),
    ("ainvoke, 256 in flight, direct lane / aiohttp + msgspec", _over("overhead", who.DIRECT, who.RAW, _AT256), "<=", 2.0, "x"),
    ("ainvoke, 32 in flight, SDK lane / LiteLLM Router", _over("overhead", who.SDK, who.LITELLM, _AT32), "<=", 0.17, "x"),
    ("ainvoke, 32 in flight, direct lane / LiteLLM Router", _over("overhead", who.DIRECT, who.LITELLM, _AT32), "<=", 0.05, "x"),
    ("ChatSurefoot, SDK lane / ChatOpenAI with retry and fallbacks", _over("overhead", who.LC_SDK, who.LC, _AT32), "<=", 0.4, "x"),
    ("ChatSurefoot, direct lane / the same", _over("overhead", who.LC_DIRECT, who.LC, _AT32), "<=", 0.2, "x"),
    ("LlamaIndex Surefoot, SDK lane / OpenAI", _over("overhead", who.LI_SDK, who.LI, _AT32), "<=", 0.4, "x"),
    ("LlamaIndex Surefoot, direct lane / OpenAI", _over("overhead", who.LI_DIRECT, who.LI, _AT32), "<=", 0.2, "x"),
    ("the stack alone, all layers", lambda r: float(r["overhead"]["medians"][who.STACK][_AT32]), "<=", 50, "us"),
    ("layers added to the direct provider, 32 in flight", _added(_AT32), "<=", 100, "us"),
    ("layers added to the direct provider, 256 in flight", _added(_AT256), "<=", 130, "us"),
    (
        "LangChain adapter / LangChain's least model, call",
        lambda r: float(r["overhead"]["adapter_shares"]["LangChain, call"]),
        "<=",
        1.5,
        "x",
    ),
    (
        "LlamaIndex adapter / LlamaIndex's least LLM, call",
        lambda r: float(r["overhead"]["adapter_shares"]["LlamaIndex, call"]),
        "<=",
        1.5,
        "x",
    ),
    ("memory-cache hit, in-loop, beyond 3 us per 1,000 characters", _hit, "<=", 20, "us"),
    (
        "memory-cache hit over the background loop, 32 at once",
        lambda r: float(r["cache"]["medians"]["surefoot memory, background loop"]["32 at once"]),
        "<=",
        40,
        "us",
    ),
    (
        "memory-cache hit / LangChain InMemoryCache through its model",
        _over("cache", "surefoot memory, in-loop", "LangChain InMemoryCache", "1000"),
        "<=",
        0.1,
        "x",
    ),
    ("streamed chunk, SDK lane / bare SDK", _over("streams", who.SDK, who.BARE, "32 at once"), "<=", 0.35, "x"),
    ("streamed chunk, direct lane / bare SDK", _over("streams", who.DIRECT, who.BARE, "32 at once"), "<=", 0.25, "x"),
    ("embedded text, SDK lane / bare SDK", _over("embed", who.SDK, who.BARE, "2,048 texts"), "<=", 0.4, "x"),
    ("embedded text, direct lane / raw aiohttp", _over("embed", who.DIRECT, who.RAW, "2,048 texts"), "<=", 1.5, "x"),
    (
        "cached embeddings, 10,000 texts / CacheBackedEmbeddings in memory",
        _over("cache", "surefoot memory", "LangChain CacheBackedEmbeddings, memory", "texts"),
        ">=",
        20,
        "x",
    ),
    ("goodput, limits given, of ideal", _goodput(who.GIVEN, "share"), ">=", 0.98, ""),
    ("goodput, limits learned from headers, of ideal", _goodput(who.LEARNED, "share"), ">=", 0.95, ""),
    ("goodput, limits learned from headers, of the quota (virtual time)", _virtual("of the quota used"), ">=", 0.95, ""),
    ("goodput, 429s, limits given", _goodput(who.GIVEN, "refused_share"), "<=", 0.005, ""),
    ("goodput, 429s, limits learned", _goodput(who.LEARNED, "refused_share"), "<=", 0.005, ""),
    ("goodput, 429s, limits learned (virtual time)", _virtual("refused by the provider"), "<=", 0.005, ""),
    (
        "goodput, lost",
        lambda r: max(_goodput(who.GIVEN, "lost")(r), _goodput(who.LEARNED, "lost")(r), _virtual("lost")(r)),
        "<=",
        0,
        "",
    ),
    ("p99 at a 2 % slow tail, hedged", lambda r: float(r["tail"]["figures"][who.HEDGED]["p99_ms"]), "<=", 100, "ms"),
    ("extra requests of hedging", lambda r: float(r["tail"]["figures"][who.HEDGED]["extra"]), "<=", 0.05, ""),
    ("10,000 calls in flight over the wire: memory above idle", lambda r: float(r["scale"]["at_once"]["mb"]), "<=", 150, "MB"),
    ("10,000 calls in flight over the wire: lost", lambda r: 10_000 - float(r["scale"]["at_once"]["answered"]), "<=", 0, ""),
    ("import surefoot", lambda r: float(r["import"]["medians"]["import surefoot"]["cpu_ms"]), "<=", 100, "ms"),
    ("ChatSurefoot over langchain_core alone", lambda r: float(r["import"]["over_core_ms"]), "<=", 50, "ms"),
    ("flat: calls in flight 1 to 10,000", _flat("in flight"), "<=", 1.5, "x"),
    ("flat: cache entries 10^3 to 10^6", _flat("cache entries"), "<=", 1.5, "x"),
    ("flat: fallback targets 1 to 100", _flat("fallback targets"), "<=", 1.5, "x"),
    ("flat: equal targets 1 to 100", _flat("equal targets"), "<=", 1.5, "x"),
)


def judged(results: Results) -> list[dict[str, Any]]:
    """Each goal with what was measured (None where a section or a peer is missing) and whether it was met."""
    rows: list[dict[str, Any]] = []
    for what, read, sense, goal, unit in GOALS:
        measured: float | None
        try:
            measured = read(results)
        except KeyError:
            measured = None
        met = None if measured is None else measured <= goal if sense == "<=" else measured >= goal
        rows.append({"what": what, "sense": sense, "goal": goal, "unit": unit, "measured": measured, "met": met})
    return rows


def table(results: Results) -> str:
    """The goals as Markdown."""
    lines = ["| what | goal | measured | met |", "|---|---|---|---|"]
    for row in judged(results):
        measured = "not measured" if row["measured"] is None else _shown(row["measured"], row["unit"])
        met = {None: "-", True: "yes", False: "NO"}[row["met"]]
        lines.append(f"| {row['what']} | {row['sense']} {_shown(row['goal'], row['unit'])} | {measured} | {met} |")
    return "\n".join(lines)


def _shown(value: float, unit: str) -> str:
    if not unit:
        return f"{value:.4g}"
    return f"{value:.3g}{'' if unit == 'x' else ' '}{unit}"
