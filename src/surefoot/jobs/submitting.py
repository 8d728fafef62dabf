"""What is said of a job when it is submitted, checked and made into rows. Bad input is told here, before anything is written."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from surefoot.errors import BadRequest, Misconfigured, SurefootError
from surefoot.jobs import kinds, ledger
from surefoot.jobs.batches import VENDOR_BATCH, check_batches
from surefoot.jobs.models import ModelSource, model_names
from surefoot.jobs.records import JobSpec, NewJob
from surefoot.rules.spending import nano

PRIORITIES = {"interactive": 0, "batch": 10}

_encode = msgspec.json.Encoder().encode


def new_job(kind: str, said: dict[str, Any], models: ModelSource) -> NewJob:
    """The job of that kind that `said` asks for, checked; `said` is used up. Raises Misconfigured or BadRequest."""
    found = kinds.find(kind)
    model = model_names(said.pop("model", "default"))
    if asks := getattr(found, "asks", ""):
        models.check(asks, model)
    key, tenant = said.pop("key", None), said.pop("tenant", "")
    for word, value in (("key", key or ""), ("tenant", tenant), ("digest", said.get("digest", ""))):
        if not isinstance(value, str):
            raise Misconfigured(f"{word} = {value!r} must be text")
    tags = said.pop("tags", None) or {}
    if not isinstance(tags, Mapping) or not all(isinstance(one, str) for pair in tags.items() for one in pair):
        raise Misconfigured(f"tags are a dict of text such as {{'team': 'blue'}}, not {tags!r}")
    budget = positive("budget_usd", said.pop("budget_usd", None))
    how = said.pop("how", "live")
    if how not in ("live", *((VENDOR_BATCH,) if kind == "chat" else ())):
        known = "'live', each item by a call of its own, and for kind 'chat' 'vendor-batch', half the price for answers within a day"
        raise Misconfigured(f"how = {how!r}: known is {known}")
    if how == VENDOR_BATCH:
        check_batches(models, model)
    spec = {"deadline_s": positive("deadline_s", said.pop("deadline_s", None)), "digest": said.pop("digest", ""), "how": how}
    return NewJob(
        id=secrets.token_hex(8),
        priority=_priority(said.pop("priority", "batch")),
        not_before=_moment(said.pop("not_before", None)),
        ttl_s=ledger.seconds_of(positive("ttl_days", said.pop("ttl_days", 30))),
        kind=kind,
        spec=JobSpec(model=model, tags=dict(tags), options=found.check(said), **spec),
        key=key,
        tenant=tenant,
        budget_nano=None if budget is None else nano(budget),
    )


def chunks_of(kind: kinds.JobKind, inputs: Iterable[Any], size: int) -> Iterator[tuple[int, int, int, bytes]]:
    """(number, number of the first item, items, JSON array) of each chunk. Raises BadRequest naming the item that could never be done."""
    items: list[Any] = []
    first = no = 0
    for n, given in enumerate(inputs):
        try:
            items.append(kind.item(given))
        except SurefootError as error:
            raise BadRequest(f"item {n}: {error}; nothing was submitted") from error
        if len(items) == size:
            yield no, first, len(items), _encode(items)
            first, no, items = n + 1, no + 1, []
    if items:
        yield no, first, len(items), _encode(items)


def _priority(said: Any) -> int:
    if isinstance(said, str) and said in PRIORITIES:
        return PRIORITIES[said]
    if isinstance(said, int) and not isinstance(said, bool) and abs(said) < 2**31:
        return said
    raise Misconfigured(f"priority = {said!r}: write 'batch', 'interactive', or a whole number (smaller goes first)")


def _moment(said: Any) -> float:
    if said is None:
        return 0.0
    if isinstance(said, datetime):
        if said.tzinfo is None:
            raise Misconfigured(f"not_before = {said!r} has no time zone: write datetime(..., tzinfo=UTC), or seconds since 1970")
        return said.timestamp()
    if isinstance(said, int | float) and not isinstance(said, bool) and math.isfinite(said):
        if 0 < said < 1e9:
            now = time.time()  # noqa: TID251 - a hint in a message
            raise Misconfigured(f"not_before = {said!r} is a moment, in seconds since 1970 (now is {now:.0f}), not a wait")
        return float(said)
    raise Misconfigured(f"not_before = {said!r}: write seconds since 1970, or a datetime with a time zone")


def positive(name: str, said: Any) -> float | None:
    """A number above 0, or None. Raises Misconfigured."""
    if said is None:
        return None
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 < said < math.inf:
        raise Misconfigured(f"{name} = {said!r} must be a number above 0, or left out")
    return float(said)


def whole(name: str, said: Any, *, least: int) -> int:
    """A whole number of at least `least`. Raises Misconfigured."""
    if isinstance(said, bool) or not isinstance(said, int) or said < least:
        raise Misconfigured(f"{name} = {said!r} must be a whole number of at least {least}")
    return said
