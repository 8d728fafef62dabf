"""Every fault that a provider may serve, with the class of the error that the caller must get when all his attempts meet it.

The faults of the chaos layer, those in the middle of a stream, and every row of the wire's catalogue (`surefoot.testing.wire.faults`). That
the rows' bytes are read as these classes is shown over real sockets in tests/providers; here is shown what the policies make of them.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from random import Random

from msgspec import Struct

from surefoot import errors
from surefoot.errors import ConnectionLost, Fault, MalformedReply, Overloaded
from surefoot.layers.watch.chaos import FAULTS
from surefoot.rules.hints import retry_after_s
from surefoot.testing.wire import CATALOGUE, WireFault
from surefoot.testing.world import Serving

NAME = "a:m"
EVERYWHERE = ("chat", "stream", "embed")
LOST = "Interrupted"  # a stream that broke after its first token
HINT_MOST_S = 2.0  # a target told to wait two minutes waits, and all its calls with it: that is shown in the row of the hints
NOW_S = parsedate_to_datetime("Sun, 22 Nov 2026 12:00:00 GMT").timestamp()  # for hints that are dates


def answer_s(rng: Random) -> float:
    """An answer takes about a second, seldom several."""
    return min(0.3 + rng.expovariate(1.5), 10.0)


def fault_s(rng: Random) -> float:
    """A fault comes at any time until an answer would have come."""
    return rng.random() * answer_s(rng)


class Kind(Struct, frozen=True):
    """One kind of fault: the class name of its error ("" if the answer is good all the same), where it may strike, how it is served."""

    name: str
    means: str
    serve: Callable[[Random], Serving]
    surfaces: tuple[str, ...] = EVERYWHERE


def failing(make: Callable[[], Fault]) -> Callable[[Random], Serving]:
    """An error in place of the answer."""
    return lambda rng: Serving(after_s=fault_s(rng), fault=make())


def breaking(make: Callable[[], Fault] | None = None, *, is_cut: bool = False, stalls: bool = False) -> Callable[[Random], Serving]:
    """A stream that breaks after its second delta."""
    return lambda rng: Serving(after_s=fault_s(rng), breaks_at=2, fault=make() if make else None, is_cut=is_cut, stalls=stalls)


def silent(_: Random) -> Serving:
    """No answer at all."""
    return Serving(stalls=True)


CHAOS = tuple(
    Kind(name, type(make(NAME)).__name__, failing(lambda make=make: make(NAME)))  # type: ignore[misc]
    for name, make in FAULTS.items()
)
OWN = (
    Kind("stalled", "AttemptTimedOut", silent),
    Kind("cut_at_once", "ConnectionLost", lambda rng: Serving(after_s=fault_s(rng), is_cut=True)),
    Kind("cut_midway", LOST, breaking(is_cut=True), ("stream",)),
    Kind("reset_midway", LOST, breaking(lambda: ConnectionLost("reset", target=NAME)), ("stream",)),
    Kind("stalled_midway", LOST, breaking(stalls=True), ("stream",)),
)


def of_row(row: WireFault) -> Kind:
    """The catalogue's row as the provider tells it."""
    if not row.means:
        return Kind(row.name, "", lambda rng: Serving(after_s=answer_s(rng)), row.surfaces)
    if row.means == LOST:
        makers: dict[str, Callable[[], Fault]] = {
            "stream_reset": lambda: ConnectionLost("reset", target=NAME),
            "junk_data": lambda: MalformedReply("an event is no JSON", status=200, target=NAME),
            "error_event": lambda: Overloaded("an error event", status=200, target=NAME),
        }
        stalls = row.name in {"stream_stall", "ping_flood"}
        make = makers.get(row.name)
        return Kind(row.name, LOST, breaking(make, stalls=stalls, is_cut=make is None and not stalls), row.surfaces)
    if row.means == "AttemptTimedOut":
        return Kind(row.name, row.means, silent, row.surfaces)
    kind = errors.NotFound if row.status == 404 else getattr(errors, row.means)  # the catalogue says BadRequest, its class says more
    hint_s = row.retry_in_s if row.retry_in_s is not None else retry_after_s(dict(row.headers), now_epoch_s=NOW_S)
    hint_s = None if hint_s is None else min(hint_s, HINT_MOST_S)
    status = row.status if row.status >= 400 else None
    return Kind(row.name, kind.__name__, failing(lambda: kind(row.name, status=status, retry_after_s=hint_s, target=NAME)), row.surfaces)


WIRE = tuple(of_row(row) for row in CATALOGUE)
ALL = CHAOS + OWN + tuple(Kind(f"wire {one.name}", one.means, one.serve, one.surfaces) for one in WIRE)
PASSING_KINDS = tuple(one for one in CHAOS if getattr(errors, one.means).retryable)
MIXTURES: dict[str, tuple[Kind, ...]] = {"passing": PASSING_KINDS, "catalogue": ALL, **{one.name: (one,) for one in CHAOS}}
BY_SURFACE = {surface: tuple(one for one in ALL if surface in one.surfaces) for surface in EVERYWHERE}
