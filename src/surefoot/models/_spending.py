"""How a target's stack keeps spend limits: where they are counted, what a call is expected to cost, what it did cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeAlias

from surefoot import runtime
from surefoot.core.stack import Layer
from surefoot.errors import Misconfigured
from surefoot.facts import output_limit
from surefoot.layers.guards.budget import Budget
from surefoot.models.endpoints import Endpoint
from surefoot.settings import SpendLimit
from surefoot.storage import is_redis_url
from surefoot.storage.sql import is_database_url, open_database
from surefoot.usage.prices import Price
from surefoot.usage.quotes import Quotes
from surefoot.usage.spend import SpendStore
from surefoot.usage.tokens import guess_usage

Budgets: TypeAlias = tuple[tuple[Sequence[SpendLimit], SpendStore], ...]  # limits, each with where they are kept


def open_spend_store(spec: str) -> SpendStore:
    """Where budgets of several processes are kept. Raises Misconfigured for an address that cannot be read."""
    if is_database_url(spec):
        from surefoot.usage.accounts.sql import OwnedSqlSpendStore

        return OwnedSqlSpendStore(open_database(spec))
    if not is_redis_url(spec):
        raise Misconfigured(
            "budget_store: write redis://HOST:PORT/0, postgresql://USER@HOST/NAME or sqlite:PATH, or leave it out to count in this process"
        )
    from surefoot.usage.redis_accounts import RedisSpendStore

    return RedisSpendStore(spec)


def budget_layers(endpoint: Endpoint, budgets: Budgets) -> tuple[Layer, ...]:
    """The layers that keep `budgets`; none where there is nothing to keep."""
    return tuple(_budget(endpoint, limits, spend_store) for limits, spend_store in budgets if limits and endpoint.price is not None)


def _budget(endpoint: Endpoint, limits: Sequence[SpendLimit], spend_store: SpendStore) -> Budget:
    assert endpoint.price is not None
    price, traits = endpoint.price, endpoint.traits
    quotes = Quotes(
        endpoint.name,
        cost=price.assumed,
        habits=endpoint.habits,
        output_limit=partial(_output_limit, endpoint.name),
        default_tokens=traits.answer_tokens,
        can_bound=traits.can_bound,
    )
    return Budget(
        target=endpoint.name,
        limits=limits,
        spend_store=spend_store,
        quote=quotes,
        price=price.cost,
        guess=partial(guess_usage, model=endpoint.name),
        note=quotes.note,
        ready=price_reader(price),
        clock=_date_s,
    )


def price_reader(price: Price) -> Callable[[str], Coroutine[Any, Any, None] | None]:
    """What reads the price of a model on a worker thread, if that is needed."""
    return lambda model: None if price.is_read(model) else runtime.in_thread(price.read, model)


def _date_s() -> float:
    """Seconds since 1970: a day on a bill is a calendar's day."""
    return time.time()  # noqa: TID251 - the loop's clock knows no date


def _output_limit(name: str, model: str) -> int | None:
    """The most tokens of one answer of `model`, at the provider of target `name`; None where nobody knows."""
    provider, _, own = name.partition(":")
    return output_limit(provider, model or own)
