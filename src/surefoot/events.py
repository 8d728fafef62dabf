"""One frozen record per thing that happened; subscribe() hears them.

Records carry the call's id, the target and numbers; never a key, never prompt or answer text. Without a subscriber an event costs one
truth test. Subscribers run on a thread of their own, in order, so a slow one never blocks a call; `inline` ones (tests, our own ledger)
run where the event happens.
"""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.types import AttemptRecord, Call, Usage
from surefoot.types.calls import loop_of

logger = logging.getLogger("surefoot")

END = object()  # in a subscriber's queue: nothing follows
IDLE_S = 5.0  # without an event for so long a subscriber's thread ends
QUEUE_SIZE = 10_000  # a subscriber this far behind is stuck; further events are dropped and counted, calls go on


class Event(Struct, Documented, frozen=True, kw_only=True, gc=False):
    """What all events share: `at_s` is the background loop's clock."""

    call_id: str = ""
    """Which call it belongs to; unique within the process."""
    at_s: float = 0.0
    """When it happened: seconds of the background loop's clock, comparable with other events only."""


class CallStarted(Event, frozen=True, kw_only=True, gc=False):
    """A call entered the first layer."""

    kind: str = "chat"
    """What is asked: "chat" or "embed"."""
    stream: bool = False
    """True if the answer is wanted as a stream."""
    tenant: str = ""
    """On whose behalf the call is made; empty: nobody's."""


class CallEnded(Event, frozen=True, kw_only=True, gc=False):
    """A call has finished; `error` is a class name or "". `seconds` runs to the finish, `first_token_s` to answered.

    `model` is the one that answered, as the provider names it; `asked` the one the call named itself, "" where it is the target's own.
    """

    target: str = ""
    """The target that answered or, if none did, the last one asked, as "provider:model"; empty: none was asked."""
    asked: str = ""
    """The model the call named itself; empty: the target's own."""
    model: str = ""
    """The model that answered, as the provider names it; empty: none did, or it did not say."""
    error: str = ""
    """The class name of the error the caller saw; "CancelledError" if the caller left; empty for success."""
    seconds: float = 0.0
    """From the call until it was finished (of a stream: until its end)."""
    first_token_s: float | None = None
    """Seconds from the call until a stream was answered; None for a call without stream."""
    attempts: int = 0
    """Wire attempts over all targets; 0 for an answer from the cache or shared."""
    hedges: int = 0
    """How many of them were second requests beside a slow first one."""
    cached: bool = False
    """True if the answer came from the cache."""
    usage: Usage | None = None
    """Tokens of the answer; None if there was none."""
    cost_usd: float | None = None
    """US dollars of all attempts together; None: a price is unknown."""
    tenant: str = ""
    """On whose behalf the call was made; empty: nobody's."""
    tags: tuple[tuple[str, str], ...] = ()
    """The call's tags, as pairs of name and value sorted by name."""
    trail: tuple[AttemptRecord, ...] = ()
    """The attempts in order."""


class AttemptEnded(Event, frozen=True, kw_only=True, gc=False):
    """One wire attempt has finished."""

    attempt: AttemptRecord
    """Which target, how long, at what cost, with which error."""
    tenant: str = ""
    """On whose behalf the call was made; empty: nobody's."""
    tags: tuple[tuple[str, str], ...] = ()
    """The call's tags, as pairs of name and value sorted by name."""


class Retried(Event, frozen=True, kw_only=True, gc=False):
    """The same target is asked again after `wait_s`."""

    target: str
    """The target that is asked again, as "provider:model"."""
    attempt: int
    """The number of the attempt that is made now, counted from 1 at this target."""
    wait_s: float
    """Seconds of backoff before it is asked again."""
    cause: str
    """The class name of the error."""


class FellBack(Event, frozen=True, kw_only=True, gc=False):
    """The next target is asked, because `target` failed with `cause`."""

    target: str
    """The target that failed."""
    next_target: str
    """The target that is asked next."""
    cause: str
    """The class name of the error."""


class Hedged(Event, frozen=True, kw_only=True, gc=False):
    """A second runner was sent after `delay_s` without an answer."""

    target: str
    """The target that was slow."""
    delay_s: float
    """Seconds without an answer after which the second request was sent."""


class HedgeWon(Event, frozen=True, kw_only=True, gc=False):
    """The second runner answered first; the first one was closed."""

    target: str
    """The target whose second request answered first."""


class BreakerOpened(Event, frozen=True, kw_only=True, gc=False):
    """A target is left alone for `wait_s`: `failures` of the last `calls` failed."""

    target: str
    """The target that is left alone."""
    failures: int
    """Failed calls within the breaker's window."""
    calls: int
    """All calls within the breaker's window."""
    wait_s: float
    """Seconds until its next trial."""


class BreakerClosed(Event, frozen=True, kw_only=True, gc=False):
    """A target answered its trials and is used again."""

    target: str
    """The target that is used again."""


class LimitChanged(Event, frozen=True, kw_only=True, gc=False):
    """The adaptive concurrency limit of a target moved."""

    target: str
    """The target whose concurrency limit moved."""
    limit: float
    """Requests at once that are allowed now; a fraction counts towards the next whole one."""
    cause: str = ""
    """The class name of the error that lowered it; empty: it rose."""


class RateLearned(Event, frozen=True, kw_only=True, gc=False):
    """A rate limit was learned from the provider's answers."""

    target: str
    """The target whose rate limit was learned."""
    what: str
    """What is counted: "requests" or "tokens"."""
    per_minute: float
    """How many of them the provider allows a minute."""


class Waited(Event, frozen=True, kw_only=True, gc=False):
    """A call waited in a queue (`layer`: concurrency or rate) before it was sent."""

    target: str
    """The target that was waited for."""
    layer: str
    """The limit that was waited at: "concurrency" or "rate"."""
    wait_s: float
    """Seconds."""


class CacheHit(Event, frozen=True, kw_only=True, gc=False):
    """An answer came from the cache; `stale` if it was past its time and served instead of an error or while being refreshed.

    `semantic`: it answered the same question in other words, and `similarity` is the cosine of the two.
    """

    key: str
    """The key in the store: a digest, from which no prompt can be read."""
    stale: bool = False
    """True if the answer was past its time and served instead of an error or while being refreshed."""
    semantic: bool = False
    """True if it answered the same question in other words."""
    similarity: float | None = None
    """The cosine of the two questions, of a semantic hit; None for an exact one."""


class CacheMiss(Event, frozen=True, kw_only=True, gc=False):
    """The cache had no usable answer; `why` is "absent", "corrupt", "store down", ..."""

    key: str
    """The key in the store: a digest, from which no prompt can be read."""
    why: str = "absent"
    """Why not: "absent", "expired", "corrupt", "store down", "unlike" (no question alike), "not compared", ..."""


class Coalesced(Event, frozen=True, kw_only=True, gc=False):
    """The call joined an identical one already in flight."""

    key: str
    """The digest the two calls share."""


class BudgetWarning(Event, frozen=True, kw_only=True, gc=False):
    """A soft budget was passed, or a price is unknown and was estimated."""

    what: str
    """The spend limit's account, or the target whose price is unknown."""
    spent_usd: float = 0.0
    """US dollars spent and reserved so far; of an unknown price: the estimate."""
    limit_usd: float = 0.0
    """The limit in US dollars; 0 where no limit is meant."""


class Trimmed(Event, frozen=True, kw_only=True, gc=False):
    """A prompt of about `tokens` tokens did not fit `window`: `messages` of it were left out, or summed up, by the rule `how`."""

    how: str
    """The rule: "drop_oldest" or "summarise"."""
    messages: int
    """How many messages were left out, or summed up."""
    tokens: int
    """Tokens of the whole prompt, estimated."""
    window: int
    """Tokens that fit."""


class LeftOut(Event, frozen=True, kw_only=True, gc=False):
    """`model` does not take `parameters` as they were asked for: the request went without them. Told once a target and parameter.

    What another vendor said in the conversation is left out, too: thoughts, seals, searches of its servers.
    """

    target: str
    """The target that is asked, as "provider:model"."""
    model: str
    """The model that does not take them."""
    parameters: tuple[str, ...] = ()
    """The names of what was left out; of what another vendor said, with its name: "reasoning_details of openai/openrouter.ai"."""


class Resumed(Event, frozen=True, kw_only=True, gc=False):
    """A broken stream was restarted on another target after `characters` had been delivered."""

    target: str
    """The target that begins the answer anew."""
    characters: int
    """Characters that had been delivered before it broke."""


E = TypeVar("E", bound=Event)


def emit(call: Call[Any], kind: type[E], /, **fields: Any) -> None:
    """Publish `kind(**fields)` for `call`, if anybody listens."""
    listeners = call.state.listeners
    if not listeners:
        return
    event = kind(call_id=call.state.call_id, at_s=loop_of(call).time(), **fields)
    for listener in listeners:
        try:
            listener(event)
        except Exception:
            logger.exception("a subscriber failed on %s; the call goes on", kind.__name__)


class Subscriber:
    """A listener that hands events to `callback` on a thread of its own, in order.

    The thread ends when nothing has come for IDLE_S, after `close()`, and when the subscriber is collected, always after the events before;
    the next event starts another.
    """

    def __init__(self, callback: Callable[[Any], None]) -> None:
        self._delivery = _Delivery(callback)
        self.dropped = 0
        """Events that were dropped because the subscriber was QUEUE_SIZE behind; at least 0."""
        self._collected = weakref.finalize(self, self._delivery.queue.put, END)
        self._collected.atexit = False

    def __call__(self, event: Any) -> None:
        """Queue `event`; drops and counts when the subscriber is QUEUE_SIZE events behind."""
        delivery = self._delivery
        if delivery.queue.qsize() >= QUEUE_SIZE:
            self.dropped += 1
        else:
            delivery.queue.put(event)
        delivery.start()

    def flush(self) -> None:
        """Block until every event queued so far has been delivered."""
        delivered = threading.Event()
        self._delivery.queue.put(delivered)
        self._delivery.start()
        delivered.wait()

    def close(self) -> None:
        """Deliver what is queued and end the thread; does not wait for it. A later event starts another one."""
        if self._delivery.thread is not None:
            self._delivery.queue.put(END)


class _Delivery:
    """The queue and its thread, which does not hold the subscriber: so that can be collected."""

    def __init__(self, callback: Callable[[Any], None]) -> None:
        self.callback = callback
        self.queue: queue.SimpleQueue[Any] = queue.SimpleQueue()  # one that the garbage collector may put into, wherever it runs
        self.thread: threading.Thread | None = None
        self.lock = threading.Lock()

    def start(self) -> None:
        thread = self.thread
        if thread is not None and thread.is_alive():  # not in a forked child
            return
        with self.lock:
            if self.thread is None or not self.thread.is_alive():
                self.thread = threading.Thread(target=self.run, name="surefoot-events", daemon=True)
                self.thread.start()

    def run(self) -> None:
        """Deliver until told to end, or idle."""
        while True:
            try:
                event = self.queue.get(timeout=IDLE_S)
            except queue.Empty:
                event = END
            if event is END:
                if self.ends():
                    return
            elif isinstance(event, threading.Event):
                event.set()
            else:
                self.deliver(event)

    def ends(self) -> bool:
        """True if the thread ends. An event that comes in this moment finds no thread, or is found here."""
        with self.lock:
            thread, self.thread = self.thread, None
            if not self.queue.empty():
                self.thread = thread
            return self.thread is None

    def deliver(self, event: Any) -> None:
        try:
            self.callback(event)
        except Exception:
            logger.exception("a subscriber failed on %s; the call goes on", type(event).__name__)
