"""Refuses before money is spent: reserve an estimate, settle the actual cost when the attempt is settled.

It stands inside retry and hedge, because each attempt is paid for and a hedge pays twice; a cache hit is free and never gets here. A
stream that is cut or left early settles with what was used, by the provider's count or, flagged, by ours.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.bounds import model_asked
from surefoot.errors import BudgetExceeded, Misconfigured
from surefoot.events import BudgetWarning, tell
from surefoot.rules.purse import Purse
from surefoot.settle import Outcome
from surefoot.stack import Gate
from surefoot.target import SpendLimit
from surefoot.types import Call

WARN_SHARE = 0.8  # of a limit: late enough to matter, early enough to act


class Hold(Struct, Documented, frozen=True, kw_only=True):
    """An amount set aside; `total_usd` is what the account had spent and reserved with it."""

    account: str
    """Which account it was taken from."""
    amount_usd: float
    """US dollars set aside."""
    total_usd: float = 0.0
    """What the account had spent and reserved with it, in US dollars."""
    id: str = ""
    """Names the reservation where several processes share the account; empty in one process."""


class Accounts(Protocol):
    """Where a limit's accounts are kept: in this process, or shared by many."""

    async def reserve(self, account: str, amount_usd: float, *, limit_usd: float, force: bool) -> Hold | None:
        """Set aside; None if it does not fit (`force`: it always does)."""

    def settle(self, hold: Hold, actual_usd: float) -> None:
        """Replace a reservation by the actual cost; never waits."""

    def idle(self) -> bool:
        """True if nothing is reserved."""


class LocalAccounts:
    """Accounts of this process."""

    def __init__(self) -> None:
        self._purses: dict[str, Purse] = {}

    async def reserve(self, account: str, amount_usd: float, *, limit_usd: float, force: bool) -> Hold | None:
        """Set aside; here at once."""
        return self.hold(account, amount_usd, limit_usd=limit_usd, force=force)

    def hold(self, account: str, amount_usd: float, *, limit_usd: float, force: bool) -> Hold | None:
        """`reserve` for callers that need not wait."""
        purse = self._purses.get(account)
        if purse is None:
            purse = self._purses[account] = Purse(limit_usd)
        if force:
            purse.force(amount_usd)
        elif not purse.reserve(amount_usd):
            return None
        return Hold(account=account, amount_usd=amount_usd, total_usd=purse.spent_usd + purse.reserved_usd)

    def settle(self, hold: Hold, actual_usd: float) -> None:
        """Replace at once."""
        self._purses[hold.account].settle(hold.amount_usd, actual_usd)

    def spent_usd(self, account: str) -> float:
        """What the account has paid so far."""
        purse = self._purses.get(account)
        return 0.0 if purse is None else purse.spent_usd

    def idle(self) -> bool:
        """True if nothing is reserved."""
        return all(purse.reserved_usd < 1e-9 for purse in self._purses.values())


class Budget(Gate):
    """Keeps spending within `limits`: `Budget(target="openai:m", limits=(SpendLimit(usd=5),), accounts=LocalAccounts(), ...)`.

    `clock` gives seconds since 1970, needed for periods: a day on a bill is a calendar's day, not the loop's. `upper(request)` is what an
    attempt may cost in US dollars, never None; `price(usage, model)` what it did cost, None if the price is
    unknown (then the estimate stands, and a BudgetWarning says so once). Raises BudgetExceeded: nothing sent, nothing spent.
    """

    def __init__(
        self,
        *,
        target: str = "",
        limits: Sequence[SpendLimit] = (),
        accounts: Accounts | None = None,
        upper: Callable[[Any], float] | None = None,
        price: Callable[[Any, str], float | None] | None = None,
        clock: Callable[[], float] | None = None,
        ready: Callable[[str], Coroutine[Any, Any, None] | None] | None = None,
    ) -> None:
        if clock is None and any(limit.period != "ever" for limit in limits):
            raise Misconfigured("a budget by day or month needs a clock that knows the date: clock=...")
        self.target = target
        self.limits = tuple(limits)
        self.accounts: Accounts = LocalAccounts() if accounts is None else accounts
        self._hold = getattr(self.accounts, "hold", None)  # of accounts in this process, which nobody has to wait for
        self._ready = ready
        self._upper = upper or (lambda _: 0.0)
        self._price = price or (lambda _usage, _model: None)
        self._clock = clock or (lambda: 0.0)
        self._warned: set[str] = set()

    def describe(self) -> str:
        """The limits, for `describe()`."""
        if not self.limits:
            return "budget: none"
        return "budget: " + ", ".join(
            f"${one.usd:g} {one.scope}{'' if one.period == 'ever' else ' a ' + one.period} ({one.mode})" for one in self.limits
        )

    def idle(self) -> bool:
        """True if nothing is reserved here."""
        return self.accounts.idle()

    def enter(self, call: Call[Any], now: float) -> Any:
        """Set aside what the attempt may cost in every account it concerns."""
        del now
        if not self.limits:
            return (0.0, ())
        model = model_asked(call.request)
        reading = self._ready(model) if model and self._ready is not None else None
        if self._hold is None or reading is not None:
            return self._enter_elsewhere(call, reading)
        amount = self._upper(call.request)
        taken: list[Hold] = []
        try:
            for limit in self.limits:
                account = limit.account(call, now_epoch_s=self._clock())
                if account is not None:
                    hold = self._hold(account, amount, limit_usd=limit.usd, force=limit.mode == "soft")
                    taken.append(self._checked(call, limit, account, amount, hold))
        except BaseException:
            self._settle(taken, 0.0)
            raise
        return (amount, taken)

    async def _enter_elsewhere(self, call: Call[Any], reading: Awaitable[None] | None) -> tuple[float, list[Hold]]:
        """The same, where the price has to be read, or the accounts are kept by somebody who has to be asked."""
        if reading is not None:
            await reading
        amount = self._upper(call.request)
        taken: list[Hold] = []
        try:
            for limit in self.limits:
                account = limit.account(call, now_epoch_s=self._clock())
                if account is not None:
                    hold = await self.accounts.reserve(account, amount, limit_usd=limit.usd, force=limit.mode == "soft")
                    taken.append(self._checked(call, limit, account, amount, hold))
        except BaseException:
            self._settle(taken, 0.0)
            raise
        return (amount, taken)

    def _checked(self, call: Call[Any], limit: SpendLimit, account: str, amount: float, hold: Hold | None) -> Hold:
        """`hold`, if there was room for it; a warning where there is little left."""
        if hold is None:
            raise BudgetExceeded(
                f"{self.target}: the budget of ${limit.usd:g} for {account.rstrip('|')} has no room for about ${amount:.6f}; nothing was "
                "sent. Raise the limit, wait for its next period, or ask a cheaper target"
            )
        share = WARN_SHARE if limit.mode != "soft" else 1.0
        if hold.total_usd > share * limit.usd and account not in self._warned:
            self._warned.add(account)
            tell(call, BudgetWarning, what=account, spent_usd=hold.total_usd, limit_usd=limit.usd)
        return hold

    def leave(self, call: Call[Any], held: Any, outcome: Outcome, now: float) -> None:
        """The attempt is settled: the actual cost takes the estimate's place."""
        del now
        amount, taken = held
        if taken:
            self._settle(taken, self._actual(call, amount, outcome))

    def _actual(self, call: Call[Any], amount: float, outcome: Outcome) -> float:
        usage = outcome.usage
        if usage is None:
            # No provider bills an error it answered with; one that was cut or left may bill what it had made.
            began = outcome.stream is not None or outcome.cancelled
            return amount if began else 0.0
        if usage.estimated and not usage.total_tokens:
            return amount  # the server does not say what it counts; nothing is no estimate of something
        cost = self._price(usage, model_asked(call.request))
        if cost is None:
            if "price" not in self._warned:
                self._warned.add("price")
                tell(call, BudgetWarning, what=f"{self.target}: price unknown, the estimate stands", spent_usd=amount)
            return amount
        return cost

    def _settle(self, taken: Sequence[Hold], actual: float) -> None:
        for hold in taken:
            self.accounts.settle(hold, actual)
