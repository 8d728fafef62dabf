"""What can be done with an item: kinds by name. A row names a kind; what the name means is this process's to say.

`chat` and `embed` are here, `index` comes with the pipelines and `eval` with the evaluation; `register("name", kind)` adds one of your own,
and an installed package may bring some through the entry-point group `surefoot.jobs`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.errors import Misconfigured
from surefoot.jobs.models import ModelSource
from surefoot.jobs.records import OpenChunk

BUILT_IN = {  # loaded when first named: index and eval are packages beside the core, gateway is above it; each has an extra
    "chat": "surefoot.jobs.kinds.chat:ChatKind",
    "embed": "surefoot.jobs.kinds.embed:EmbedKind",
    "index": "surefoot_rag.index_job:IndexKind",
    "eval": "surefoot_eval.eval_job:EvalKind",
    "gateway": "surefoot.gateway.batches.items:BatchKind",
}
EXTRAS = {"index": "rag", "eval": "eval", "gateway": "serve"}


class ItemResult(Struct, Documented, frozen=True):
    """What came of an item."""

    n: int
    """The item's number in its job, from 0."""
    ok: bool
    """False: `body` is an error as JSON (`surefoot.jobs.bodies`)."""
    body: bytes
    """What is kept; the kind's `value` reads it."""
    cost_usd: float = 0.0
    """US dollars it cost, at least 0; 0 also where nobody knows."""


Put = Callable[[ItemResult], None]


class JobRunner(Protocol):
    """Works on chunks of one job, in one process."""

    async def run(self, chunk: OpenChunk, put: Put) -> str:
        """Do every item of the chunk and `put` what came of it, once each.

        Returns "" or, where the job shall pause, why; it pauses as well if this raises, or leaves an item out. Raises Misconfigured for
        what this process lacks: another one may do it.
        """


class JobKind(Protocol):
    """A kind of job.

    It may say more: `asks`, "chat" or "embed", is what its jobs' `model` must be able to do. For the command line:
    `from_path(path, options)` gives items and options out of a file or folder; `columns`, `asked(item)` and `row(value)` make a file of
    results, or `write(path, options, results, inputs)` writes what is made of them and gives how much.
    """

    def check(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The job's options as JSON values. Raises Misconfigured or BadRequest for one that cannot be."""

    def item(self, given: Any) -> Any:
        """One item as a JSON value. Raises BadRequest for one that could never be asked."""

    def open(self, chunk: OpenChunk, models: ModelSource, limited: Any) -> JobRunner:
        """Who works on the job of `chunk`. `limited(model)` is the model within the job's budget. Raises Misconfigured."""

    def value(self, body: bytes) -> Any:
        """What `put` was given, as users get it from `results`."""


_own: dict[str, JobKind] = {}


def register(name: str, kind: JobKind) -> None:
    """Let jobs of kind `name` be worked on in this process by `kind`; say it in every process that submits, works or reads results."""
    if not (isinstance(name, str) and name.isidentifier()):
        raise Misconfigured(f"a kind's name is a word such as 'translate', not {name!r}")
    _own[name] = kind


def find(name: str) -> JobKind:
    """The kind of that name. Raises Misconfigured naming the nearest known one."""
    if name in _own:
        return _own[name]
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        try:
            made: JobKind = getattr(import_module(module), attribute)()
        except ModuleNotFoundError as error:
            how = f': run  pip install "surefoot[{EXTRAS[name]}]"' if name in EXTRAS else ""
            raise Misconfigured(f"jobs of kind {name!r} need {error.name}, which is not installed here{how}") from error
        return _own.setdefault(name, made)
    for entry in entry_points(group="surefoot.jobs", name=name):
        return _own.setdefault(name, entry.load()())
    known = sorted({*_own, *BUILT_IN})
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}; jobs.register adds one"
    raise Misconfigured(f"unknown kind of job {name!r}: {hint}")


def names() -> Sequence[str]:
    """The kinds known here."""
    return sorted({*_own, *BUILT_IN, *(entry.name for entry in entry_points(group="surefoot.jobs"))})
