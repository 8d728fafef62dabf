"""Doors: what is one for a target in the whole process, whoever asks it.

Targets that are the same (provider, model, address, key, limits) share one edge, one queue, one rate, one breaker and one retry budget,
whichever model object asks: there is only one place where limits are. They live on one home loop; when the home changes (a fork, a closed
adopted loop) they are opened anew with fresh connections.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from surefoot import registry, runtime
from surefoot.credentials import key_source, placed
from surefoot.errors import Misconfigured
from surefoot.layers.breaker import Breaker
from surefoot.layers.concurrency import Concurrency
from surefoot.layers.hedge import Hedge
from surefoot.layers.rate import Rate
from surefoot.prices import Price
from surefoot.rules.aimd import Limit
from surefoot.rules.backoff import ProcessBudget, RetryBudget
from surefoot.target import Policy, Target
from surefoot.tokens import estimate
from surefoot.types import KeySource, Traits

CONNECTING = frozenset({"openai", "anthropic", "google"})
# Of a Target: all else may change what it answers, so the cache tells targets apart by it.
PACE = ("requests_per_minute", "tokens_per_minute", "concurrency", "context_tokens")
NOT_IN_SCOPE = ("api_key", "lane", "input_usd_per_mtok", "output_usd_per_mtok", *PACE)


class Door:
    """One target's shared part: its edge and everything that must be counted in one place."""

    def __init__(self, name: str, edge: Any, target: Target | None, policy: Policy) -> None:
        self.name = name
        self.edge = edge
        self.traits: Traits = getattr(edge, "traits", Traits())
        self.price = Price(target, is_local=self.traits.is_local) if target is not None else None
        self.budget = RetryBudget(process=_process_budget)
        self.rate = Rate(
            target=name,
            requests_per_minute=target.requests_per_minute if target is not None else None,
            tokens_per_minute=target.tokens_per_minute if target is not None else None,
            estimate=partial(estimate, model=name),
        )
        self.hedges: dict[Any, Hedge] = {}  # by when they are sent; kept here, for they know this target's p95
        self.breaker = Breaker(
            target=name,
            window_s=policy.breaker_window_s,
            least_calls=policy.breaker_min_calls,
            ratio=policy.breaker_ratio,
            open_s=policy.breaker_open_s,
        )
        fixed = target.concurrency if target is not None else None
        learns = fixed is None and target is not None and not self.traits.is_local
        places = Limit.paced(self.rate.requests_per_minute) if learns else None
        self.concurrency = Concurrency(
            target=name,
            limit=fixed,
            adaptive=places,
            queue_size=policy.queue_size,
            failing=self.breaker.is_failing if policy.breaker else None,
        )


_process_budget = ProcessBudget()  # at most 100 extra attempts owed by this process, however many targets fail at once
_doors: WeakValueDictionary[tuple[Any, ...], Door] = WeakValueDictionary()
_exits: dict[int, Callable[[], None]] = {}  # the generation whose home closes the doors when it ends, and how to take that off


async def _close_all() -> None:
    """Close every open door's connections: the last words of a home loop."""
    await asyncio.gather(*(door.edge.aclose() for door in list(_doors.values()) if hasattr(door.edge, "aclose")), return_exceptions=True)


def _close_at_exit() -> None:
    generation = runtime.generation()
    if generation not in _exits:
        for take_off in _exits.values():
            take_off()
        _exits.clear()
        _exits[generation] = runtime.on_exit(_close_all)


def forget(doors: list[Door]) -> None:
    """They have been closed: whoever asks these targets next opens them anew."""
    for key, door in list(_doors.items()):
        if door in doors:
            del _doors[key]


def _close_soon(edge: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Nobody holds the door any more: close its connections on the loop they live on, if that still runs."""
    if loop.is_running():
        loop.call_soon_threadsafe(lambda: loop.create_task(edge.aclose()))


class Spec:
    """One target as given: checked, its key found; its door is opened later, on the home loop."""

    def __init__(self, given: Any, kind: str) -> None:
        self.target: Target | None = None
        self.edge: Any = None
        self.keys: KeySource | None = None
        if isinstance(given, str):
            given = Target(given)
        if isinstance(given, Target):
            entry = registry.provider(given.provider, lane=given.lane)
            target = placed(given, entry)
            registry.check_kind(target, kind)
            self.target = target
            self.keys = key_source(target, entry.key_variables)
            self.path = entry.path
            self.name = target.name
            if target.provider == "local":
                self.edge_class()(target, self.keys)  # says now, not at the first call, what is not installed
        elif hasattr(given, kind):
            self.edge = given
            self.name = str(getattr(given, "name", type(given).__name__.lower()))
        else:
            raise Misconfigured(f"a target is 'provider:model', a Target, or an edge with {kind}(call), not {type(given).__name__}")

    @property
    def scope(self) -> str:
        """What makes an answer this target's: everything said of it but who pays, how fast it may be asked, and what it costs."""
        if self.target is None:
            return self.name
        said = msgspec.structs.asdict(self.target) | dict.fromkeys(NOT_IN_SCOPE)
        client = said.pop("client")
        if client is not None:
            said["client"] = f"{type(client).__name__} {getattr(client, 'base_url', '')}"  # its repr names a place in memory
        return repr(sorted(said.items()))

    def edge_class(self) -> Any:
        """The provider's Edge class; its SDK is imported here."""
        return registry.load(self.path)

    def warm(self, policy: Policy) -> Any:
        """An edge for the door to come. Imports and TLS settings take seconds for some SDKs, so this runs on a worker thread."""
        target = self._reaching(policy)
        if target is None or self._key(policy) in _doors:
            return None
        edge = self.edge_class()(target, self.keys)
        Price(target, is_local=edge.traits.is_local)  # reads the price list once a process, a second of work
        return edge

    def _key(self, policy: Policy) -> tuple[Any, ...]:
        shared = (policy.queue_size, policy.breaker_window_s, policy.breaker_min_calls, policy.breaker_ratio, policy.breaker_open_s)
        return (runtime.generation(), self._reaching(policy) or id(self.edge), *shared)

    def door(self, policy: Policy, edge: Any = None) -> Door:
        """The shared door, opened (with `edge`, if it was made beforehand) unless it already is in this generation of the home loop."""
        key = self._key(policy)
        door = _doors.get(key)
        if door is None:
            target = self._reaching(policy)
            if target is not None and edge is None:
                edge = self.edge_class()(target, self.keys)
            door = _doors[key] = Door(self.name, edge or self.edge, target, policy)
            if target is not None:
                weakref.finalize(door, _close_soon, door.edge, runtime.home()).atexit = False
            _close_at_exit()
        return door

    def _reaching(self, policy: Policy) -> Target | None:
        """The target with the policy's connect timeout, where its provider opens connections and it names none itself."""
        target = self.target
        if target is None or policy.connect_s == Policy().connect_s or target.provider not in CONNECTING:
            return target
        options = dict(target.options)
        return msgspec.structs.replace(target, options=tuple({"connect_s": policy.connect_s, **options}.items()))
