"""Did it get worse? python -m surefoot_eval compare BASELINE CANDIDATE: pass (0), fail (1), inconclusive (3); not comparable (2).

Runs whose data, corpus, measures, prompts, models or versions differ are not compared, unless the difference is what was changed on
purpose (`--changed prompts,models,versions`), or `--rebaseline` accepts other data: then the questions both runs share are compared,
and the candidate is the baseline from here on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from surefoot.errors import Misconfigured
from surefoot_eval.gate.gate import ALPHA, MetricVerdict, gate
from surefoot_eval.report.failure_slices import LEAST, parts
from surefoot_eval.run.fingerprints import GUARDED, differences
from surefoot_eval.run.results import Results, SystemResults, read
from surefoot_eval.score.scores import Column

__all__ = ["Comparison", "Flip", "compare", "junit", "main", "markdown"]

CODES = {"pass": 0, "fail": 1, "inconclusive": 3}
CHANGEABLE = ("prompts", "models", "versions")
MOST_FLIPS = 50  # listed


class Flip(NamedTuple):
    """A question whose outcome changed."""

    question: str
    before: str
    after: str


class Comparison(NamedTuple):
    """One system's baseline and candidate. `slices` are verdicts by slice, worst first; `notes` what a reader must know."""

    system: str
    verdict: str
    judged: list[MetricVerdict]
    slices: list[tuple[str, MetricVerdict]]
    flips: list[Flip]
    notes: list[str]


class Side(NamedTuple):
    """A run, and the system of it that was named, if any."""

    results: Results
    system: str


def main(args: argparse.Namespace) -> int:
    """Print the verdicts; returns the exit code of the worst."""
    changed = [one.strip() for one in args.changed.split(",") if one.strip()]
    unknown = sorted(set(changed) - set(CHANGEABLE))
    if unknown:
        raise Misconfigured(f"--changed {', '.join(unknown)}: what may be changed on purpose is {', '.join(CHANGEABLE)}")
    if not 0 < args.margin < 1:
        raise Misconfigured(f"--margin {args.margin}: a share between 0 and 1")
    found = compare(
        _side(args.baseline),
        _side(args.candidate),
        margin=args.margin,
        changed=changed,
        rebaseline=args.rebaseline,
        gate_slices=args.gate_slices,
    )
    said = markdown(found)
    print(said)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "compare.md").write_text(said, encoding="utf-8")
        junit(found, args.out / "junit.xml")
    codes = {CODES[one.verdict] for one in found}
    return 1 if 1 in codes else 3 if 3 in codes else 0


def compare(
    baseline: Side,
    candidate: Side,
    *,
    margin: float,
    changed: Sequence[str] = (),
    rebaseline: bool = False,
    gate_slices: bool = False,
) -> list[Comparison]:
    """Judge every system that both runs have. Raises Misconfigured where they cannot be compared."""
    one, other = baseline.results, candidate.results
    together = _together(baseline, candidate)
    systems = sorted({name.partition(" / ")[0] for pair in together for name in pair}) if one.kind != "resilience" else None
    guarded = [part for part in GUARDED if part not in changed]
    if len({name for pair in together for name in pair}) > len(together):
        guarded = [part for part in guarded if part != "models"]  # two systems of different names are meant to differ
    apart = differences(one.marks, other.marks, guarded, systems=systems)
    if apart and not rebaseline:
        remedy = "make a new baseline, or name what was changed on purpose by --changed, or accept other data by --rebaseline"
        raise Misconfigured(f"these runs are not comparable: {'; '.join(apart.values())}; {remedy}")
    shared = [key for key in one.questions if one.marked[key] == other.marked.get(key)]
    if not shared:
        raise Misconfigured("the two runs share no question with the same gold: there is nothing to compare")
    notes = [f"rebaselined: {said}" for said in apart.values()]
    if len(shared) < max(len(one.questions), len(other.questions)):
        notes.append(f"{len(shared)} questions are in both runs, of {len(one.questions)} and {len(other.questions)}")
    if one.marks.pipeline != other.marks.pipeline:
        notes.append("the pipelines' code differs")
    families = len(together) * (
        2 if gate_slices else 1
    )  # of tests, which share the error rate: no change alarms in ALPHA of all comparisons
    return [_compare(pair, one, other, shared, notes, margin=margin, alpha=ALPHA / families, gate_slices=gate_slices) for pair in together]


def _side(named: str) -> Side:
    """`FOLDER` or `FOLDER:SYSTEM`."""
    if Path(named).exists():
        return Side(read(Path(named)), "")
    folder, colon, system = named.rpartition(":")
    results = read(Path(folder if colon and Path(folder).exists() else named))
    if system not in results.systems:
        raise Misconfigured(f"{folder}: no system {system!r}; it has {', '.join(results.systems)}")
    return Side(results, system)


def _together(baseline: Side, candidate: Side) -> list[tuple[str, str]]:
    one, other = baseline.results.systems, candidate.results.systems
    if baseline.system or candidate.system:
        first = baseline.system or candidate.system
        second = candidate.system or baseline.system
        for name, systems in ((first, one), (second, other)):
            if name not in systems:
                raise Misconfigured(f"no system {name!r} in one of the runs; it has {', '.join(systems)}")
        return [(first, second)]
    missing = [name for name in one if name not in other]
    if missing:
        raise Misconfigured(f"the candidate has no system {missing[0]!r}; the baseline has. Name one of each as FOLDER:SYSTEM")
    return [(name, name) for name in one]


def _compare(
    systems: tuple[str, str],
    one: Results,
    other: Results,
    shared: Sequence[str],
    notes: Sequence[str],
    *,
    margin: float,
    alpha: float,
    gate_slices: bool,
) -> Comparison:
    deciding = [name for name in one.gated if name not in {*one.advisory, *other.advisory}]
    if not deciding:
        raise Misconfigured("every gated metric is advisory: nothing can be decided; calibrate the judge, or gate by other metrics")
    first, second = systems
    before, after = one.systems[first], other.systems[second]
    judged = gate(_columns(before, deciding, shared), _columns(after, deciding, shared), one.groups, margin=margin, alpha=alpha)
    slices = _slices(before, after, one, deciding, shared, margin, alpha)
    verdicts = [each.verdict for each in judged]
    failed = "fail" in verdicts or (gate_slices and any(each.verdict == "fail" for _, each in slices))
    flips = [
        Flip(one.questions[key], before.outcomes[key].replace("_", " "), after.outcomes[key].replace("_", " "))
        for key in shared
        if before.outcomes[key] != after.outcomes[key]
    ]
    name = first if first == second else f"{first} -> {second}"
    verdict = "fail" if failed else "inconclusive" if "inconclusive" in verdicts else "pass"
    return Comparison(name, verdict, judged, slices, flips if one.kind != "retrieval" else [], list(notes))


def _slices(
    before: SystemResults, after: SystemResults, one: Results, deciding: Sequence[str], shared: Sequence[str], margin: float, alpha: float
) -> list[tuple[str, MetricVerdict]]:
    """Every slice and metric as one family, so that many slices do not make an alarm likely; the largest loss first."""
    names, first, second = {}, {}, {}
    for name, inside in parts({key: one.slices[key] for key in shared}):
        for metric in deciding:
            label = f"{metric} | {name}"
            both = [_columns(system, [metric], [key for key in shared if key in inside])[metric] for system in (before, after)]
            if min(len(column.values) for column in both) >= LEAST:
                names[label] = name
                first[label], second[label] = both
    found = gate(first, second, one.groups, margin=margin, alpha=alpha) if first else []
    kept = [(names[each.metric], each) for each in found if each.metric in names]
    return sorted(kept, key=lambda pair: pair[1].paired.difference if pair[1].paired else 0.0)


def _columns(system: SystemResults, metrics: Sequence[str], keys: Sequence[str]) -> dict[str, Column]:
    wanted: Mapping[str, None] = dict.fromkeys(keys)
    return {name: Column(name, {key: score for key, score in system.scores[name].items() if key in wanted}) for name in metrics}


def markdown(found: Sequence[Comparison]) -> str:
    """For a terminal or a pull request."""
    lines = []
    for one in found:
        lines += [f"## {one.system}: {one.verdict.upper()}", "", *(f"> {note}" for note in one.notes), *([""] if one.notes else [])]
        lines += [
            "| metric | verdict | difference | 95 % | p of worse (Holm) | smallest drop seen | why |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [_row(each.metric, each) for each in one.judged]
        if one.slices:
            name, low = one.slices[0]
            told = f"{low.verdict}, {low.paired}, p of worse (Holm) {low.p_holm or 1.0:.4f}"
            lines += ["", f"Worst slice: **{name}**, {low.metric.partition(' | ')[0]}: {told}"]
        if one.flips:
            lines += ["", f"{len(one.flips)} questions changed their outcome:", ""]
            lines += [f"- {flip.before} -> {flip.after}: {flip.question}" for flip in one.flips[:MOST_FLIPS]]
            lines += [f"- ... and {len(one.flips) - MOST_FLIPS} more"] * (len(one.flips) > MOST_FLIPS)
        lines.append("")
    return "\n".join(lines)


def _row(name: str, one: MetricVerdict) -> str:
    if one.paired is None or one.p_holm is None or one.smallest is None:
        return f"| {name} | {one.verdict} | | | | | {one.reason} |"
    apart = f"{one.paired.difference:+.4f} | {one.paired.interval} | {one.p_holm:.4f} | {one.smallest:.4f}"
    return f"| {name} | {one.verdict} | {apart} | {one.reason} |"


def junit(found: Sequence[Comparison], file: Path) -> None:
    """A case a metric: failure where it is worse, skipped where it cannot be told."""
    root = Element("testsuites", name="eval compare")
    for one in found:
        verdicts = [each.verdict for each in one.judged]
        suite = SubElement(root, "testsuite", name=one.system, tests=str(len(verdicts)), failures=str(verdicts.count("fail")))
        suite.set("skipped", str(verdicts.count("inconclusive")))
        for each in one.judged:
            case = SubElement(suite, "testcase", classname=f"compare.{one.system}", name=each.metric)
            if each.verdict != "pass":
                SubElement(case, "failure" if each.verdict == "fail" else "skipped", message=each.reason)
            SubElement(case, "system-out").text = str(each)
    indent(root)
    ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
