"""What is said of a job, and what is told of one."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from surefoot._documented import Documented

JobState = Literal["filling", "open", "paused", "cancelled", "done"]


class JobSpec(Struct, Documented, frozen=True, kw_only=True, omit_defaults=True):
    """How a job's items are to be worked on: kept as JSON, so models are named, and nothing in it is code or a key."""

    model: tuple[str, ...] = ("default",)
    """The name of a model of the worker's (`[chat.NAME]` of its settings file, or of `models=`), or targets in order of preference."""
    options: dict[str, Any] = {}
    """What the kind was told besides, as JSON: for "chat" the fields of its request."""
    tags: dict[str, str] = {}
    """Put on every call, for spend limits, events and the ledger of usage."""
    deadline_s: float | None = None
    """Seconds for one item's call, above 0. None: as the kind has it."""
    how: str = "live"
    """How items are asked: "live", each by a call of its own, or "vendor-batch", a chunk at a time by the vendor's batch API."""
    digest: str = ""
    """Names what it was made from, where a command found it in a file; empty: nothing."""


class JobStatus(Struct, Documented, frozen=True, kw_only=True):
    """How far a job is."""

    id: str
    """The job's name: 16 letters and digits."""
    kind: str
    """What is done with each item: "chat", "embed", ..."""
    state: JobState
    """What holds now: "filling" (still being submitted), "open", "paused", "cancelled" or "done" (every item has its result)."""
    reason: str
    """Why it is paused; empty if somebody paused it by hand."""
    model: tuple[str, ...]
    """The model's name, or its targets."""
    total: int
    """Items it has."""
    chunks: int
    """Parts of them, numbered from 0, each done by one worker at a time."""
    done: int
    """Items that were done well."""
    failed: int
    """Items whose result is an error."""
    cost_usd: float
    """US dollars its results cost; what nobody knows the price of counts 0."""
    budget_usd: float | None
    """US dollars it may spend; None: no limit of its own."""
    rate: float
    """Items a second, lately, of all workers together."""
    eta_s: float | None
    """Seconds until it is done at that rate; None where that cannot be said."""
    workers: int
    """Processes that work on it now."""
    priority: int
    """The order: a smaller number goes first ("interactive" is 0, "batch" 10)."""
    key: str | None
    """What makes it the same job when it is submitted again; None: nothing does."""
    tenant: str
    """On whose behalf it runs; empty: nobody's."""
    created_at: float
    """When it was submitted, in seconds since 1970."""
    not_before: float
    """When it may begin, in seconds since 1970; 0: at once."""
    ended_at: float | None
    """When it was done or cancelled, in seconds since 1970; None: not yet."""
    digest: str
    """Names what it was made from, where a command found it in a file; empty: nothing."""

    @property
    def left(self) -> int:
        """Items without a result."""
        return self.total - self.done - self.failed

    @property
    def is_over(self) -> bool:
        """Nothing more will come of it: done or cancelled."""
        return self.state in {"done", "cancelled"}


class WorkDone(Struct, Documented, frozen=True, kw_only=True):
    """What a worker did until it ended."""

    chunks: int = 0
    """Chunks it finished."""
    done: int = 0
    """Items it did well."""
    failed: int = 0
    """Items of its that failed."""


class NewJob(Struct, Documented, frozen=True, kw_only=True):
    """A job about to be written."""

    id: str
    """16 letters and digits."""
    kind: str
    """What is done with each item."""
    spec: JobSpec
    """How."""
    priority: int
    """A smaller number goes first."""
    key: str | None
    """What makes it the same job when it is submitted again; None: nothing does."""
    tenant: str
    """On whose behalf; empty: nobody's."""
    budget_nano: int | None
    """Billionths of a dollar it may spend; None: no limit."""
    not_before: float
    """When it may begin, in seconds since 1970; 0: at once."""
    ttl_s: float
    """Seconds it is kept after its end; infinity: for ever."""


class OpenChunk(Struct, Documented, frozen=True, kw_only=True):
    """What a worker needs to know of a chunk."""

    job: str
    """Whose chunk it is."""
    no: int
    """Its number, from 0."""
    kind: str
    """The job's kind."""
    spec: JobSpec
    """How its items are to be worked on."""
    tenant: str
    """On whose behalf; empty: nobody's."""
    priority: int
    """The job's; 0 and below is interactive."""
    budget_nano: int | None
    """Billionths of a dollar the job may spend; None: no limit."""
    items: list[tuple[int, Any]]
    """The items without a result: their numbers in the job, and what they are."""


class ItemRow(Struct, Documented, frozen=True):
    """What came of one item."""

    job: str
    """Whose item it is."""
    no: int
    """Its chunk."""
    n: int
    """Its number in the job, from 0."""
    ok: bool
    """False: `body` is an error as JSON."""
    body: bytes
    """What is kept: written and read by the job's kind, or an error as JSON."""
    cost_nano: int = 0
    """Billionths of a dollar it cost."""
