"""Show a run: python -m surefoot_eval report FOLDER.

One HTML file that needs no network, Markdown for a pull request, a table on the terminal.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from surefoot.errors import Misconfigured
from surefoot_eval.data.dataset import Dataset
from surefoot_eval.data.records import Record
from surefoot_eval.metric_names import METRICS
from surefoot_eval.report import plots
from surefoot_eval.report.costs import Taken, points, seconds_of, taken
from surefoot_eval.report.exports import ceilings_missed, floors_missed, junit, trec
from surefoot_eval.report.failure_slices import FailureSlice, cuts, worst
from surefoot_eval.report.tables import QuestionView, read_views, views, write_tables
from surefoot_eval.run.journal import records_of
from surefoot_eval.run.results import Results, read
from surefoot_eval.score.stats import Interval, Paired, holm, paired

__all__ = ["SystemComparison", "finish", "html", "main", "markdown", "pairs"]

TEMPLATES = Path(__file__).parent / "templates"
MOST_SHOWN = 300  # questions listed a system
DIFFERENCE = 0.01  # between systems, for a plot


class SystemComparison(NamedTuple):
    """A system against the first, on one metric; `within` says that each mean lies inside the other's interval."""

    system: str
    first: str
    metric: str
    paired: Paired
    p: float
    within: bool


class Headline(NamedTuple):
    """A sentence at the top of the page."""

    tone: str
    text: str


def main(args: argparse.Namespace) -> int:
    """Write the reports of a finished run once more; returns 0."""
    results = read(args.run)
    records = records_of(args.run / "records.jsonl", Record)
    _write(results, records, args.run, read_views(args.run))
    print(text(results, records))
    print(f"\n{args.run / 'report.html'}")
    return 0


def finish(results: Results, records: Sequence[Record], material: Dataset, out: Path) -> int:
    """All reports of a run just done; returns 1 where a floor was missed or, without scheduled faults, a question failed."""
    seeds = sorted({record.seed for record in records})
    trec(results, records, material, seeds, out / "trec")
    found = [] if results.kind == "resilience" else views(results, records, material, seeds)
    if found:
        write_tables(found, out)
    _write(results, records, out, found)
    print(text(results, records))
    missed = floors_missed(results)
    for (system, _), said in missed.items():
        print(f"FLOOR MISSED: {system}: {said}")
    above = ceilings_missed(results, records)
    for (system, _), said in above.items():
        print(f"CEILING EXCEEDED: {system}: {said}")
    failed = [record for record in {record.key: record for record in records}.values() if record.error]
    if failed and results.kind != "resilience":
        print(f"{len(failed)} questions failed, {failed[0].error!r} first; ask them again with --only-failed")
    print(f"\n{out / 'report.html'}")
    return int(bool(missed or above) or (bool(failed) and results.kind != "resilience"))


def pairs(results: Results) -> list[SystemComparison]:
    """Every later system against the first, on every metric that both have values for. None in a rehearsal: there the map compares."""
    if results.kind == "resilience" or len(results.systems) < 2:
        return []
    (first, base), *others = results.systems.items()
    found = []
    for name, other in others:
        compared: dict[str, Paired] = {}
        for metric in results.metrics:
            both = base.columns[metric].values, other.columns[metric].values
            one = paired(*both, results.groups)
            if one is not None:
                compared[metric] = one
        adjusted = holm({metric: one.p for metric, one in compared.items()})
        for metric, one in compared.items():
            a, b = base.summaries[metric], other.summaries[metric]
            within = _inside(a.mean, b.interval) and _inside(b.mean, a.interval)
            found.append(SystemComparison(name, first, metric, one, adjusted[metric], within))
    return found


def text(results: Results, records: Sequence[Record]) -> str:
    """For the terminal."""
    lines = []
    for name, system in results.systems.items():
        lines.append(f"\n{name}")
        lines += [f"  {metric:19} {summary}" for metric, summary in system.summaries.items()]
        cost = taken(records, name)
        if cost:
            usd = "unknown" if cost.usd_per_1k is None else f"${cost.usd_per_1k:.4f}"
            lines.append(
                f"  p50 {seconds(cost.p50_s)}, p95 {seconds(cost.p95_s)} a question, {usd} per 1,000, "
                f"{cost.attempts:.2f} attempts, {cost.failed} of {cost.asked} failed"
                + (f", {cost.replayed} replayed" * bool(cost.replayed))
            )
        refused = system.refusals
        if refused.balanced_accuracy is not None and results.kind != "retrieval":
            lines.append(
                f"  answered right {refused.answered_right}, wrong {refused.answered_wrong}; refused right {refused.refused_right}, wrong "
                f"{refused.refused_wrong}; balanced accuracy of refusing {refused.balanced_accuracy:.3f}"
            )
    for pair in pairs(results):
        lines.append(
            f"{pair.system} - {pair.first}, {pair.metric}: {pair.paired}, p={pair.p:.4f} (Holm), "
            f"within each other's interval: {'yes' if pair.within else 'NO'}"
        )
    return "\n".join(lines)


def markdown(results: Results, records: Sequence[Record]) -> str:
    """For a pull request."""
    names = list(results.systems)
    lines = [
        f"## {results.suite}",
        "",
        results.marks.described,
        "",
        f"| metric | {' | '.join(map(_cell, names))} |",
        "|---" * (len(names) + 1) + "|",
    ]
    for metric in results.metrics:
        cells = []
        for name in names:
            one = results.systems[name].summaries[metric]
            errors = f", **{one.errors} errors**" if one.errors else ""
            cells.append("none" + errors if one.mean is None else f"{one.mean:.3f} {brief(one.interval)} n {one.measured}{errors}")
        lines.append(f"| {metric}{' (advisory)' if metric in results.advisory else ''} | {' | '.join(cells)} |")
    costs = _costs(results, records)
    lines += ["", "| system | p50 | p95 | $ / 1,000 | attempts | failed |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {_cell(name)} | {seconds(one.p50_s)} | {seconds(one.p95_s)} | {usd(one.usd_per_1k)} | {one.attempts:.2f} "
        f"| {one.failed} of {one.asked} |"
        for name, one in costs.items()
    ]
    lines += ["", *(f"**Floor missed**: {_cell(system)}: {said}" for (system, _), said in floors_missed(results).items())]
    return "\n".join(lines).rstrip() + "\n"


def html(results: Results, records: Sequence[Record], views_of: Sequence[QuestionView] = (), *, date: str = "") -> str:
    """The whole page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    world = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    world.filters |= {"brief": brief, "brief_s": brief_s, "seconds": seconds, "usd": usd}
    metric = next((name for name in results.gated if name != "served"), results.metrics[0])
    costs = _costs(results, records)
    map_points = points(results, costs)
    cut = cuts(results, metric)
    last = {record.key: record for record in records}.values()
    latencies = {name: [seconds_of(record) for record in last if record.system == name and not record.error] for name in results.systems}
    page: Mapping[str, Any] = {
        "results": results,
        "meaning": {name: said.partition(": ")[2] for name, said in METRICS.items()},
        "headlines": headlines(results, cut),
        "quality_plots": {
            name: Markup(plots.intervals(name, {key: one.summaries[name] for key, one in results.systems.items()}))  # noqa: S704 - escaped there
            for name in results.metrics
            if _differs(results, name)
        },
        "pairs": pairs(results),
        "costs": costs,
        "latency_plot": Markup(plots.distribution("latency", latencies)) if len(latencies) <= plots.COLOURS else "",  # noqa: S704
        "points": map_points,
        "quality_of": metric,
        "usd_map": Markup(plots.map_of("quality over cost", map_points, of="usd")),  # noqa: S704
        "seconds_map": Markup(plots.map_of("quality over latency", map_points, of="s")),  # noqa: S704
        "refusals": {} if results.kind == "retrieval" else {name: one.refusals for name, one in results.systems.items()},
        "cuts": cut,
        "worst": [found for name in results.systems if (found := worst(cut, name))],
        "questions": _questions(views_of),
        "verdict": verdict(results, records),
        "date": date,
        "fingerprints": _fingerprints(results),
    }
    return world.get_template("report.html").render(page)


def verdict(results: Results, records: Sequence[Record]) -> list[Headline]:
    """The first lines of the page: whether floors and ceilings hold, and what failed."""
    missed = [f"{system}: {said}" for (system, _), said in (floors_missed(results) | ceilings_missed(results, records)).items()]
    last = {record.key: record for record in records}.values()
    failed = 0 if results.kind == "resilience" else sum(bool(record.error) for record in last)
    lines = [Headline("bad", said) for said in missed]
    if failed:
        lines.append(Headline("bad", f"{failed} questions failed; ask them again with --only-failed."))
    if lines:
        return [Headline("bad", "FAIL"), *lines]
    if not results.floors and not results.ceilings:
        return [Headline("warn", "NO VERDICT: the suite has neither floors nor ceilings. Compare it with another run.")]
    return [Headline("good", "PASS"), Headline("good", "Every floor and ceiling holds.")]


def headlines(results: Results, cut: list[FailureSlice]) -> list[Headline]:
    """What a reader must know first."""
    lines = []
    for name in results.systems:
        low = worst(cut, name)
        if low is not None and results.kind != "resilience":
            lines.append(Headline("dim", f"{name}: worst slice of {low.metric} is {low.slice}, {low.summary}"))
    return lines


def seconds(value: float) -> str:
    """With a unit that reads well."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.1f} ms"


def usd(value: float | None) -> str:
    """Dollars, or that nobody knows."""
    return "unknown" if value is None else f"${value:,.4f}" if value < 1 else f"${value:,.2f}"


def brief(interval: Interval | None) -> str:
    """An interval in three digits."""
    return "" if interval is None else f"[{interval.low:.3f}, {interval.high:.3f}]"


def brief_s(interval: Interval) -> str:
    """An interval of seconds."""
    return f"[{seconds(interval.low)}, {seconds(interval.high)}]"


def _write(results: Results, records: Sequence[Record], out: Path, found: Sequence[QuestionView]) -> None:
    try:
        page = html(results, records, found, date=_date(out))
    except ImportError as exc:
        raise Misconfigured('the report needs Jinja2: pip install "surefoot[eval]"') from exc
    (out / "report.html").write_text(page, encoding="utf-8")
    (out / "report.md").write_text(markdown(results, records), encoding="utf-8")
    junit(results, records, out / "junit.xml")


def _costs(results: Results, records: Sequence[Record]) -> dict[str, Taken]:
    return {name: cost for name in results.systems if (cost := taken(records, name)) is not None}


def _date(out: Path) -> str:
    """When the last question was answered, so that a page written once more is the same page."""
    file = out / "records.jsonl"
    return f"{datetime.fromtimestamp(file.stat().st_mtime, tz=UTC):%Y-%m-%d %H:%M} UTC" if file.is_file() else "no date"


def _differs(results: Results, metric: str) -> bool:
    """A plot says something where systems differ by a hundredth or more; one system's figures stand in the table."""
    means = [one.summaries[metric].mean for one in results.systems.values()]
    known = [mean for mean in means if mean is not None]
    return len(known) > 1 and max(known) - min(known) >= DIFFERENCE


def _questions(found: Sequence[QuestionView]) -> dict[str, list[QuestionView]]:
    """By system, those that went wrong first; `MOST_SHOWN` of each, all stand in questions.csv."""
    table: dict[str, list[QuestionView]] = {}
    for one in sorted(found, key=lambda each: each.outcome in {"answered right", "refused right"}):
        if len(table.setdefault(one.system, [])) < MOST_SHOWN:
            table[one.system].append(one)
    return table


def _fingerprints(results: Results) -> dict[str, str]:
    marks = results.marks
    joined = {
        name: ", ".join(f"{key} {value[:16]}" for key, value in getattr(marks, name).items()) for name in ("prompts", "models", "versions")
    }
    return {"data": marks.data, "corpus": marks.corpus, "measures": marks.measures, "pipeline": marks.pipeline, **joined}


def _inside(mean: float | None, interval: Interval | None) -> bool:
    """With room for rounding: where all questions score alike the interval is a point."""
    return mean is not None and interval is not None and interval.low - 1e-9 <= mean <= interval.high + 1e-9


def _cell(name: str) -> str:
    return name.replace("|", "\\|")
