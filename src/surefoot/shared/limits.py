"""One target's limits, shared: leases slices of requests and tokens, and places, in turns; hands them to the guards of its endpoint.

In between calls are admitted here without asking anybody. While nobody calls, no turns are taken, and what was held is given back. While
the store cannot be reached, this process keeps to its share of the limits as it last knew them, from an empty slice on, or refuses; asked
again once a second, the store takes over where it can. One process that is cut off alone adds at most its share to what the others are
granted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from contextlib import suppress
from typing import Any, Protocol
from weakref import ref

from surefoot.rules.failure_log import FailureLog
from surefoot.rules.token_bucket import LeasedBucket
from surefoot.rules.token_bucket.slices import BURST_S, DEAD_S, TURN_S, VALID_S, Granted, ShareTurn, pace
from surefoot.secret import Secret
from surefoot.shared.stores import OPEN_S, HeldStore, StoreAway

TIMEOUT_S = 0.25  # a turn that takes longer has failed: the slices of two turns are used up by then
PATIENCE_S = 0.5  # away for less, nothing is taken: to everybody else the store is there, and grants them our part
PROBE_S = 1.0  # between two questions to a store that is away
IDLE_S = 3.0  # without calls, the process leaves; the next call joins again
GAP_S = TURN_S / 20  # the least time between two turns, while somebody waits

_log = logging.getLogger("surefoot.shared")


class PlacesGuard(Protocol):
    """What limits calls in flight."""

    in_flight: int

    @property
    def waiting_by_class(self) -> tuple[int, int]:
        """(interactive, batch) calls in the queue."""

    def set_limit(self, places: int) -> None:
        """So many places from now on."""


class BreakerGuard(Protocol):
    """What leaves a failing target alone."""

    def heed_others(self, failed: int, begun: int) -> None:
        """What all processes together have seen lately."""


class SharedLimits:
    """The part of this process in one target's limits, in the store at `url`, under the name `target_id`.

    A limit that is None is found from what the provider tells to any process; `places` None is not shared. `when_away` is "share" or
    "refuse". `requests` and `tokens` are the buckets for `Rate`.
    """

    def __init__(
        self,
        url: Secret,
        namespace: str,
        target_id: str,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        places: int | None = None,
        when_away: str = "share",
    ) -> None:
        self._held = HeldStore(url, namespace)
        self._target_id = target_id
        self._given = (requests_per_minute or 0.0, tokens_per_minute or 0.0, places or 0)
        self._when_away = when_away
        self.requests = _bucket(self.kick, requests_per_minute)
        self.tokens = _bucket(self.kick, tokens_per_minute)
        self._concurrency: PlacesGuard | None = None
        self._breaker: BreakerGuard | None = None
        self._failures = FailureLog(first_pause_s=60.0)
        self._start_over()

    def _start_over(self) -> None:
        """Known to nobody: at the beginning, and in a forked child or on a new background loop."""
        self._process = os.getpid()
        self._member = f"{self._process}-{secrets.token_hex(4)}"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._kicked = asyncio.Event()
        self._seq = int(time.time() * 1000)  # noqa: TID251 - above any number said before, also by another life of this process
        self._pending: dict[str, Any] | None = None  # settled by the next turn that comes through, once
        self._asking: asyncio.Future[Granted] | None = None
        self._last = Granted()
        self._has_turned = False
        self._ok = self._bad = 0
        self._helped_at_s = self._called_at_s = 0.0
        self._away_since_s: float | None = None
        self._probe_at_s = 0.0
        self._trouble = ""

    def attach(self, concurrency: PlacesGuard, breaker: BreakerGuard | None) -> None:
        """The guards of the same target that are told of places and of what others see."""
        self._concurrency = concurrency if self._given[2] else None
        self._breaker = breaker
        if self._concurrency is not None:
            self._concurrency.set_limit(0)  # until the first turn

    def describe(self) -> str:
        """One phrase, without passwords."""
        last = self._last
        now = f"{last.processes} processes" if self._away_since_s is None else f"away, {self._when_away}"
        return f"limits in {self._held.store.describe()}, {now}"

    # Of the guard

    def begin(self) -> str:
        """A call comes: turns are taken from now on."""
        task = self._task
        if task is None or task.done() or self._loop is not asyncio.get_running_loop():
            self.kick()
        if self._away_since_s is not None and self._when_away == "refuse":
            return f"the limits it shares cannot be known ({self._trouble})"
        return ""

    def end(self, *, ok: bool | None) -> None:
        """How a call ended."""
        if ok is not None:
            self._ok += ok
            self._bad += not ok

    def kick(self) -> None:
        """Somebody waits: take a turn soon."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop or self._process != os.getpid():
            self._start_over()
            self._loop = loop
        if self._task is None or self._task.done():
            self._called_at_s = loop.time()
            self._task = loop.create_task(self._take_turns())
        self._kicked.set()

    # Turns

    async def _take_turns(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._is_waited_for():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._kicked.wait(), TURN_S)
            self._kicked.clear()
            wait_s = await self._turn()
            self._wake()
            now_s = loop.time()
            if not self._is_idle():
                self._called_at_s = now_s
            elif now_s - self._called_at_s > IDLE_S:
                await self._leave()
                return
            await asyncio.sleep(min(max(wait_s, TURN_S / 2), TURN_S) if wait_s and self._is_waited_for() else GAP_S)

    def _is_waited_for(self) -> bool:
        places = self._concurrency
        return self.requests.head is not None or self.tokens.head is not None or (places is not None and any(places.waiting_by_class))

    def _is_idle(self) -> bool:
        used = self._concurrency.in_flight if self._concurrency is not None else 0
        return not (used or self._ok or self._bad or self._is_waited_for() or not self.requests.idle() or not self.tokens.idle())

    async def _turn(self, *, leaves: bool = False) -> float:
        """Take a turn, and hand out what was granted; seconds until the next one makes sense, 0.0 if that is any time."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        turn = self._said(now_s, leaves=leaves)
        try:
            is_late = self._asking is not None and self._asking.done()
            if self._away_since_s is not None and now_s < self._probe_at_s and not is_late:
                raise StoreAway(self._trouble)  # noqa: TRY301 - asked once a second
            granted = await self._ask(turn)
        except StoreAway as error:
            self._go_away(str(error), now_s)
            return self._help_ourselves(now_s)
        if self._away_since_s is not None:
            _log.info("limits are shared again through %s after %.1f s", self._held.store.describe(), now_s - self._away_since_s)
            self._away_since_s = None
            self.requests.drop()
            self.tokens.drop()
        self._pending = None
        self._last, self._has_turned = granted, True
        until_s = now_s + VALID_S  # from before the question: the store's clock began later
        self.requests.grant(granted.r, until_s, per_minute=granted.limit_r)
        self.tokens.grant(granted.t, until_s, per_minute=granted.limit_t)
        if granted.pause_s:
            self.requests.pause(granted.pause_s, now_s)
        if self._concurrency is not None and not leaves:
            self._concurrency.set_limit(granted.slots)
        if self._breaker is not None and granted.bad:
            self._breaker.heed_others(granted.bad, granted.ok + granted.bad)
        return granted.wait_s

    async def _ask(self, turn: ShareTurn) -> Granted:
        """The store's answer in time. A question it has not answered yet is not put twice.

        The first one may take as long as a connection: who has had no turn knows of nobody else, and would take the whole limit.
        """
        if self._asking is not None:  # what it grants, this late, is void
            await self._answered(self._asking)
            self._pending = None
            turn = self._said(asyncio.get_running_loop().time(), leaves=turn.leaves)
        if self._concurrency is not None:  # the store may give all to others that is not in use as we say it
            self._concurrency.set_limit(turn.used)
        self._asking = asyncio.ensure_future(self._held.store.take(self._target_id, turn))
        return await self._answered(self._asking)

    async def _answered(self, asking: asyncio.Future[Granted]) -> Granted:
        limit_s = TIMEOUT_S if self._has_turned or self._away_since_s is not None else OPEN_S
        done, _ = await asyncio.wait({asking}, timeout=limit_s)
        if not done:
            raise StoreAway(f"{self._held.store.describe()} has not answered within {limit_s:g} s")
        self._asking = None
        return asking.result()

    def _said(self, now_s: float, *, leaves: bool) -> ShareTurn:
        """What to say: what is wanted now, and what is to be settled, which keeps its number until it comes through."""
        want_r, low_r, head_r = self.requests.wants(now_s, TURN_S)
        want_t, low_t, head_t = self.tokens.wants(now_s, TURN_S)
        if leaves:
            want_r = low_r = want_t = low_t = head_r = head_t = 0.0
        if self._pending is None:
            back_r, sent_r = self.requests.take_back()
            back_t, sent_t = self.tokens.take_back()
            heard_r, refused_r, pause_r = self.requests.take_news()
            heard_t, refused_t, pause_t = self.tokens.take_news()
            self._seq += 1
            self._pending = {
                "seq": self._seq, "back_r": back_r, "back_t": back_t, "sent_r": sent_r, "sent_t": sent_t, "ok": self._ok, "bad": self._bad,
                "heard_r": heard_r, "heard_t": heard_t, "refused_r": refused_r, "refused_t": refused_t, "pause_s": max(pause_r, pause_t),
            }  # fmt: skip
            self._ok = self._bad = 0
        limit_r, limit_t, places = self._given
        used = want_c = low_c = 0
        if self._concurrency is not None and not leaves:
            used = self._concurrency.in_flight
            want_c, low_c = self._concurrency.waiting_by_class
            want_c += 1 if want_r or not low_c else 0  # the next one shall find a place
        return ShareTurn(
            member=self._member, want_r=want_r, want_low_r=low_r, want_t=want_t, want_low_t=low_t, head_r=head_r, head_t=head_t,
            used=used, want_c=want_c, want_low_c=low_c, places=places, limit_r=limit_r,
            limit_t=limit_t, leaves=leaves, **self._pending,
        )  # fmt: skip

    def _go_away(self, trouble: str, now_s: float) -> None:
        self._trouble = trouble
        if now_s >= self._probe_at_s:
            self._probe_at_s = now_s + PROBE_S
        if self._away_since_s is None:
            self._away_since_s = self._helped_at_s = now_s
            self.requests.drop()
            self.tokens.drop()
            if self._failures.count(type(self._held.store).__name__, now_s):
                how = "calls are refused" if self._when_away == "refuse" else f"here 1/{self._last.processes} of the limits is kept to"
                _log.warning("shared limits are away (%s): %s until they are back", trouble, how)

    def _help_ourselves(self, now_s: float) -> float:
        """Our share of what all may have, as it was last known; nothing where that is not to be risked."""
        if self._when_away == "refuse":
            return TURN_S
        count = max(1, self._last.processes)
        away_s = now_s - (now_s if self._away_since_s is None else self._away_since_s)
        if self._concurrency is not None:
            share = self._given[2] // count
            is_free = away_s >= DEAD_S or not self._has_turned  # until then others may still use what they hold beyond their share
            self._concurrency.set_limit(max(1, share) if is_free else min(share, self._last.slots))
        if away_s < PATIENCE_S:
            return TURN_S / 2
        since_s, self._helped_at_s = min(now_s - self._helped_at_s, PATIENCE_S + VALID_S), now_s
        limit_r, limit_t = self._given[0] or self._last.limit_r, self._given[1] or self._last.limit_t
        until_s = now_s + 2 * VALID_S + TIMEOUT_S
        for bucket, limit in ((self.requests, limit_r), (self.tokens, limit_t)):
            rate = pace(limit) / count
            head = 1.0 if bucket.head is None else bucket.head.amount  # what waits may be larger than the slice: it is saved up for
            bucket.accrue(rate * since_s, most=max(head, rate * (VALID_S + BURST_S)), until_s=until_s, per_minute=limit)
        return TURN_S / 2

    def _wake(self) -> None:
        """Those who wait look again."""
        for bucket in (self.tokens, self.requests):
            head = bucket.head
            if head is not None and isinstance(head.waiter, ref) and (waiter := head.waiter()) is not None and not waiter.done():
                waiter.set_result(None)

    async def _leave(self) -> None:
        """Give everything back: nobody has called for a while."""
        self.requests.void()
        self.tokens.void()
        await self._turn(leaves=True)
        self.requests.drop()
        self.tokens.drop()
        if self._concurrency is not None:
            self._concurrency.set_limit(0)

    async def aclose(self) -> None:
        """Give everything back, and let go of the store."""
        task, self._task = self._task, None
        if task is not None and self._loop is asyncio.get_running_loop():
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await self._leave()
            if self._asking is not None:
                self._asking.cancel()
        await self._held.let_go()


def _bucket(kick: Any, per_minute: float | None) -> LeasedBucket:
    return LeasedBucket(kick, learns=True) if per_minute is None else LeasedBucket(kick, per_minute=per_minute, learns=False)
