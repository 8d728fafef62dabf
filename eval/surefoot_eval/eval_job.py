"""The kind `eval` of durable jobs: a suite's questions as items, asked by any number of workers; its report at the end.

    items, options = EvalKind().from_path(Path("suite.toml"), {})
    job = q.submit("eval", items, **options)
    surefoot jobs results JOB --to FOLDER                # scores.json, report.html, ... as `surefoot eval run` writes them

Each worker needs the suite and its data at the same paths; a worker whose suite says something else leaves the job to others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from surefoot import ChatModel, runtime
from surefoot.errors import BadRequest, Misconfigured, SurefootError
from surefoot.jobs.bodies import packed_error
from surefoot.jobs.kinds import ItemResult, Put
from surefoot.jobs.models import ModelSource
from surefoot.jobs.records import OpenChunk
from surefoot.models.requests import scope
from surefoot_eval import run_suite
from surefoot_eval.data.dataset import LabelledQuestion
from surefoot_eval.data.records import Record
from surefoot_eval.run.answers import OpenedSystem, ask_turn, open_system
from surefoot_eval.run.own_systems import OwnSystem
from surefoot_eval.run.plan import Plan
from surefoot_eval.run.recording import Recording
from surefoot_eval.run.results import write as write_results

_records = msgspec.json.Decoder(list[Record])


class _EvalItem(msgspec.Struct, frozen=True, kw_only=True):
    """One item: questions of one conversation in their order, mostly a single one."""

    system: str
    seed: int
    questions: tuple[str, ...]


class EvalKind:
    """Items are made by `from_path`; options are `suite` and `data`, the paths of a suite and of its public data sets."""

    columns = ("system", "seed", "question", "answer", "refused", "cost_usd")

    def check(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options, with the name that the suite's fingerprints give it. Raises Misconfigured for a suite that cannot be run."""
        said = dict(options)
        suite, data = said.pop("suite", None), said.pop("data", None)
        if said or suite is None:
            wrong = f"unknown option {next(iter(said))!r}" if said else "suite is missing"
            raise Misconfigured(f"eval: {wrong}; known are suite=PATH and data=FOLDER of public data sets")
        planned = _planned(str(suite), None if data is None else str(data))
        return {"suite": str(suite), "name": planned.name} | ({} if data is None else {"data": str(data)})

    def item(self, given: Any) -> Any:
        """One conversation."""
        try:
            return msgspec.to_builtins(msgspec.convert(given, _EvalItem))
        except msgspec.ValidationError as error:
            raise BadRequest(f"an item of a suite is made by `from_path(suite)`: {error}") from error

    def open(self, chunk: OpenChunk, models: ModelSource, limited: Any) -> EvalRunner:
        """The runner over the suite's systems, which name their models themselves."""
        del models
        return EvalRunner(chunk.spec.options, limited)

    def value(self, body: bytes) -> list[Record]:
        """The records of the conversation's questions."""
        return _records.decode(body)

    def asked(self, item: Any) -> dict[str, Any]:
        """What was asked of whom."""
        return {"system": item["system"], "seed": item["seed"], "question": ", ".join(item["questions"])}

    def row(self, value: list[Record]) -> dict[str, Any]:
        """The last answer of the conversation."""
        return {"answer": value[-1].answer, "refused": value[-1].refused, "cost_usd": sum(one.cost.usd or 0.0 for one in value)}

    def from_path(self, path: Path, options: Mapping[str, Any]) -> tuple[Iterable[Any], dict[str, Any]]:
        """A suite's items and options; `data` among `options` is the folder of public data sets. Raises Misconfigured."""
        planned = _planned(str(path), options.get("data"))
        if planned.suite.kind == "resilience":
            raise Misconfigured(f"{path}: a rehearsal is one run on one machine; run it by  surefoot eval run {path}")
        jobs = run_suite.todo(planned, [], only_failed=False)
        found: dict[tuple[str, str, int], list[str]] = {}
        for job in jobs:
            found.setdefault((job.system, job.asked.conversation or job.asked.query.id, job.seed), []).append(job.asked.query.id)
        items = [{"system": system, "seed": seed, "questions": names} for (system, _, seed), names in found.items()]
        return items, {"suite": str(path)}

    def write(self, path: Path, options: Mapping[str, Any], results: Iterable[tuple[int, Any]], inputs: Iterable[tuple[int, Any]]) -> int:
        """Score what was done so far and write all reports into the folder `path`; how many questions."""
        from surefoot_eval.report import report

        planned = _planned(options["suite"], options.get("data"))
        asked, records = dict(inputs), list[Record]()
        for n, value in results:
            if isinstance(value, Exception):
                one = msgspec.convert(asked[n], _EvalItem)
                records += (Record(system=one.system, question=name, seed=one.seed, error=str(value)) for name in one.questions)
            else:
                records += value
        if not records:
            raise Misconfigured("nothing was asked yet: there is nothing to report")
        path.mkdir(parents=True, exist_ok=True)
        found = run_suite.results(planned, records)
        write_results(found, path)
        report.finish(found, records, planned.material, path)
        return len(records)


class EvalRunner:
    """Asks conversations, each in a thread: pipelines are plain functions."""

    def __init__(self, options: Mapping[str, Any], limited: Any) -> None:
        self._options = options
        self._limited = limited
        self._plan: Plan | None = None
        self._opened: dict[str, OpenedSystem | OwnSystem] = {}

    async def run(self, chunk: OpenChunk, put: Put) -> str:
        """Ask every item, so many at once as the suite says. Raises Misconfigured for a suite that is not what was submitted."""
        planned = self._plan
        if planned is None:
            found = await runtime.in_thread(self._same)
            planned = self._plan = found
        todo = [(n, msgspec.convert(item, _EvalItem)) for n, item in chunk.items]
        for name in dict.fromkeys(one.system for _, one in todo):
            if name not in self._opened:
                self._opened[name] = await runtime.in_thread(self._open, planned, name)
        asked = {one.query.id: one for one in planned.material.questions}
        said = {"tenant": chunk.tenant or None, "tags": {"job": chunk.job, **chunk.spec.tags}}
        left = iter(todo)

        async def worker() -> None:
            for n, one in left:
                with scope(**said, priority="batch" if chunk.priority else "interactive"):  # type: ignore[arg-type]
                    put(_result(n, await runtime.in_thread(partial(self._ask, planned, one, asked))))

        async with asyncio.TaskGroup() as group:
            for _ in range(min(planned.suite.in_flight, len(todo))):
                group.create_task(worker())
        return ""

    def _same(self) -> Plan:
        planned = _planned(self._options["suite"], self._options.get("data"))
        if planned.name != self._options["name"]:
            suite = self._options["suite"]
            raise Misconfigured(f"{suite}: the suite, its data or the code is not what was submitted; here it is {planned.name}")
        return planned

    def _open(self, planned: Plan, name: str) -> OpenedSystem | OwnSystem:
        system, found = next(one for one in planned.suite.system if one.name == name), planned.models[name]
        if isinstance(found.chat, ChatModel):
            found = found._replace(chat=self._limited(found.chat))
        return open_system(system, found, Recording(None, "off"), planned.material, place=run_suite.PLACE / "index", near=planned.near)

    def _ask(self, planned: Plan, one: _EvalItem, asked: Mapping[str, LabelledQuestion]) -> list[Record]:
        records: list[Record] = []
        for name in one.questions:
            opened = self._opened[one.system]
            records.append(ask_turn(opened, asked[name], one.seed, tries=1, material=planned.material, records=records))
        return records


def _result(n: int, records: list[Record]) -> ItemResult:
    cost = sum(one.cost.usd or 0.0 for one in records)
    if error := next((one.error for one in records if one.error), ""):
        return ItemResult(n, ok=False, body=packed_error(SurefootError(error)), cost_usd=cost)
    return ItemResult(n, ok=True, body=msgspec.json.encode(records), cost_usd=cost)


def _planned(suite: str, data: str | None) -> Plan:
    return run_suite.plan(Path(suite), data=None if data is None else Path(data))
