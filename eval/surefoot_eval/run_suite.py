"""Run a suite: python -m surefoot_eval run SUITE.toml [--data FOLDER] [--out FOLDER] [--only-failed] [--tape FILE --tape-mode MODE]

Everything is checked before the first question is asked. Records go to an append-only journal; the same command goes on after a kill
where it was. When all is asked: scores.json, report.html, report.md, junit.xml and TREC files.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from surefoot.errors import Misconfigured
from surefoot_eval.data.dataset import LabelledQuestion, gather
from surefoot_eval.data.records import Record
from surefoot_eval.data.suite import load
from surefoot_eval.run.answers import OpenedSystem, ask_turn, models, open_system
from surefoot_eval.run.fingerprints import Fingerprints, differences, marks
from surefoot_eval.run.journal import Journal
from surefoot_eval.run.own_systems import OwnSystem
from surefoot_eval.run.plan import Plan
from surefoot_eval.run.recording import Recording
from surefoot_eval.run.results import Results, SystemResults, summary, write
from surefoot_eval.score.scores import Score
from surefoot_eval.score.scoring import ScoredRow, columns, outcomes, rows

__all__ = ["Plan", "main", "plan", "results", "run"]

PLACE = Path(".surefoot/eval")
MOST_TRIES = 5  # of one question over all `--only-failed` runs: what fails five times is not unlucky
MANIFEST = "manifest.json"


class QuestionJob(NamedTuple):
    """One question to ask."""

    system: str
    asked: LabelledQuestion
    seed: int
    tries: int


def main(args: argparse.Namespace) -> int:
    """Run, score, report. Returns 0; 1 where a floor was missed or a question failed; 2 for what is yours to mend (raised)."""
    from surefoot_eval.report import report

    planned = plan(args.suite, data=args.data)
    out = args.out or _folder(planned, fresh=args.fresh)
    tape = Recording(args.tape, args.tape_mode) if args.tape else Recording(None, "off")
    print(f"{planned.suite.name}: {planned.material}\n{len(planned.systems)} systems, results in {out}")
    try:
        records = run(planned, out, tape=tape, only_failed=args.only_failed)
        found = results(planned, records, tape=_verdicts(planned, tape, out))
    except KeyboardInterrupt:
        print(f"interrupted; the same command goes on where it was ({out})", file=sys.stderr)
        return 130
    finally:
        tape.close()
    write(found, out)
    return report.finish(found, records, planned.material, out)


def plan(file: Path, *, data: Path | None = None) -> Plan:
    """Read the suite, the data and the models; asks nobody. Raises Misconfigured."""
    suite = load(file)
    near = file.parent
    material = gather(suite.data, near=near, root=data)
    if suite.kind == "resilience":
        from surefoot_eval.run.resilience import checked

        if material.has_turns:
            raise Misconfigured(f"{file}: a rehearsal asks single questions, in no order; conversations are for suites of another kind")
        found = checked(suite, near)
    else:
        found = {one.name: models(one, near=near, answers=suite.kind == "rag") for one in suite.system}
    return Plan(suite, near, material, found, marks(suite, material, found, near=near))


def run(planned: Plan, out: Path, *, tape: Recording | None = None, only_failed: bool = False, place: Path | None = None) -> list[Record]:
    """Ask what has no record in `out` yet (with `only_failed`: what failed); returns all records.

    Raises Misconfigured where `out` holds a run of something else.
    """
    out.mkdir(parents=True, exist_ok=True)
    _manifest(planned, out)
    journal = Journal(out / "records.jsonl", Record)
    try:
        if planned.suite.kind == "resilience":
            from surefoot_eval.run.resilience import rehearse

            if only_failed:
                raise Misconfigured("--only-failed: a rehearsal's failures are its subject, and by their seed they would happen again")
            rehearse(planned, journal, tape or Recording(None, "off"), place=place or PLACE / "index")
        else:
            jobs = todo(planned, journal.records, only_failed=only_failed)
            if jobs:
                _ask(planned, jobs, journal, tape or Recording(None, "off"), place or PLACE / "index")
        return list(journal.records)
    finally:
        journal.close()


def todo(planned: Plan, records: Sequence[Record], *, only_failed: bool) -> list[QuestionJob]:
    """What is left to ask."""
    last = {record.key: record for record in records}
    jobs = []
    for system in planned.suite.system:
        for seed in planned.suite.seeds:
            for asked in planned.material.questions:
                record = last.get((system.name, asked.query.id, seed))
                again = only_failed and record is not None and record.error and record.tries < MOST_TRIES
                if (record is None and not only_failed) or again:
                    jobs.append(QuestionJob(system.name, asked, seed, record.tries + 1 if record else 1))
    return jobs


def _ask(planned: Plan, jobs: Sequence[QuestionJob], journal: Journal[Record], tape: Recording, place: Path) -> None:
    """All of them; what is yours to mend ends the run as itself, not in a group."""
    try:
        asyncio.run(_ask_all(planned, jobs, journal, tape, place))
    except ExceptionGroup as group:
        mine = group.subgroup(Misconfigured)
        if mine is None:
            raise
        raise mine.exceptions[0] from group


async def _ask_all(planned: Plan, jobs: Sequence[QuestionJob], journal: Journal[Record], tape: Recording, place: Path) -> None:
    """One system after the other, its questions `in_flight` at a time, each in a thread: pipelines are plain functions.

    How fast a provider is asked is the models' own affair: all threads meet in surefoot's one background loop.
    """
    from tqdm import tqdm

    loop = asyncio.get_running_loop()
    quiet = not sys.stderr.isatty()
    with (
        ThreadPoolExecutor(planned.suite.in_flight, thread_name_prefix="eval") as pool,
        tqdm(total=len(jobs), unit="question", disable=quiet, dynamic_ncols=True) as bar,
    ):
        for system in planned.suite.system:
            own = [job for job in jobs if job.system == system.name]
            if not own:
                continue
            opened = open_system(
                system, planned.models[system.name], tape, planned.material, place=place, progress=not quiet, near=planned.near
            )
            bar.set_description(system.name)
            left = iter(_conversations(own))

            async def worker(opened: OpenedSystem | OwnSystem = opened, left: Iterator[list[QuestionJob]] = left) -> None:
                for conversation in left:
                    for job in conversation:
                        ask = partial(
                            ask_turn, opened, job.asked, job.seed, tries=job.tries, material=planned.material, records=journal.records
                        )
                        journal.append(await loop.run_in_executor(pool, ask))
                        bar.update()

            async with asyncio.TaskGroup() as group:
                for _ in range(min(planned.suite.in_flight, len(own))):
                    group.create_task(worker())


def _conversations(jobs: Sequence[QuestionJob]) -> list[list[QuestionJob]]:
    """Turns of a conversation one after the other, since each follows what was answered before; all else for itself."""
    found: dict[tuple[str, int], list[QuestionJob]] = {}
    for job in jobs:
        found.setdefault((job.asked.conversation, job.seed), []).append(job)
    return list(found.values())


def results(planned: Plan, records: Sequence[Record], *, tape: Recording | None = None) -> Results:
    """Score everything; a judge's verdicts come from `tape` where it has them."""
    suite, material = planned.suite, planned.material
    judges, advisory = _judges(planned, tape or Recording(None, "off"))
    systems: dict[str, SystemResults] = {}
    keys: dict[str, LabelledQuestion] = {}
    for name in planned.systems:
        found = rows(records, material, name, suite.seeds)
        keys |= {row.key: row.asked for row in found}
        groups = {row.key: row.asked.group for row in found}
        table = columns(found, material, suite.metrics, judges=judges)
        cells, counted = outcomes(found, material)
        systems[name] = SystemResults(
            scores={metric: column.scores for metric, column in table.items()},
            summaries={metric: summary(column, groups) for metric, column in table.items()},
            outcomes=cells,
            refusals=counted,
        )
    return Results(
        suite=suite.name,
        kind=suite.kind,
        metrics=suite.metrics,
        gated=suite.gated,
        floors=suite.floors,
        ceilings=suite.ceilings,
        advisory=advisory,
        questions={key: material.in_context(one) for key, one in keys.items()},
        marked={key: _mark(one) for key, one in keys.items()},
        groups={key: one.group for key, one in keys.items()},
        slices={key: {name: one.slices[name] for name in suite.slices} for key, one in keys.items()},
        systems=systems,
        marks=planned.marks,
    )


def _judges(planned: Plan, tape: Recording) -> tuple[dict[str, Callable[[ScoredRow], Score]], tuple[str, ...]]:
    if planned.suite.judge is None:
        return {}, ()
    from surefoot_eval.run.judge import grading

    return grading(planned.suite.judge, planned.suite.metrics, planned.material, near=planned.near, tape=tape)


def _verdicts(planned: Plan, tape: Recording, out: Path) -> Recording:
    """Where a judge's verdicts are kept: on the recording of the run, else beside its records, so that scoring again costs nothing."""
    return Recording(out / "verdicts.jsonl") if tape.mode == "off" and planned.suite.judge is not None else tape


def _mark(asked: LabelledQuestion) -> str:
    """Digest of one question and its gold (and of what it follows): what a comparison over changed data still shares."""
    whole = [asked.query, asked.earlier] if asked.earlier else asked.query
    return hashlib.sha256(msgspec.json.encode(whole, order="sorted")).hexdigest()[:16]


def _folder(planned: Plan, *, fresh: bool) -> Path:
    first = PLACE / "runs" / planned.name
    if not fresh:
        return first
    number = 2
    while (again := first.with_name(f"{first.name}-{number}")).exists():
        number += 1
    return again if first.exists() else first


def _manifest(planned: Plan, out: Path) -> None:
    file = out / MANIFEST
    now = msgspec.json.format(msgspec.json.encode({"suite": planned.suite, "marks": planned.marks}, order="sorted"), indent=1)
    if not file.exists():
        fresh = file.with_suffix(".tmp")
        fresh.write_bytes(now)
        fresh.replace(file)
        return
    if file.read_bytes() == now:
        return
    held = msgspec.json.decode(file.read_bytes())
    apart = differences(msgspec.convert(held["marks"], Fingerprints), planned.marks)
    said = "; ".join(apart.values()) or "the suite itself, or the pipelines' code"
    raise Misconfigured(f"{out} holds a run of something else ({said}): name another folder with --out, or leave --out away")
