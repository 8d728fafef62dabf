"""Refuses before money is spent: reserves what an attempt may cost, settles what it did cost once the attempt is finished.

It stands inside retry and hedge, because each attempt is paid for and a hedge pays twice; a cache hit is free and never gets here. A
stream that is cut or left early settles with what was used, by the provider's count or, flagged, by ours.

A hard limit is never passed: what is reserved is what the attempt costs at most. Where that does not fit any more, and the request does
not say how long its answer may be, the answer is bounded to what the money left pays for, and the bound is sent to the provider. Where the
money is held by calls under way only, a call waits for them. It holds nothing while it waits, so no two calls wait for each other; and a
hedge's second runner does not wait at all, as it would wait for the first one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeAlias

from msgspec.structs import replace

from surefoot.core.deadlines import deadline_of
from surefoot.core.stack import Guard
from surefoot.core.stream import Outcome
from surefoot.errors import BudgetExceeded, Misconfigured
from surefoot.events import BudgetWarning, emit
from surefoot.rules.spending import AMPLE, NANO, Claim, nano
from surefoot.settings import SpendLimit
from surefoot.types import Call, Usage
from surefoot.usage.billing import Guess, may_be_billed, used
from surefoot.usage.bounds import model_asked
from surefoot.usage.quotes import Quote
from surefoot.usage.spend import Busy, Hold, LocalSpendStore, Place, SpendStore, shown

WARN_SHARE = 0.8  # of a limit: late enough to matter, early enough to act
WARNED = 1000  # accounts of which it is remembered that a warning was given
WAIT_S = 600.0  # for calls under way, where no deadline says less: vendors' SDKs give up a call after so long
WAIT_SHARE = 0.9  # of the time to the deadline: an answer needs some, and a refusal says more than a deadline passed
ESTIMATE_MARGIN = 1.25  # our count of what arrived of a broken answer is 6 to 9 % off on average, and more was on its way
POLL_S = 0.25  # how often somebody else's settlement is looked for, where accounts are shared by many processes

Concerned: TypeAlias = "list[tuple[SpendLimit, str]]"  # limits, each with the account that a call is charged to
Note: TypeAlias = Callable[[Any, Usage, "int | None"], None]  # learns from a request and what it came to

_log = logging.getLogger(__name__)


class _Booking:
    """What one attempt has set aside."""

    __slots__ = ("claim", "holds", "is_bounded", "quote")

    def __init__(self, quote: Quote) -> None:
        self.quote = quote
        self.claim = quote.claim  # as far as the accounts asked so far leave it
        self.is_bounded = False
        self.holds: list[Hold] = []

    @property
    def usd(self) -> float:
        """What it may cost at most."""
        return self.claim.worst / NANO

    def asked_of(self, limit: SpendLimit) -> Claim:
        """What is asked of the next limit."""
        if limit.mode == "soft":
            return Claim.exactly(nano(self.quote.likely_usd))
        if not self.quote.is_known and nano(limit.usd) >= AMPLE * self.claim.worst:
            return Claim.exactly(self.claim.worst)  # nobody knows how much would be too short
        return self.claim


class Budget(Guard):
    """Keeps spending within `limits`: `Budget(target="openai:m", limits=(SpendLimit(usd=5),), quote=..., price=...)`.

    `quote(request)` is what an attempt may cost, `price(usage, model)` what it did cost in US dollars, None if the price is unknown (then
    what was likely counts, and a BudgetWarning says so once). `guess(request, text)` counts tokens where the provider did not, `note`
    learns from what it counted. `clock` gives seconds since 1970, needed for periods: a day on a bill is a calendar's day, not the loop's.
    Raises BudgetExceeded: nothing sent, nothing spent.
    """

    changes_call = True

    def __init__(  # noqa: PLR0913 - what is asked of the target's prices, one each
        self,
        *,
        target: str = "",
        limits: Sequence[SpendLimit] = (),
        spend_store: SpendStore | None = None,
        quote: Callable[[Any], Quote] | None = None,
        price: Callable[[Any, str], float | None] | None = None,
        guess: Guess | None = None,
        note: Note | None = None,
        clock: Callable[[], float] | None = None,
        ready: Callable[[str], Coroutine[Any, Any, None] | None] | None = None,
    ) -> None:
        if clock is None and any(limit.period != "ever" for limit in limits):
            raise Misconfigured("a budget by day or month needs a clock that knows the date: clock=...")
        self.target = target
        self.limits = tuple(dict.fromkeys(limits))  # one said twice is one
        self.spend_store: SpendStore = LocalSpendStore() if spend_store is None else spend_store
        self._hold = getattr(self.spend_store, "hold", None)  # of accounts in this process, which nobody has to wait for
        self._at_hand = getattr(self.spend_store, "at_hand", None)  # of shared accounts, what this process has reserved in advance
        self._ready = ready
        self._quote = quote or (lambda _: Quote.exactly(0.0))
        self._price = price or (lambda _usage, _model: None)
        self._guess = guess
        self._note = note
        self._clock = clock or (lambda: 0.0)
        self._warned: set[str] = set()
        self._is_one_for_all = all(limit.scope == "all" and limit.period == "ever" for limit in self.limits)
        self._always: Concerned | None = None  # what every call is charged to, where that is the same for all

    def describe(self) -> str:
        """The limits, for `describe()`."""
        if not self.limits:
            return "budget: none"
        return "budget: " + ", ".join(
            f"${one.usd:g} {one.scope}{'' if one.period == 'ever' else ' a ' + one.period} ({one.mode})" for one in self.limits
        )

    def idle(self) -> bool:
        """True if nothing is reserved here."""
        return self.spend_store.idle()

    def acquire(self, call: Call[Any], now: float) -> Any:
        """Set aside what the attempt may cost in every account it concerns; a coroutine where a price, a store or money is waited for."""
        del now
        concerned = self._concerned(call)
        if not concerned:
            return None
        model = model_asked(call.request)
        reading = self._ready(model) if model and self._ready is not None else None
        if reading is None and self._at_hand is not None and not self._is_waited_for(concerned):
            return self._book_at_hand(call, concerned) or self._book(call, None)
        if reading is not None or self._hold is None or self._is_waited_for(concerned):
            return self._book(call, reading)
        booking, full = self._try_here(call, concerned, self._quote(call.request))
        return self._book(call, None, full) if booking is None else booking

    def changed(self, call: Call[Any], held: _Booking | None) -> Call[Any]:
        """`call`, with its answer bounded to what was set aside for it, unless that is the worst case."""
        if held is None or not held.is_bounded:
            return call
        tokens = held.quote.tokens_for(held.usd)
        _log.debug("%s: the budget is nearly used up, so the answer is bounded to %d tokens", self.target, tokens)
        return replace(call, request=replace(call.request, max_tokens=tokens))

    # Before

    async def _book(self, call: Call[Any], reading: Awaitable[None] | None, full: str = "") -> _Booking:
        """Reserve, and wait for it where calls under way hold the money: those of account `full`. Raises BudgetExceeded."""
        if reading is not None:
            await reading
        loop = asyncio.get_running_loop()
        waiters, poll_s = self.spend_store.waiters, None if self._hold is not None else POLL_S
        full = full or self._is_waited_for(self._concerned(call))  # whoever waits already comes first
        place: Place | None = None
        begun_s = until_s = loop.time()
        try:
            while True:
                if not full:
                    booking, full = await self._try(call)
                    if booking is not None:
                        if place is not None:
                            place.leave()
                        return booking
                if place is None:
                    deadline = deadline_of(call)
                    until_s += WAIT_S if deadline is None else min(WAIT_S, WAIT_SHARE * (deadline - begun_s))
                left_s = until_s - loop.time()
                if call.hedged or left_s <= 0:
                    raise self._held(full, loop.time() - begun_s)  # noqa: TRY301 - its place is given up below
                if place is None or place.account != full:
                    if place is not None:
                        place.leave()
                    place = waiters.join(full)
                await place.turn(left_s, poll_s=poll_s)
                full = ""
        except BaseException as error:
            if place is not None:
                place.leave(in_vain=isinstance(error, BudgetExceeded))
            raise

    def _is_waited_for(self, concerned: Concerned) -> str:
        """The first of the accounts for which somebody waits; empty if there is none."""
        waiters = self.spend_store.waiters
        for _, account in concerned:
            if waiters.any(account):
                return account
        return ""

    async def _try(self, call: Call[Any]) -> tuple[_Booking | None, str]:
        """What was set aside, in all accounts or in none; and the account that calls under way fill, if one does."""
        concerned = self._concerned(call)
        quote = self._quote(call.request)  # anew after each wait: what was settled meanwhile may have taught something
        if self._hold is not None:
            return self._try_here(call, concerned, quote)
        booking = _Booking(quote)
        try:
            for limit, account in concerned:
                asked, is_soft = booking.asked_of(limit), limit.mode == "soft"
                found = await self.spend_store.reserve(account, asked, limit_usd=limit.usd, force=is_soft)
                if not self._took(call, booking, limit, account, found):
                    return None, account
        except BaseException:
            self._give_back(booking)
            raise
        return booking, ""

    def _book_at_hand(self, call: Call[Any], concerned: Concerned) -> _Booking | None:
        """What was set aside out of what this process has reserved in advance; None where the accounts must be asked."""
        assert self._at_hand is not None
        booking = _Booking(self._quote(call.request))
        for limit, account in concerned:
            found = None if limit.mode == "soft" else self._at_hand(account, booking.asked_of(limit), limit_usd=limit.usd)
            if found is None:
                self._give_back(booking)
                return None
            self._took(call, booking, limit, account, found)
        return booking

    def _try_here(self, call: Call[Any], concerned: Concerned, quote: Quote) -> tuple[_Booking | None, str]:
        """`_try` where the accounts are kept in this process: nobody is waited for."""
        assert self._hold is not None
        booking = _Booking(quote)
        try:
            for limit, account in concerned:
                found = self._hold(account, booking.asked_of(limit), limit_usd=limit.usd, force=limit.mode == "soft")
                if not self._took(call, booking, limit, account, found):
                    return None, account
        except BaseException:
            self._give_back(booking)
            raise
        return booking, ""

    def _took(self, call: Call[Any], booking: _Booking, limit: SpendLimit, account: str, found: Hold | Busy | None) -> bool:
        """Note what `account` gave; False where calls under way hold the money. Raises BudgetExceeded where it will never fit."""
        if found is None:
            raise self._refusal(limit, account, booking.quote)
        if isinstance(found, Busy):
            self._give_back(booking)
            return False
        booking.holds.append(found)
        self._warn(call, limit, found, booking.quote)
        if limit.mode != "soft" and found.amount_usd < booking.usd:
            booking.claim, booking.is_bounded = booking.claim.within(nano(found.amount_usd)), True
        return True

    def _concerned(self, call: Call[Any]) -> Concerned:
        """The limits that concern `call`, each with its account."""
        if self._always is not None:
            return self._always
        now_s = self._clock()
        charged = [(limit, limit.account(call, now_epoch_s=now_s)) for limit in self.limits]
        concerned = [(limit, account) for limit, account in charged if account is not None]
        if self._is_one_for_all:
            self._always = concerned
        return concerned

    def _refusal(self, limit: SpendLimit, account: str, quote: Quote) -> BudgetExceeded:
        return BudgetExceeded(
            f"{self.target}: the budget of ${limit.usd:g} for {shown(account)} has no room for about ${quote.least_usd:.6f}; nothing was "
            "sent. Raise the limit, wait for its next period, or ask a cheaper target"
        )

    def _held(self, account: str, waited_s: float) -> BudgetExceeded:
        return BudgetExceeded(
            f"{self.target}: calls under way hold what is left of the budget for {shown(account)}, and after {waited_s:.1f} s there "
            "is still no room; nothing was sent. Ask again once they have ended, raise the limit, or set max_tokens",
            retry_after_s=1.0,
        )

    def _warn(self, call: Call[Any], limit: SpendLimit, hold: Hold, quote: Quote) -> None:
        """Tell, once an account, when little of its limit is left."""
        spent_usd = hold.spent_usd + quote.likely_usd
        share = WARN_SHARE if limit.mode != "soft" else 1.0
        if spent_usd > share * limit.usd and hold.account not in self._warned:
            if len(self._warned) >= WARNED:
                self._warned.clear()
            self._warned.add(hold.account)
            emit(call, BudgetWarning, what=shown(hold.account), spent_usd=spent_usd, limit_usd=limit.usd)

    # After

    def release(self, call: Call[Any], held: _Booking | None, outcome: Outcome, now: float) -> None:
        """The attempt is finished: what it did cost takes the place of what it might have cost."""
        del now
        if held is None:
            return
        actual_usd = 0.0
        try:
            actual_usd = self._actual_usd(call, held, outcome)
        finally:
            for hold in held.holds:
                self.spend_store.settle(hold, actual_usd)

    def _actual_usd(self, call: Call[Any], booking: _Booking, outcome: Outcome) -> float:
        usage = used(call, outcome, self._guess)
        if usage is None and not may_be_billed(outcome):
            return 0.0
        if usage is None or (usage.estimated and (not usage.total_tokens or outcome.reply is None)):
            return min(self._quote(call.request).lost_usd, booking.usd)  # nobody counted, and there is no text to count
        if self._note is not None and not usage.estimated:
            self._note(call.request, usage, booking.quote.estimated_tokens)
        likely_usd = min(booking.quote.likely_usd, booking.usd)
        cost = outcome.cost_usd  # as the attempt further in has priced it
        if cost is None:
            cost = self._price(usage, model_asked(call.request))
        if cost is None:
            if "price" not in self._warned:
                self._warned.add("price")
                emit(call, BudgetWarning, what=f"{self.target}: price unknown, the estimate stands", spent_usd=likely_usd)
            return likely_usd
        if usage.estimated and not outcome.complete:
            quote = self._quote(call.request)  # anew: calls that ended meanwhile may have shown how much is thought
            return min(ESTIMATE_MARGIN * cost + quote.hidden_usd, max(cost, booking.usd))
        return cost

    def _give_back(self, booking: _Booking) -> None:
        for hold in booking.holds:
            self.spend_store.settle(hold, 0.0)
