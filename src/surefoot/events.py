"""One frozen record per thing that happened; subscribe() hears them.

Records carry the call's id, the target and numbers; never a key, never prompt or answer text. Without a subscriber an event costs one
truth test. Subscribers run on a thread of their own, in order, so a slow one never blocks a call; `inline` ones (tests, our own ledger)
run where the event happens.
"""

from __future__ import annotations

import logging
import queue
import threading
from asyncio import get_running_loop
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

if TYPE_CHECKING:
    from surefoot.types import Attempt, Call, Usage

logger = logging.getLogger("surefoot")

QUEUE_SIZE = 10_000  # a subscriber this far behind is stuck; further events are dropped and counted, calls go on


class Event(Struct, frozen=True, kw_only=True, gc=False):
    """What all events share: `at_s` is the home loop's clock."""

    call_id: str = ""
    at_s: float = 0.0


class CallStarted(Event, frozen=True, kw_only=True, gc=False):
    """A call entered the first room."""

    kind: str = "chat"
    stream: bool = False
    tenant: str = ""


class CallEnded(Event, frozen=True, kw_only=True, gc=False):
    """A call was settled; `error` is a class name or "". `seconds` runs to settled, `first_token_s` to answered.

    `model` is the one that answered, as the provider names it; `asked` the one the call named itself, "" where it is the target's own.
    """

    target: str = ""
    asked: str = ""
    model: str = ""
    error: str = ""
    seconds: float = 0.0
    first_token_s: float | None = None
    attempts: int = 0
    hedges: int = 0
    cached: bool = False
    usage: Usage | None = None
    cost_usd: float | None = None
    tenant: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    trail: tuple[Attempt, ...] = ()


class AttemptEnded(Event, frozen=True, kw_only=True, gc=False):
    """One wire attempt was settled."""

    attempt: Attempt
    tenant: str = ""
    tags: tuple[tuple[str, str], ...] = ()


class Retried(Event, frozen=True, kw_only=True, gc=False):
    """The same target is asked again after `wait_s`."""

    target: str
    attempt: int
    wait_s: float
    cause: str


class FellBack(Event, frozen=True, kw_only=True, gc=False):
    """The next target is asked, because `target` failed with `cause`."""

    target: str
    next_target: str
    cause: str


class Hedged(Event, frozen=True, kw_only=True, gc=False):
    """A second runner was sent after `delay_s` without an answer."""

    target: str
    delay_s: float


class HedgeWon(Event, frozen=True, kw_only=True, gc=False):
    """The second runner answered first; the first one was closed."""

    target: str


class BreakerOpened(Event, frozen=True, kw_only=True, gc=False):
    """A target is left alone for `wait_s`: `failures` of the last `calls` failed."""

    target: str
    failures: int
    calls: int
    wait_s: float


class BreakerClosed(Event, frozen=True, kw_only=True, gc=False):
    """A target answered its trials and is used again."""

    target: str


class LimitChanged(Event, frozen=True, kw_only=True, gc=False):
    """The adaptive concurrency limit of a target moved."""

    target: str
    limit: float
    cause: str = ""


class RateLearned(Event, frozen=True, kw_only=True, gc=False):
    """A rate limit was learned from the provider's answers."""

    target: str
    what: str
    per_minute: float


class Waited(Event, frozen=True, kw_only=True, gc=False):
    """A call waited in a queue (`room`: concurrency or rate) before it was sent."""

    target: str
    room: str
    wait_s: float


class CacheHit(Event, frozen=True, kw_only=True, gc=False):
    """An answer came from the cache; `stale` if it was past its time and served instead of an error or while being refreshed.

    `semantic`: it answered the same question in other words, and `similarity` is the cosine of the two.
    """

    key: str
    stale: bool = False
    semantic: bool = False
    similarity: float | None = None


class CacheMiss(Event, frozen=True, kw_only=True, gc=False):
    """The cache had no usable answer; `why` is "absent", "corrupt", "store down", ..."""

    key: str
    why: str = "absent"


class Coalesced(Event, frozen=True, kw_only=True, gc=False):
    """The call joined an identical one already in flight."""

    key: str


class BudgetWarning(Event, frozen=True, kw_only=True, gc=False):
    """A soft budget was passed, or a price is unknown and was estimated."""

    what: str
    spent_usd: float = 0.0
    limit_usd: float = 0.0


class Trimmed(Event, frozen=True, kw_only=True, gc=False):
    """A prompt of about `tokens` tokens did not fit `window`: `messages` of it were left out, or summed up, by the rule `how`."""

    how: str
    messages: int
    tokens: int
    window: int


class LeftOut(Event, frozen=True, kw_only=True, gc=False):
    """`model` does not take `parameters` as they were asked for: the request went without them. Told once a target and parameter."""

    target: str
    model: str
    parameters: tuple[str, ...] = ()


class Resumed(Event, frozen=True, kw_only=True, gc=False):
    """A broken stream was restarted on another target after `characters` had been delivered."""

    target: str
    characters: int


E = TypeVar("E", bound=Event)


def tell(call: Call[Any], kind: type[E], /, **fields: Any) -> None:
    """Publish `kind(**fields)` for `call`, if anybody listens."""
    listeners = call.tally.listeners
    if not listeners:
        return
    event = kind(call_id=call.tally.call_id, at_s=get_running_loop().time(), **fields)
    for listener in listeners:
        try:
            listener(event)
        except Exception:
            logger.exception("a subscriber failed on %s; the call goes on", kind.__name__)


class Subscriber:
    """A listener that hands events to `callback` on a thread of its own, in order."""

    def __init__(self, callback: Callable[[Any], None]) -> None:
        self._callback = callback
        self._queue: queue.Queue[Any] = queue.Queue(QUEUE_SIZE)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.dropped = 0

    def __call__(self, event: Any) -> None:
        """Queue `event`; drops and counts when the subscriber is QUEUE_SIZE events behind."""
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self.dropped += 1
            return
        if self._thread is None or not self._thread.is_alive():
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._drain, name="surefoot-events", daemon=True)
                self._thread.start()

    def _drain(self) -> None:
        while True:
            event = self._queue.get()
            try:
                self._callback(event)
            except Exception:
                logger.exception("a subscriber failed on %s; the call goes on", type(event).__name__)
            finally:
                self._queue.task_done()

    def flush(self) -> None:
        """Block until every event queued so far has been delivered."""
        self._queue.join()
