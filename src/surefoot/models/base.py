"""What ChatModel and EmbedModel share: targets, policy, the stack, subscribers, closing."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeAlias, TypeVar

from surefoot import runtime
from surefoot.errors import SurefootError
from surefoot.events import Subscriber
from surefoot.models.states import TargetStatus, state_of
from surefoot.secret import Secret, locals_cleared
from surefoot.settings import Policy, SpendLimit, Target
from surefoot.types import Store, Traits

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.models.batched import LaneFor
    from surefoot.models.build import ModelStack
    from surefoot.usage.ledger import Ledger
    from surefoot.usage.spend import SpendStore

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
        ledger: str | Path | Secret | Ledger | None = None,
    ) -> None:
        """Check everything that can be checked without asking anybody; raises Misconfigured naming the remedy."""
        cache = Secret(cache) if isinstance(cache, str) else cache  # an address may hold a password
        ledger = Secret(ledger) if isinstance(ledger, str) else ledger
        self.policy = policy or Policy()
        from surefoot.models.build import ModelStack  # all layers: half of what importing a model would cost, needed once one is built

        with locals_cleared():
            self._stack = ModelStack(targets, policy=self.policy, cache=cache, kind=self._kind)
        self._listeners: tuple[Callable[[Any], None], ...] = ()
        self._ledger: Ledger | None = None  # one that we opened
        self._origin: Any = None  # of a view: the model it is of, which holds what both use
        if ledger is not None:
            from surefoot.usage.ledger import Ledger

            if not isinstance(ledger, Ledger):
                ledger = self._ledger = Ledger.at(ledger)
            self.subscribe(ledger, inline=True)

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

    def states(self) -> tuple[TargetStatus, ...]:
        """How each target stands at this moment: breaker, places, queue. Empty before the first call and after closing."""
        return tuple(map(state_of, self._stack._endpoints))  # noqa: SLF001 - of the same package

    def subscribe(self, callback: Callable[[Any], None], *, inline: bool = False) -> Callable[[], None]:
        """Hear every event of this model's calls; returns a function that ends it.

        Callbacks run on a thread of their own, in order; `inline=True` runs them on the background loop where things happen (they must be
        quick).
        """
        listener = callback if inline else Subscriber(callback)
        self._listeners = (*self._listeners, listener)

        def end() -> None:
            self._listeners = tuple(one for one in self._listeners if one is not listener)
            if isinstance(listener, Subscriber):
                listener.close()

        return end

    def flush_events(self) -> None:
        """Block until every subscriber has heard what happened so far."""
        for listener in self._listeners:
            if isinstance(listener, Subscriber):
                listener.flush()

    def within(self, *limits: SpendLimit, spend_store: SpendStore) -> Self:
        """The model with further spend limits, kept in `spend_store`: a view that shares its targets, limits, cache and subscribers.

        A job's budget is one. Closing the view ends its own calls alone; the model itself must outlive it.
        """
        stack = copy.copy(self._stack)
        stack.limit_further(limits, spend_store)
        return self._view(stack)

    def rerouted(self, lane: LaneFor, *, share: float) -> Self:
        """The model's first target alone, asked by `lane` at `share` of its price: a view, as `within` gives one.

        It waits as long as it takes and asks once; cache, spend limits and subscribers are the model's. Raises Misconfigured for a vendor
        that takes no batches.
        """
        from surefoot.models.batched import BatchStack

        return self._view(BatchStack(self._stack, lane, share=share))

    def _view(self, stack: ModelStack) -> Self:
        view = object.__new__(type(self))
        vars(view).update(vars(self) | {"_stack": stack, "_ledger": None, "_origin": self})
        return view

    async def awarm(self) -> dict[str, SurefootError]:
        """Do before the first call what it would wait for: imports, certificates, price lists, model files, a connection for each target.

        Nothing is asked and nothing spent. Returns what failed, by target, and raises none of it: a fallback may serve all the same. May be
        called again at any time; what is warm stays as it is. A connection stays open for half a minute without a call; those of a client
        of your own (`Target(client=...)`) are opened by calls alone.
        """
        return await runtime.arun(self._stack.warm())

    def warm(self) -> dict[str, SurefootError]:
        """`awarm` for sync callers."""
        return runtime.run(self._stack.warm())

    async def _handle(self, call: Any) -> Any:
        return await (self._stack.ready() or self._stack.opening())(call)

    async def aclose(self, *, drain_s: float = 0.0) -> None:
        """End this model's calls under way (ConnectionLost) and close the connections no other model uses; a later call opens new ones.

        They get `drain_s` seconds to end by themselves first. `async with ChatModel(...) as chat:` closes it at the end.
        """
        await runtime.arun(self._close(drain_s))

    def close(self, *, drain_s: float = 0.0) -> None:
        """`aclose` for sync callers; `with ChatModel(...) as chat:` closes it at the end."""
        runtime.run(self._close(drain_s))

    async def _close(self, drain_s: float) -> None:
        try:
            await self._stack.aclose(drain_s=drain_s)
        finally:
            for listener in self._listeners if self._origin is None else ():  # a view's are the model's
                if isinstance(listener, Subscriber):
                    listener.close()
            if self._ledger is not None:
                await runtime.in_thread(self._ledger.close)

    def __reduce__(self) -> NoReturn:
        """Refuse: connections and limits are one process's, and a key must not be written down."""
        how = "build it in the process that uses it, by surefoot.load(...) or from its targets (keys as 'env:NAME') and policy"
        raise TypeError(f"{type(self).__name__} cannot be pickled: {how}")

    def __deepcopy__(self, _: object = None) -> Self:
        """The model itself: a copy would share its connections and its `close()` all the same."""
        return self

    __copy__ = __deepcopy__

    def __enter__(self) -> Self:
        """The model itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    async def __aenter__(self) -> Self:
        """The model itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.aclose()


def _asked(call: Any) -> Any:
    """`call`, asked now: its deadline runs from here, also where the background loop takes it up later."""
    if runtime.crosses():
        call.state.asked_s = time.monotonic()
    return call
