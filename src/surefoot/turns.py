"""Single flight across processes: of many who miss the same key, one process asks and the others wait for what it keeps.

It needs a store that locks (`surefoot.stores.LockStore`: Redis). In this process everybody shares one turn; who of them asks is the
coalesce layer's matter. The lock outlives nobody: a process that dies loses it within HOLD_S, one that fails says so at once.

Waiting never costs a call its answer. Whoever waits keeps the last part of its own time to ask for itself, and takes what the other
process keeps even then, if that comes first.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from surefoot.settle import Stream

K = TypeVar("K")

HOLD_S = 3.0  # a killed process holds everybody up so long; one that merely stalls longer than this costs one more request
EXTEND_S = 1.0  # a third of it: two renewals may fail
WAIT_S = 30.0  # longer than most answers take; after it a waiter asks for itself as well
OWN_S = 6.0  # of a waiter's time kept for asking itself: enough to see a dead holder's lock expire and to get most answers
POLL_S = (0.02, 0.25)  # first and longest pause between two looks: short answers are seen soon, long ones cost four looks a second

Later = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
Look = Callable[[], Awaitable[K | None]]


class Turn:
    """One process's place among those that want one key, shared by all its calls; `leave()` it once each."""

    __slots__ = ("_failed", "_key", "_timer", "_turns", "_users", "decided", "loop", "token", "watcher", "write")

    def __init__(self, turns: Turns[Any], key: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.decided: asyncio.Future[Any] = self.loop.create_future()  # what was kept, or this turn: ask yourselves
        self.token = ""
        self.watcher: asyncio.Task[None] | None = None  # waits for the lock, or for what its holder keeps
        self.write: asyncio.Task[None] | None = None  # the lock is given back after the answer is kept, else others would ask again
        self._turns = turns
        self._key = key
        self._users = 0
        self._failed = False
        self._timer: asyncio.TimerHandle | None = None

    def board(self) -> None:
        """One call more."""
        self._users += 1

    def leave(self, *, failed: bool = False) -> None:
        """One call fewer; the last one gives the lock back. `failed`: it asked, and nothing came that others could use."""
        self._users -= 1
        self._failed = self._failed or failed
        if self._users == 0:
            self._turns.over(self._key, self)
            if self.watcher is not None:
                self.watcher.cancel()
            if self._timer is not None:
                self._timer.cancel()
            if self.token:
                self._turns.later(self._give_back(self.token))

    def hold(self, token: str) -> None:
        """The lock is ours; keep it for as long as any call is under way."""
        if self._users == 0:  # all have left while the store answered
            self._turns.later(self._give_back(token))
            return
        self.token = token
        self._timer = self.loop.call_later(EXTEND_S, self._extend)

    def _extend(self) -> None:
        self._turns.later(self._turns.store.extend(self._key, self.token, ttl_s=HOLD_S))
        self._timer = self.loop.call_later(EXTEND_S, self._extend)

    async def _give_back(self, token: str) -> None:
        """After the write. Waiters of a holder that failed need not take the lock one after the other: they are told to ask."""
        store = self._turns.store
        if self.write is not None:
            await asyncio.wait({self.write})
        elif self._failed and hasattr(store, "unlock_failed"):
            await store.unlock_failed(self._key, token)
            return
        await store.unlock(self._key, token)


class Turns(Generic[K]):
    """Who asks: `Turns(store, later)`. `later` runs a coroutine beside the call."""

    def __init__(self, store: Any, later: Later) -> None:
        self.store = store
        self.later = later
        self._turns: dict[str, Turn] = {}

    def idle(self) -> bool:
        """True if nobody has a turn."""
        return not self._turns

    async def take(self, key: str, look: Look[K], *, deadline: float | None = None) -> Turn | K:
        """The turn, to be left; or what another process has kept meanwhile, which `look()` gives (None: nothing yet).

        `deadline` is the caller's own, on the loop's clock. A caller that has waited long enough gets a turn that is still undecided.
        """
        turn = self._turns.get(key)
        if turn is None or turn.loop is not asyncio.get_running_loop():
            turn = self._turns[key] = Turn(self, key)
            turn.watcher = self.later(self._watch(key, turn, look))
        turn.board()
        outcome: Any = turn
        try:
            await asyncio.wait({turn.decided}, timeout=_patience_s(deadline, turn.loop.time()))
            if turn.decided.done():
                outcome = turn.decided.result()
        except BaseException:
            turn.leave()
            raise
        if outcome is not turn:
            turn.leave()
        return outcome  # type: ignore[no-any-return]

    async def ask(self, turn: Turn, asked: Awaitable[Any]) -> tuple[Any, bool]:
        """The answer of `asked`, and False; while the turn is undecided, what another process keeps, and True, if that comes first."""
        if turn.decided.done():
            return await asked, False
        asking = asyncio.ensure_future(asked)
        try:
            await asyncio.wait({asking, turn.decided}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done() or turn.decided.result() is turn:
                return await asking, False
        except asyncio.CancelledError:
            await _drop(asking)
            raise
        await _drop(asking)
        return turn.decided.result(), True

    async def claim(self, key: str) -> Turn | None:
        """The turn if it is free; None if anybody has it: for work that is as well done by whoever has it."""
        if key in self._turns:
            return None
        token = await self.store.lock(key, ttl_s=HOLD_S)
        if token == "" or key in self._turns:
            if token:
                await self.store.unlock(key, token)
            return None
        turn = self._turns[key] = Turn(self, key)
        turn.board()
        turn.decided.set_result(turn)
        if token:
            turn.hold(token)
        return turn

    def over(self, key: str, turn: Turn) -> None:
        """Nobody uses the turn any more."""
        if self._turns.get(key) is turn:
            del self._turns[key]

    async def _watch(self, key: str, turn: Turn, look: Look[K]) -> None:
        """Decide the turn: the lock is ours, or something has been kept, or there is nothing to wait for."""
        outcome: Any = turn
        try:
            outcome = await self._wait(key, turn, look)
        finally:  # also if the store fails: then all ask
            turn.decided.set_result(outcome)

    async def _wait(self, key: str, turn: Turn, look: Look[K]) -> Turn | K:
        pause_s, longest_s = POLL_S
        while True:
            token = await self.store.lock(key, ttl_s=HOLD_S)
            if token:
                turn.hold(token)
            kept = await look()  # also with the lock in hand: it may have been given back between our miss and now
            if kept is not None:
                return kept
            if token or token is None:
                return turn
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
