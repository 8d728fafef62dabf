"""What a key and its team may still ask: refused before anything is sent, by the library's own spend limits and by counts of a minute.

Money is reserved at its worst and settled at its cost by `layers/guards/budget.py`, in accounts of the key and of the team, which stay as
they are when a limit is changed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any, TypeVar

from surefoot.gateway.errors import HttpError
from surefoot.gateway.exchange import HttpExchange
from surefoot.gateway.keys.windows import MinuteWindow
from surefoot.gateway.records import Allowance, KeyGrant
from surefoot.models.chat import ChatModel
from surefoot.models.embed import EmbedModel
from surefoot.rules.spending import NANO, period_key
from surefoot.settings import SpendLimit
from surefoot.types import Call
from surefoot.usage.accounts.slices import SlicedSpendStore

VIEWS = 1_000  # models as a key sees them, kept for its next call
OWNERS = 100_000  # keys and teams whose last minute is counted: some 60 MB at most, and only those with a limit
BYTES_A_TOKEN = 4  # of a request's body: what its prompt is taken for until its answer tells

M = TypeVar("M", bound=ChatModel | EmbedModel)


class OwnerLimit(SpendLimit, frozen=True, kw_only=True):
    """A spend limit of one key or team."""

    owner: str
    """Whose, such as "key key_0123456789abcdef"."""

    def account(self, call: Call[Any], *, now_epoch_s: float) -> str | None:
        """The owner's account of the period, whatever the limit is today."""
        del call
        return f"{self.owner}|{self.period}||{period_key(self.period, now_epoch_s=now_epoch_s)}"


class KeyLimits:
    """Keeps the allowances of keys and teams; `spend_store` None: a budget above 0 cannot be kept, and refuses. Lives on one loop."""

    def __init__(self, spend_store: SlicedSpendStore | None) -> None:
        self.spend_store = spend_store
        self._views: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._requests: OrderedDict[str, MinuteWindow] = OrderedDict()
        self._tokens: OrderedDict[str, MinuteWindow] = OrderedDict()

    def check_budget(self, grant: KeyGrant) -> None:
        """Raise HttpError (429) where nothing may be spent at all."""
        for owner, allowance in owners(grant):
            if allowance.budget_nano == 0:
                raise HttpError(429, "budget_exceeded", f"the budget of {owner} is 0; nothing was sent", kind="insufficient_quota")

    def take(self, exchange: HttpExchange) -> None:
        """Count a request, and what its prompt may come to. Raises HttpError (429), with how long to wait, and then counts nothing."""
        now = asyncio.get_running_loop().time()
        guess = len(exchange.body) // BYTES_A_TOKEN
        taken: list[tuple[MinuteWindow, int]] = []
        for owner, allowance in owners(exchange.grant):
            for what, limit, windows, amount in (
                ("requests", allowance.requests_per_minute, self._requests, 1),
                ("tokens", allowance.tokens_per_minute, self._tokens, guess),
            ):
                if limit is None:
                    continue
                window = _window(windows, owner)
                wait_s = window.take(amount, limit, now)
                if wait_s:
                    for one, back in taken:
                        one.add(-back, now)
                    raise HttpError(
                        429,
                        "rate_limit_exceeded",
                        f"{owner} may use {limit} {what} a minute, and has; nothing was sent",
                        retry_after_s=wait_s,
                    )
                taken.append((window, amount))
        exchange.guessed_tokens = guess

    def settle(self, exchange: HttpExchange) -> None:
        """Put what was used in the place of what was guessed."""
        used = exchange.usage
        if used is None:
            return
        now = asyncio.get_running_loop().time()
        for owner, allowance in owners(exchange.grant):
            if allowance.tokens_per_minute is not None:
                _window(self._tokens, owner).add(used.total_tokens - exchange.guessed_tokens, now)

    def view(self, grant: KeyGrant, name: str, model: M) -> M:
        """The model as the key may ask it: within its budget and its team's."""
        own, theirs = grant.allowance, grant.team_allowance
        if not own.budget_nano and not theirs.budget_nano:
            return model
        if self.spend_store is None:
            raise HttpError(500, "misconfigured", "budgets want [serve] state: a database in which they are kept")
        key = (type(model).__name__, name, grant.key_id, own.budget_nano, own.period, grant.team, theirs.budget_nano, theirs.period)
        found: Any = self._views.get(key)
        if found is None:
            limits = [
                OwnerLimit(owner=owner, usd=one.budget_nano / NANO, period=one.period) for owner, one in owners(grant) if one.budget_nano
            ]
            found = self._views[key] = model.within(*limits, spend_store=self.spend_store)
            if len(self._views) > VIEWS:
                self._views.popitem(last=False)
        self._views.move_to_end(key)
        view: M = found
        return view


def owners(grant: KeyGrant) -> tuple[tuple[str, Allowance], ...]:
    """Who is charged: the key, and its team."""
    own = (f"key {grant.key_id}", grant.allowance)
    return (own, (f"team {grant.team}", grant.team_allowance)) if grant.team else (own,)


def _window(windows: OrderedDict[str, MinuteWindow], owner: str) -> MinuteWindow:
    found = windows.get(owner)
    if found is None:
        found = windows[owner] = MinuteWindow()
        if len(windows) > OWNERS:
            windows.popitem(last=False)
    else:
        windows.move_to_end(owner)
    return found
