"""A suite: what is asked, of whom, and how it is measured, as TOML. A word nobody knows fails here, before anything is spent.

name = "rag"
kind = "rag"                                  # rag | retrieval | resilience
metrics = ["right", "citation_precision", "refusal"]
[data]
format = "folder"                             # folder | squad | beir; `path` left out: the project's own sample
[[system]]
name = "langchain"
framework = "langchain"                       # langchain | llamaindex | lexical
chat = ["local:extractive"]
embed = ["local:multilingual-e5-small"]
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

import msgspec

from surefoot.errors import Misconfigured
from surefoot.layers.watch.chaos import KINDS
from surefoot.settings import Policy, Target
from surefoot_eval.metric_names import METRICS, load_module, needs_depth

__all__ = ["Data", "Judging", "Schedule", "SimulatedProvider", "Suite", "System", "load"]

Kind = Literal["rag", "retrieval", "resilience"]
Framework = Literal["langchain", "llamaindex", "lexical"]
Format = Literal["folder", "squad", "beir"]
Answers = Literal["own", "accepted"]
SLICES = ("language", "answerable", "length", "turn")
CEILINGS = ("p50_s", "p95_s", "usd_per_1k", "tokens")
NAME = re.compile(r"[\w][\w .+%-]{0,59}")  # it becomes a file's name


class Data(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which questions over which documents.

    `path` is relative to the suite's file, or to `--data`. `file` is another file of questions in our own format than the one that lies
    there, beside the suite or at `path`. `questions` keeps so many, whole groups by `seed` (0: all); `leave_out` is the share of groups
    (articles) that is not indexed, so that nothing answers their questions. In conversations a later turn follows the system's `history`
    ("own": what it answered; "accepted": the accepted answers, so that one mistake is not counted twice).
    """

    format: Format = "folder"
    path: str = ""
    file: str = ""
    history: Answers = "own"
    split: str = "test"
    language: str = "en"
    questions: int = 0
    leave_out: float = 0.0
    seed: int = 0


class System(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One configuration: a pipeline of ours with its models, or a system of anybody's.

    `models` names a surefoot.toml, of which `chat` and `embed` are then entries. `chunk_chars` is the longest passage, `fusion` "scores" or
    "ranks", `dense_share` the share of the dense list, `prompt` a file like those of the pipelines, `reranker` "chat", "cross-encoder:NAME"
    or "module:function". Anybody's: `system` is "module:function" (beside the suite, or installed), `url` a service (`body` with
    "{question}" in it, or "{messages}", and `answer_path` into its reply; left out: OpenAI's protocol with `model`), `predictions` a file
    of answers.
    """

    name: str
    framework: Framework = "lexical"
    chat: tuple[str, ...] = ("local:extractive",)
    embed: tuple[str, ...] = ("local:multilingual-e5-small",)
    models: str = ""
    k: int = 5
    temperature: float | None = None
    max_tokens: int | None = None
    policy: Mapping[str, Any] = {}
    chunk_chars: int = 0
    fusion: str = ""
    dense_share: float | None = None
    prompt: str = ""
    reranker: str = ""
    system: str = ""
    url: str = ""
    predictions: str = ""
    model: str = ""
    api_key: str = ""
    body: Mapping[str, Any] = {}
    headers: Mapping[str, str] = {}
    answer_path: str = ""
    passages_path: str = ""
    timeout_s: float = 60.0

    @property
    def is_own(self) -> bool:
        """True for a system of anybody's."""
        return bool(self.system or self.url or self.predictions)


class SimulatedProvider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider of a rehearsal: what `answers` says, as late and as dear as told. Latency is lognormal about `median_s`."""

    name: str
    answers: str = "local:extractive"
    median_s: float = 0.8
    spread: float = 0.4
    input_usd_per_mtok: float = 0.0
    output_usd_per_mtok: float = 0.0


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Weather for the providers named in `providers` (left out: all): faults by share, lateness, and outages from..to in seconds."""

    name: str
    rates: Mapping[str, float] = {}
    passing: float = 0.0
    slow_rate: float = 0.0
    slow_s: float = 1.0
    outages: tuple[tuple[float, float], ...] = ()
    providers: tuple[str, ...] = ()


class Judging(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who grades, and the cards that say how far to trust it: on groundedness (`judged`) and on correctness (`judged_right`)."""

    chat: tuple[str, ...]
    models: str = ""
    card: str = ""
    right_card: str = ""


class Suite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it. `per_s` is how many questions arrive a second in a rehearsal; `floors` are means that must not be missed.

    `ceilings` bound p50_s, p95_s, usd_per_1k and tokens of every system; `modules` hold metrics of your own (`metric_names.metric`).
    """

    name: str
    kind: Kind
    metrics: tuple[str, ...]
    data: Data = Data()
    system: tuple[System, ...] = ()
    seeds: tuple[int, ...] = (0,)
    slices: tuple[str, ...] = SLICES
    in_flight: int = 4
    gate: tuple[str, ...] = ()
    floors: Mapping[str, float] = {}
    ceilings: Mapping[str, float] = {}
    modules: tuple[str, ...] = ()
    provider: tuple[SimulatedProvider, ...] = ()
    schedule: tuple[Schedule, ...] = ()
    judge: Judging | None = None
    per_s: float = 1.0

    @property
    def gated(self) -> tuple[str, ...]:
        """The metrics a comparison decides by; left out: all."""
        return self.gate or self.metrics


def load(path: str | Path) -> Suite:
    """Read and check a suite. Raises Misconfigured naming the file, the line, the word, and the nearest known one."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise Misconfigured(f"{file}: cannot be read: {error.strerror}") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{file}: not TOML: {error}") from error
    return _SuiteReader(file, text).suite(data)


class _SuiteReader:
    """Checks a file's words against what is known, with the line to look at."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self.lines = text.splitlines()

    def suite(self, data: Mapping[str, Any]) -> Suite:
        """The suite, every word of it checked."""
        self._table(data, Suite, "key")
        single: dict[str, type[msgspec.Struct]] = {"data": Data, "judge": Judging}
        for name, kind in single.items():
            if name in data:
                self._table(data[name], kind, f"key in [{name}]")
        several: dict[str, type[msgspec.Struct]] = {"system": System, "provider": SimulatedProvider, "schedule": Schedule}
        for name, kind in several.items():
            rows = data.get(name, [])
            if not isinstance(rows, list):
                self.fail(name, f"write [[{name}]], with two brackets: there may be several")
            for row in rows:
                self._table(row, kind, f"key in [[{name}]]")
                if name == "system":
                    self._policy(row.get("policy", {}))
        try:
            suite = msgspec.convert(data, Suite)
        except msgspec.ValidationError as error:
            self._invalid(error, data)
        for name in suite.modules:
            load_module(name, near=self.file.parent)
        self._words(suite)
        self._numbers(suite)
        self._together(suite)
        return suite

    def _words(self, suite: Suite) -> None:
        self._all((*suite.metrics, *suite.gate, *suite.floors), METRICS, "metric")
        self._all(suite.slices, SLICES, "slice")
        self._all(suite.ceilings, CEILINGS, "ceiling")
        for name in (*suite.gate, *suite.floors):
            if name not in suite.metrics:
                self.fail(name, f"{name!r} is not among the metrics of this suite, so nothing can be judged by it")
        named = [[one.name for one in suite.system], [one.name for one in suite.schedule], [one.name for one in suite.provider]]
        for name in (suite.name, *named[0], *named[1]):
            if not NAME.fullmatch(name):
                self.fail(name, f"name = {name!r}: letters, digits, spaces and . + - % only, at most 60")
        for names in named:
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                self.fail(twice, f"two are named {twice!r}")
        for schedule in suite.schedule:
            self._all(schedule.rates, KINDS, "fault")
            self._all(schedule.providers, [one.name for one in suite.provider], "provider")

    def _all(self, words: Iterable[str], known: Sequence[str] | Mapping[str, str], what: str) -> None:
        for word in words:
            if word not in known:
                self._near(word, known, what)

    def _numbers(self, suite: Suite) -> None:
        wrong = {
            "questions": suite.data.questions < 0,
            "leave_out": not 0 <= suite.data.leave_out < 1,
            "in_flight": not 1 <= suite.in_flight <= 1000,
            "per_s": not suite.per_s > 0,
            "seeds": not suite.seeds or len(set(suite.seeds)) != len(suite.seeds),
            "metrics": not suite.metrics,
            "ceilings": any(value < 0 for value in suite.ceilings.values()),
            "timeout_s": any(not one.timeout_s > 0 for one in suite.system),
            "chunk_chars": any(one.chunk_chars < 0 for one in suite.system),
            "dense_share": any(one.dense_share is not None and not 0 <= one.dense_share <= 1 for one in suite.system),
            "k": any(not 1 <= one.k <= 100 for one in suite.system),
            "rates": any(sum(one.rates.values()) + one.passing > 1 or min(one.rates.values(), default=0) < 0 for one in suite.schedule),
            "slow_rate": any(not 0 <= one.slow_rate <= 1 for one in suite.schedule),
            "outages": any(start >= end for one in suite.schedule for start, end in one.outages),
            "median_s": any(not one.median_s > 0 or one.spread < 0 for one in suite.provider),
        }
        for name, is_wrong in wrong.items():
            if is_wrong:
                self.fail(name, f"{name} is out of its range; see eval/surefoot_eval/data/suite.py for what it may be")

    def _together(self, suite: Suite) -> None:
        """What only makes sense with something else."""
        if not suite.system:
            self.fail("", "nothing to examine: name at least one [[system]]")
        if suite.kind == "resilience":
            if not suite.provider or not suite.schedule:
                self.fail("kind", "a resilience suite needs [[provider]] and [[schedule]]")
            known = [one.name for one in suite.provider]
            for system in suite.system:
                self._all(system.chat, known, "provider")
        elif suite.provider or suite.schedule:
            self.fail("provider" if suite.provider else "schedule", 'providers and schedules belong to kind = "resilience"')
        for system in suite.system:
            self._own(system)
        self._measurable(suite)

    def _own(self, system: System) -> None:
        """What may stand together in one [[system]]."""
        kinds = [name for name in ("system", "url", "predictions") if getattr(system, name)]
        if len(kinds) > 1:
            self.fail(kinds[1], f"{system.name!r} is asked in one way: {kinds[0]} or {kinds[1]}, not both")
        if system.fusion and system.fusion not in {"scores", "ranks"}:
            self._near(system.fusion, ("scores", "ranks"), "fusion")
        ours = [name for name in ("chunk_chars", "fusion", "prompt", "reranker", "dense_share") if getattr(system, name)]
        if ours and (kinds or system.framework == "lexical"):
            self.fail(ours[0], f"{ours[0]} is for the pipelines (framework = langchain or llamaindex), not for {system.name!r}")
        if system.url and not system.body and not system.model:
            self.fail("url", f"{system.name!r}: a service of OpenAI's protocol needs model = ..., any other one body and answer_path")
        if system.body and not system.answer_path:
            self.fail("body", f'{system.name!r}: body needs answer_path, where the answer stands in the reply, such as "result.text"')

    def _measurable(self, suite: Suite) -> None:
        for name in suite.metrics:
            for system in suite.system:
                if needs_depth(name) > system.k and not system.is_own:
                    self.fail(name, f"{name} looks at {needs_depth(name)} passages, but {system.name!r} finds k = {system.k}")
            if suite.kind == "retrieval" and not METRICS[name].startswith("retrieval"):
                self.fail(name, f'{name} needs answers; kind = "retrieval" has none')
            if name.startswith("judged") and suite.judge is None:
                self.fail(name, f"{name} needs a [judge] with chat = [...]")

    def _policy(self, values: Any) -> None:
        if not isinstance(values, dict):
            self.fail("policy", "[system.policy] is a table")
        for name in values:
            if name not in Policy.__struct_fields__:
                self._near(name, Policy.__struct_fields__, "key in [system.policy]")
        try:
            msgspec.convert(values, Policy)
        except msgspec.ValidationError as error:
            self._invalid(error, values)

    def _table(self, values: Any, kind: type[msgspec.Struct], what: str) -> None:
        if not isinstance(values, dict):
            self.fail("", f"a table is wanted for {what}")
        for name in values:
            if name not in kind.__struct_fields__:
                self._near(name, kind.__struct_fields__, what)

    def _near(self, word: str, known: Sequence[str] | Mapping[str, str], what: str) -> NoReturn:
        near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
        self.fail(word, f"unknown {what}: {word!r}; " + (f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"))

    def _invalid(self, error: msgspec.ValidationError, data: Any) -> NoReturn:
        path = re.findall(r"\.(\w+)", str(error).partition("`$")[2])
        value: Any = data
        for number, name in re.findall(r"\[(\d+)\]|\.(\w+)", str(error).partition("`$")[2]):
            value = value[int(number)] if number and isinstance(value, list) else value.get(name) if isinstance(value, dict) else value
        known = {"kind": Kind, "framework": Framework, "format": Format, "history": Answers}
        choices = get_args(known.get(path[-1] if path else ""))
        if choices and isinstance(value, str):
            self._near(value, choices, path[-1])
        self.fail(path[-1] if path else "", str(error))

    def fail(self, word: str, message: str) -> NoReturn:
        """Raise Misconfigured with the first line that has `word`."""
        pattern = re.compile(rf"(?<![\w.-]){re.escape(word)}(?![\w-])") if word else None
        line = next((n for n, text in enumerate(self.lines, 1) if pattern and pattern.search(text.split("#")[0])), None)
        raise Misconfigured(f"{self.file}{f', line {line}' if line else ''}: {message}")


def target(provider: SimulatedProvider) -> Target:
    """What a rehearsed provider's tokens cost, as a Target."""
    return Target(provider.name, input_usd_per_mtok=provider.input_usd_per_mtok, output_usd_per_mtok=provider.output_usd_per_mtok)
