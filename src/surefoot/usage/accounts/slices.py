"""Money taken from shared accounts in slices, so that most calls ask no database: each process has a few calls' worth in hand.

A slice is a reservation like any other, renewed and booked as such, so processes together stay within a limit whatever they do with
theirs. It is SLICE_CALLS calls' worth at most and a small share of what is left; near the end of a budget, calls ask one by one. After
FRESH_S what was spent of a slice is booked, and what nobody uses goes back. What a killed process had in its slice counts as spent, as what
its calls had reserved does.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from surefoot.rules.spending import NANO, Claim, nano
from surefoot.usage.spend import Busy, Hold, SpendStore

SLICE_CALLS = 32
SHARE = 64  # a slice is at most so small a part of what is left: eight processes hold back an eighth at most
FRESH_S = 1.0  # how late the accounts know what was spent
ACCOUNTS = 10_000  # whose latest sum is remembered


class SharedSpendStore(SpendStore, Protocol):
    """A store of accounts for many processes."""

    def describe(self) -> str:
        """One phrase for `describe()`."""

    async def spent_usd(self, account: str) -> float:
        """What the account has paid so far."""

    async def aclose(self) -> None:
        """Book what is left."""


class _Slice:
    """A reservation that calls of this process share, in billionths of a dollar."""

    __slots__ = ("account", "hold", "is_shrinking", "out", "size", "spent")

    def __init__(self, account: str, hold: Hold) -> None:
        self.account = account
        self.hold = hold
        self.size = nano(hold.amount_usd)
        self.out = 0  # reserved by calls under way
        self.spent = 0
        self.is_shrinking = False

    @property
    def left(self) -> int:
        """What may still be reserved."""
        return self.size - self.out - self.spent


class SlicedSpendStore:
    """`SlicedSpendStore(SqlSpendStore(database))`: the same accounts at a fraction of the transactions. Lives on one loop."""

    def __init__(self, inner: SharedSpendStore) -> None:
        self._inner = inner
        self.waiters = inner.waiters
        self._slices: dict[str, _Slice] = {}
        self._used_up: set[_Slice] = set()  # calls are still under way that reserved of them
        self._left: dict[str, int] = {}  # by account: what of its limit was left when it was last asked
        self._taking: dict[str, asyncio.Future[None]] = {}
        self._keeping: asyncio.Task[None] | None = None

    def describe(self) -> str:
        """One phrase for `describe()`."""
        return self._inner.describe()

    def idle(self) -> bool:
        """True if nothing is reserved, everything is booked, and nobody waits."""
        return not self._slices and not self._used_up and self._inner.idle()

    async def reserve(self, account: str, claim: Claim, *, limit_usd: float, force: bool) -> Hold | Busy | None:
        """Set aside, out of the slice in hand if it suffices. Raises BudgetExceeded while the store is away, unless `force`."""
        while not force:
            found = self.at_hand(account, claim, limit_usd=limit_usd)
            if found is not None:
                return found
            other = self._taking.get(account)
            if other is None:
                break
            await asyncio.wait({other})
        wanted = min(SLICE_CALLS * claim.worst, self._left.get(account, 0) // SHARE)
        if force or wanted < 2 * claim.worst:
            found_here = await self._inner.reserve(account, claim, limit_usd=limit_usd, force=force)
            self._note(account, found_here, limit_usd)
            return found_here
        return await self._take(account, claim, wanted, limit_usd)

    async def _take(self, account: str, claim: Claim, wanted: int, limit_usd: float) -> Hold | Busy | None:
        """Take a new slice, and out of it what `claim` may have; the claim alone where there is no room for one."""
        taking = self._taking[account] = asyncio.get_running_loop().create_future()
        try:
            hold = await self._inner.reserve(account, Claim.exactly(wanted), limit_usd=limit_usd, force=False)
            self._note(account, hold, limit_usd)
            if isinstance(hold, Hold):
                self._slices[account] = _Slice(account, hold)
                self._keep()
        finally:
            del self._taking[account]
            taking.set_result(None)
        if isinstance(hold, Hold):
            return self.at_hand(account, claim, limit_usd=limit_usd)
        return await self._inner.reserve(account, claim, limit_usd=limit_usd, force=False)

    def at_hand(self, account: str, claim: Claim, *, limit_usd: float) -> Hold | None:
        """Set aside out of the slice in hand, without waiting; None where it does not suffice."""
        one = self._slices.get(account)
        if one is None:
            return None
        if one.left < claim.worst or nano(limit_usd) < nano(one.hold.total_usd):  # used up, or of a limit that was higher
            del self._slices[account]
            self._retire(one)
            return None
        one.out += claim.worst
        return Hold(
            account=account, amount_usd=claim.worst / NANO, spent_usd=one.hold.spent_usd + one.spent / NANO,
            total_usd=one.hold.total_usd, id=one.hold.id, life=one,
        )  # fmt: skip

    def _note(self, account: str, found: Hold | Busy | None, limit_usd: float) -> None:
        self._left.pop(account, None)
        if isinstance(found, Hold):
            self._left[account] = nano(limit_usd) - nano(found.total_usd)
            if len(self._left) > ACCOUNTS:
                del self._left[next(iter(self._left))]

    def settle(self, hold: Hold, actual_usd: float) -> None:
        """Replace a reservation by the actual cost; never waits."""
        one = hold.life
        if not isinstance(one, _Slice):
            self._inner.settle(hold, actual_usd)
            return
        one.out -= nano(hold.amount_usd)
        one.spent += nano(actual_usd)
        if not one.out and one in self._used_up:
            self._retire(one)
        self.waiters.wake(hold.account)

    def _keep(self) -> None:
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.get_running_loop().create_task(self._book())

    async def _book(self) -> None:
        """While there are slices: book what was spent of them, and give back what nobody uses."""
        while self._slices or self._used_up:
            await asyncio.sleep(FRESH_S)
            for account, one in list(self._slices.items()):
                del self._slices[account]  # the next call takes a new one
                self._retire(one)
            for one in list(self._used_up):
                if one in self._used_up and one.size != one.out:
                    await self._shrink(one)

    def _retire(self, one: _Slice) -> None:
        """Nothing more is taken of it: booked at once, or when the calls under way have ended."""
        if one.out or one.is_shrinking:
            self._used_up.add(one)
        else:
            self._used_up.discard(one)
            self._inner.settle(one.hold, one.spent / NANO)

    async def _shrink(self, one: _Slice) -> None:
        """Keep of a slice what calls under way have reserved; the rest is booked and given back."""
        kept, one.is_shrinking = one.out, True
        try:
            new = await self._inner.reserve(one.account, Claim.exactly(kept), limit_usd=0.0, force=True)
            assert isinstance(new, Hold), "what is forced is given"
            self._inner.settle(one.hold, one.spent / NANO)
            one.hold, one.size, one.spent = new, kept, 0
        finally:
            one.is_shrinking = False
            self._retire(one)  # they may have ended meanwhile

    async def spent_usd(self, account: str) -> float:
        """What the account has paid so far, by everybody; what others spent in the last second may be missing."""
        here = sum(one.spent for one in (*self._slices.values(), *self._used_up) if one.account == account)
        return await self._inner.spent_usd(account) + here / NANO

    async def aclose(self) -> None:
        """Give the slices back and book what is left; calls that are still under way settle in vain, at what they had reserved."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        for one in (*self._slices.values(), *self._used_up):
            self._inner.settle(one.hold, (one.spent + one.out) / NANO)
        self._slices.clear()
        self._used_up.clear()
        await self._inner.aclose()
