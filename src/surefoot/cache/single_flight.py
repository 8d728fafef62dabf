"""Single flight across processes: of many that miss the same key, one process asks and the others wait for what it stores.

It needs a store that locks (`surefoot.storage.LockStore`: Redis). In this process everybody shares one turn; who of them asks is the
coalesce layer's matter. The lock outlives nobody: a process that dies loses it within HOLD_S, one that fails says so at once.

Waiting never costs a call its answer. Whoever waits keeps the last part of its own time to ask for itself, and takes what the other
process keeps even then, if that comes first.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from surefoot.core.stream import Stream

K = TypeVar("K")

HOLD_S = 3.0  # how long a killed process holds up the others; one that merely stalls longer than this costs one more request
EXTEND_S = 1.0  # a third of it: two renewals may fail
WAIT_S = 30.0  # longer than most answers take; after it a waiter asks for itself as well
OWN_S = 6.0  # of a waiter's time kept for asking itself: enough to see a dead holder's lock expire and to get most answers
POLL_S = (0.02, 0.25)  # first and longest pause between two looks: short answers are seen soon, long ones cost four looks a second

Later = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
Look = Callable[[], Awaitable[K | None]]


class KeyClaim:
    """One process's place among those that want one key, shared by all its calls; `leave()` it once each."""

    __slots__ = ("_claims", "_failed", "_key", "_timer", "_users", "decided", "loop", "token", "watcher", "write")

    def __init__(self, claims: SingleFlight[Any], key: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.decided: asyncio.Future[Any] = self.loop.create_future()  # what was kept, or this turn: ask yourselves
        self.token = ""
        self.watcher: asyncio.Task[None] | None = None  # waits for the lock, or for what its holder keeps
        self.write: asyncio.Task[None] | None = None  # the lock is given back after the answer is kept, else others would ask again
        self._claims = claims
        self._key = key
        self._users = 0
        self._failed = False
        self._timer: asyncio.TimerHandle | None = None

    def join(self) -> None:
        """One call more."""
        self._users += 1

    def leave(self, *, failed: bool = False) -> None:
        """One call fewer; the last one gives the lock back. `failed`: it asked, and nothing came that others could use."""
        self._users -= 1
        self._failed = self._failed or failed
        if self._users == 0:
            self._claims.over(self._key, self)
            if self.watcher is not None:
                self.watcher.cancel()
            if self._timer is not None:
                self._timer.cancel()
            if self.token:
                self._claims.later(self._give_back(self.token))

    def hold(self, token: str) -> None:
        """The lock is ours; keep it for as long as any call is under way."""
        if self._users == 0:  # all have left while the store answered
            self._claims.later(self._give_back(token))
            return
        self.token = token
        self._timer = self.loop.call_later(EXTEND_S, self._extend)

    def _extend(self) -> None:
        self._claims.later(self._claims.store.extend(self._key, self.token, ttl_s=HOLD_S))
        self._timer = self.loop.call_later(EXTEND_S, self._extend)

    async def _give_back(self, token: str) -> None:
        """After the write. Waiters of a holder that failed need not take the lock one after the other: they are told to ask."""
        store = self._claims.store
        if self.write is not None:
            await asyncio.wait({self.write})
        elif self._failed and hasattr(store, "unlock_failed"):
            await store.unlock_failed(self._key, token)
            return
        await store.unlock(self._key, token)


class SingleFlight(Generic[K]):
    """Who asks: `SingleFlight(store, later)`. `later` runs a coroutine beside the call."""

    def __init__(self, store: Any, later: Later) -> None:
        self.store = store
        self.later = later
        self._claims: dict[str, KeyClaim] = {}

    def idle(self) -> bool:
        """True if there is no claim."""
        return not self._claims

    async def take(self, key: str, look: Look[K], *, deadline: float | None = None) -> KeyClaim | K:
        """The turn, to be left; or what another process has kept meanwhile, which `look()` gives (None: nothing yet).

        `deadline` is the caller's own, on the loop's clock. A caller that has waited long enough gets a turn that is still undecided.
        """
        claim = self._claims.get(key)
        if claim is None or claim.loop is not asyncio.get_running_loop():
            claim = self._claims[key] = KeyClaim(self, key)
            claim.watcher = self.later(self._watch(key, claim, look))
        claim.join()
        outcome: Any = claim
        try:
            await asyncio.wait({claim.decided}, timeout=_patience_s(deadline, claim.loop.time()))
            if claim.decided.done():
                outcome = claim.decided.result()
        except BaseException:
            claim.leave()
            raise
        if outcome is not claim:
            claim.leave()
        return outcome  # type: ignore[no-any-return]

    async def ask(self, claim: KeyClaim, asked: Awaitable[Any]) -> tuple[Any, bool]:
        """The answer of `asked`, and False; while the turn is undecided, what another process keeps, and True, if that comes first."""
        if claim.decided.done():
            return await asked, False
        asking = asyncio.ensure_future(asked)
        try:
            await asyncio.wait({asking, claim.decided}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done() or claim.decided.result() is claim:
                return await asking, False
        except asyncio.CancelledError:
            await _drop(asking)
            raise
        await _drop(asking)
        return claim.decided.result(), True

    async def claim(self, key: str) -> KeyClaim | None:
        """The turn if it is free; None if anybody has it: for work that is as well done by whoever has it."""
        if key in self._claims:
            return None
        token = await self.store.lock(key, ttl_s=HOLD_S)
        if token == "" or key in self._claims:
            if token:
                await self.store.unlock(key, token)
            return None
        claim = self._claims[key] = KeyClaim(self, key)
        claim.join()
        claim.decided.set_result(claim)
        if token:
            claim.hold(token)
        return claim

    def over(self, key: str, claim: KeyClaim) -> None:
        """Nobody uses the turn any more."""
        if self._claims.get(key) is claim:
            del self._claims[key]

    async def _watch(self, key: str, claim: KeyClaim, look: Look[K]) -> None:
        """Decide the turn: the lock is ours, or something has been kept, or there is nothing to wait for."""
        outcome: Any = claim
        try:
            outcome = await self._wait(key, claim, look)
        finally:  # also if the store fails: then all ask
            claim.decided.set_result(outcome)

    async def _wait(self, key: str, claim: KeyClaim, look: Look[K]) -> KeyClaim | K:
        pause_s, longest_s = POLL_S
        while True:
            token = await self.store.lock(key, ttl_s=HOLD_S)
            if token:
                claim.hold(token)
            cached = await look()  # also with the lock in hand: it may have been given back between our miss and now
            if cached is not None:
                return cached
            if token or token is None:
                return claim
            await asyncio.sleep(pause_s)
            pause_s = min(longest_s, pause_s * 1.5)


def _patience_s(deadline: float | None, now: float) -> float:
    """How long a caller waits for another process before it asks itself."""
    left_s = math.inf if deadline is None else deadline - now
    return min(WAIT_S, max(left_s / 2, left_s - OWN_S))


async def _drop(asking: asyncio.Future[Any]) -> None:
    """End what nobody waits for any more; a provider bills a stream until it is closed."""
    asking.cancel()
    await asyncio.wait({asking})
    if not asking.cancelled() and asking.exception() is None and isinstance(asking.result(), Stream):
        await asking.result().aclose()
