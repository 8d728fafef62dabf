"""What ChatModel and EmbedModel share: targets, policy, the stack, subscribers, closing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from surefoot import runtime
from surefoot.events import Subscriber
from surefoot.secret import Secret, locals_cleared
from surefoot.settings import Policy, Target
from surefoot.types import Store, Traits

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.usage.ledger import Ledger

TargetLike: TypeAlias = "str | Target | Any"  # Any: a Provider of one's own (surefoot.testing.Scripted)
T = TypeVar("T")


class _Model:
    """What both models share: targets, policy, layers, subscribers."""

    _kind = "chat"

    def __init__(
        self,
        *targets: TargetLike | Sequence[TargetLike],
        policy: Policy | None = None,
        cache: str | Secret | Store | None = None,
        ledger: str | Path | Ledger | None = None,
    ) -> None:
        """Check everything that can be checked without asking anybody; raises Misconfigured naming the remedy."""
        cache = Secret(cache) if isinstance(cache, str) else cache  # an address may hold a password
        self.policy = policy or Policy()
        from surefoot.models.build import ModelStack  # all layers: half of what importing a model would cost, needed once one is built

        with locals_cleared():
            self._stack = ModelStack(targets, policy=self.policy, cache=cache, kind=self._kind)
        self._subscribers: dict[Any, Callable[[Any], None]] = {}
        self._listeners: tuple[Callable[[Any], None], ...] = ()
        if ledger is not None:
            from surefoot.usage.ledger import Ledger as OpenedSystem

            self.subscribe(ledger if isinstance(ledger, OpenedSystem) else OpenedSystem(ledger), inline=True)

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of the targets, in order of preference."""
        return self._stack.names

    @property
    def traits(self) -> Traits:
        """What the first target can do, as its provider knows it: context window, tools, pictures, schemas."""
        return self._stack.traits

    def describe(self) -> str:
        """The layers, in order, with their settings; no secrets."""
        return self._stack.describe()

    def subscribe(self, callback: Callable[[Any], None], *, inline: bool = False) -> Callable[[], None]:
        """Hear every event of this model's calls; returns a function that ends it.

        Callbacks run on a thread of their own, in order; `inline=True` runs them on the background loop where things happen (they must be
        quick).
        """
        self._subscribers[callback] = callback if inline else Subscriber(callback)
        self._listeners = tuple(self._subscribers.values())

        def end() -> None:
            self._subscribers.pop(callback, None)
            self._listeners = tuple(self._subscribers.values())

        return end

    def flush_events(self) -> None:
        """Block until every subscriber has heard what happened so far."""
        for listener in self._listeners:
            if isinstance(listener, Subscriber):
                listener.flush()

    async def _handle(self, call: Any) -> Any:
        return await (self._stack.ready() or self._stack.opening)(call)

    async def aclose(self) -> None:
        """End this model's calls under way (ConnectionLost) and close the connections no other model uses; a later call opens new ones."""
        await runtime.arun(self._stack.aclose())

    def close(self) -> None:
        """`aclose` for sync callers."""
        runtime.run(self._stack.aclose())


def _asked(call: Any) -> Any:
    """`call`, asked now: its deadline runs from here, also where the background loop takes it up later."""
    if runtime.crosses():
        call.state.asked_s = time.monotonic()
    return call
