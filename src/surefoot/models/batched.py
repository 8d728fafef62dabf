"""A model whose first target is asked by another lane, such as in a vendor's batches: at its own price, without limits of pace."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from msgspec.structs import replace

from surefoot.models.build import ModelStack
from surefoot.models.endpoints import Lease, ResolvedTarget
from surefoot.providers.batches import Keys, check_target
from surefoot.providers.http.exchange import Lane
from surefoot.settings import Policy, Target
from surefoot.usage.prices import Price

UNBOUNDED = 1_000_000  # calls at once: they wait together for one batch
PATIENT = {  # what a call does that waits for hours, and is asked once
    "deadline_s": None, "first_token_s": None, "idle_s": None, "attempts": 1, "attempts_per_target": 1, "hedge_after": None,
    "breaker": False, "coalesce": False, "resume": False, "shared": "",
}  # fmt: skip


LaneFor: TypeAlias = Callable[[Target, Keys], Lane]  # made of the target and what gives its key for each request


class BatchTarget(ResolvedTarget):
    """One target as another one was given, with an endpoint of its own that sends by `lane`."""

    def __init__(self, given: ResolvedTarget, lane: LaneFor, *, share: float) -> None:
        """Raises Misconfigured for a target whose vendor takes no batches."""
        vars(self).update(vars(given))
        self.target = replace(check_target(given.target), concurrency=UNBOUNDED, requests_per_minute=None, tokens_per_minute=None)
        self._lane = lane
        self._share = share

    def _provider(self, target: Target) -> Any:
        provider = super()._provider(target)
        provider.reroute(partial(self._lane, target))
        return provider

    def _key(self, policy: Policy) -> tuple[Any, ...]:
        return (*super()._key(policy), self)

    def lease(self, policy: Policy, provider: Any = None) -> Lease:
        """A lease on the endpoint, with the price that is paid here."""
        lease = super().lease(policy, provider)
        assert self.target is not None
        lease.endpoint.price = Price(self.target, share=self._share)
        return lease


class BatchStack(ModelStack):
    """The layers of another stack, patient and around its first target alone. What the other one opened is the other's to close."""

    def __init__(self, given: ModelStack, lane: LaneFor, *, share: float) -> None:
        vars(self).update(vars(given))
        self._opened, self._embedder = [], None
        self._groups = [[BatchTarget(self._groups[0][0], lane, share=share)]]
        self.names = (self._groups[0][0].name,)
        self.policy = replace(self.policy, **PATIENT)
        self.start()
