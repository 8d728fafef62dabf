"""Single flight across processes: of many who miss the same key, one process asks and the others wait for what it keeps.

It needs a store that locks (`lock`, `extend`, `unlock`: Redis). In this process everybody shares one turn; who of them asks is the
coalesce room's matter. The lock outlives nobody: a process that dies gives it back within HOLD_S, one that fails gives it back at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

K = TypeVar("K")

HOLD_S = 10.0  # a killed process holds everybody up so long
EXTEND_S = 3.0  # a third of it: two renewals may fail
WAIT_S = 30.0  # longer than most answers take; who has waited so long asks for himself
POLL_S = (0.02, 0.25)  # first and longest pause between two looks: short answers are seen soon, long ones cost four looks a second

Later = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Turn:
    """One process's right to ask about one key, shared by all its calls; `leave()` it once each."""

    __slots__ = ("_aboard", "_key", "_timer", "_turns", "decided", "loop", "token", "write")

    def __init__(self, turns: Turns[Any], key: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.decided: asyncio.Future[Any] = self.loop.create_future()
        self.token = ""
        self.write: asyncio.Task[None] | None = None  # the lock is given back after the answer is kept, else others would ask again
        self._turns = turns
        self._key = key
        self._aboard = 0
        self._timer: asyncio.TimerHandle | None = None

    def board(self) -> None:
        """One call more."""
        self._aboard += 1

    def leave(self) -> None:
        """One call fewer; the last one gives the lock back."""
        self._aboard -= 1
        if self._aboard == 0:
            self._turns.over(self._key, self)
            if self._timer is not None:
                self._timer.cancel()
            if self.token:
                self._turns.later(self._give_back())

    def hold(self, token: str) -> None:
        """The lock is ours; keep it for as long as anybody is on board."""
        self.token = token
        self._timer = self.loop.call_later(EXTEND_S, self._extend)

    def _extend(self) -> None:
        self._turns.later(self._turns.store.extend(self._key, self.token, ttl_s=HOLD_S))
        self._timer = self.loop.call_later(EXTEND_S, self._extend)

    async def _give_back(self) -> None:
        if self.write is not None:
            await asyncio.wait({self.write})
        await self._turns.store.unlock(self._key, self.token)


class Turns(Generic[K]):
    """Who asks: `Turns(store, look, later)`. `look(key)` gives what is kept now, or None; `later` runs a coroutine beside the call."""

    def __init__(self, store: Any, look: Callable[[str], Awaitable[K | None]], later: Later) -> None:
        self.store = store
        self.look = look
        self.later = later
        self._turns: dict[str, Turn] = {}

    def idle(self) -> bool:
        """True if nobody has a turn."""
        return not self._turns

    async def take(self, key: str) -> Turn | K:
        """The turn, boarded; or what somebody else has kept meanwhile. Waits for him, at most WAIT_S."""
        while True:
            turn = self._turns.get(key)
            if turn is None or turn.loop is not asyncio.get_running_loop():
                turn = self._turns[key] = Turn(self, key)
                return await self._decide(key, turn)
            turn.board()
            outcome: Any = None
            try:
                outcome = await asyncio.shield(turn.decided)
            finally:
                if outcome is not turn:
                    turn.leave()
            if outcome is not None:
                return outcome  # type: ignore[no-any-return]
            # Whoever was waiting for us all has given up: somebody else must.

    async def claim(self, key: str) -> Turn | None:
        """The turn if it is free, boarded; None if anybody has it: for work that is as well done by him."""
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
        """Nobody is on board any more."""
        if self._turns.get(key) is turn:
            del self._turns[key]

    async def _decide(self, key: str, turn: Turn) -> Turn | K:
        """Lock, or wait until somebody has kept something."""
        turn.board()
        outcome: Any = None
        try:
            outcome = await self._wait(key, turn)
        finally:
            turn.decided.set_result(outcome)
            if outcome is not turn:
                self.over(key, turn)
                turn.leave()
        return outcome  # type: ignore[no-any-return]

    async def _wait(self, key: str, turn: Turn) -> Any:
        until = turn.loop.time() + WAIT_S
        pause_s, longest_s = POLL_S
        while True:
            token = await self.store.lock(key, ttl_s=HOLD_S)
            if token:
                turn.hold(token)
            kept = await self.look(key)  # also with the lock in hand: it may have been given back between our miss and now
            if kept is not None:
                return kept
            if token or token is None or turn.loop.time() >= until:
                return turn
            await asyncio.sleep(pause_s)
            pause_s = min(longest_s, pause_s * 1.5)
