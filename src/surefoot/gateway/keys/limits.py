"""What a key and its team may still ask: refused before anything is sent, by the library's own spend limits and by counts of a minute.

Money is reserved at its worst and settled at its cost by `layers/guards/budget.py`, in accounts of the key and of the team, which stay as
they are when a limit is changed.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, TypeVar

from surefoot.gateway.errors import HttpError
from surefoot.gateway.exchange import HttpExchange
from surefoot.gateway.minutes.shared import SharedMinutes, Take
from surefoot.gateway.records import Allowance, KeyGrant
from surefoot.models.chat import ChatModel
from surefoot.models.embed import EmbedModel
from surefoot.rules.spending import NANO, period_key
from surefoot.settings import SpendLimit
from surefoot.storage.sql import Database
from surefoot.types import Call
from surefoot.usage.accounts.slices import SlicedSpendStore
from surefoot.usage.accounts.sql import SqlSpendStore

VIEWS = 1_000  # models as a key sees them, kept for its next call
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
    """Keeps the allowances of keys and teams, with all processes that have the same database. Lives on one loop.

    Without one a budget above 0 cannot be kept, and refuses; requests and tokens a minute are counted for this process alone.
    """

    def __init__(self, database: Database | None) -> None:
        self._spend_store = None if database is None else SlicedSpendStore(SqlSpendStore(database))
        self._views: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._minutes = SharedMinutes(database)

    def check_budget(self, grant: KeyGrant) -> None:
        """Raise HttpError (429) where nothing may be spent at all."""
        for owner, allowance in owners(grant):
            if allowance.budget_nano == 0:
                raise HttpError(429, "budget_exceeded", f"the budget of {owner} is 0; nothing was sent", kind="insufficient_quota")

    async def take(self, exchange: HttpExchange) -> None:
        """Count a request, and what its prompt may come to. Raises HttpError (429), with how long to wait, and then counts nothing."""
        guess = len(exchange.body) // BYTES_A_TOKEN
        takes = []
        for owner, allowance in owners(exchange.grant):
            if allowance.requests_per_minute is not None:
                takes.append(Take(f"{owner}|requests", 1, allowance.requests_per_minute))
            if allowance.tokens_per_minute is not None:
                takes.append(Take(f"{owner}|tokens", guess, allowance.tokens_per_minute))
        if not takes:
            return
        refused = await self._minutes.take(takes)
        if refused is not None:
            one, wait_s = refused
            owner, _, what = one.name.partition("|")
            raise HttpError(
                429, "rate_limit_exceeded", f"{owner} may use {one.limit} {what} a minute, and has; nothing was sent", retry_after_s=wait_s
            )
        exchange.guessed_tokens = guess

    def settle(self, exchange: HttpExchange) -> None:
        """Put what was used in the place of what was guessed."""
        used = exchange.usage
        if used is None:
            return
        for owner, allowance in owners(exchange.grant):
            if allowance.tokens_per_minute is not None:
                self._minutes.add(f"{owner}|tokens", used.total_tokens - exchange.guessed_tokens, allowance.tokens_per_minute)

    async def aclose(self) -> None:
        """Give back what is in hand, and book what was spent."""
        await self._minutes.aclose()
        if self._spend_store is not None:
            await self._spend_store.aclose()

    def view(self, grant: KeyGrant, name: str, model: M) -> M:
        """The model as the key may ask it: within its budget and its team's."""
        own, theirs = grant.allowance, grant.team_allowance
        if not own.budget_nano and not theirs.budget_nano:
            return model
        if self._spend_store is None:
            raise HttpError(500, "misconfigured", "budgets want [serve] state: a database in which they are kept")
        key = (type(model).__name__, name, grant.key_id, own.budget_nano, own.period, grant.team, theirs.budget_nano, theirs.period)
        found: Any = self._views.get(key)
        if found is None:
            limits = [
                OwnerLimit(owner=owner, usd=one.budget_nano / NANO, period=one.period) for owner, one in owners(grant) if one.budget_nano
            ]
            found = self._views[key] = model.within(*limits, spend_store=self._spend_store)
            if len(self._views) > VIEWS:
                self._views.popitem(last=False)
        self._views.move_to_end(key)
        view: M = found
        return view


def owners(grant: KeyGrant) -> tuple[tuple[str, Allowance], ...]:
    """Who is charged: the key, and its team."""
    own = (f"key {grant.key_id}", grant.allowance)
    return (own, (f"team {grant.team}", grant.team_allowance)) if grant.team else (own,)
