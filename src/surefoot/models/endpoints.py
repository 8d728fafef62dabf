"""Endpoints: what one target shares in the whole process, whichever model calls it.

Targets that are the same (provider, model, address, key, limits) share one provider, one queue, one rate, one breaker and one retry budget,
whichever model object asks: there is only one place where limits are. They live on one background loop; when the background loop changes (a
fork, a closed adopted loop) they are opened anew with fresh connections.

They are reference-counted. A model holds a Lease on each of its endpoints until it is closed or collected, and a call under way keeps its
model's leases; the last release closes the connections. Endpoints are found, made and released under one lock, from whatever thread.

Connections are closed by a task of its own, which nobody's cancellation reaches; what it has not closed when the background loop ends, the
exit callback closes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from surefoot import runtime
from surefoot.credentials import keys_of, placed
from surefoot.errors import Misconfigured
from surefoot.layers.guards.breaker import Breaker
from surefoot.layers.guards.concurrency import Concurrency
from surefoot.layers.guards.rate import Rate
from surefoot.layers.guards.shared import Shared
from surefoot.layers.repeat.hedge import Hedge
from surefoot.models._sharing import shared_limits
from surefoot.providers import registry
from surefoot.rules.aimd import Limit
from surefoot.rules.retry_budget import ProcessBudget, RetryBudget
from surefoot.secret import locals_cleared
from surefoot.settings import DEFAULTS, Policy, Target
from surefoot.types import KeySource, Traits
from surefoot.usage.habits import Habits
from surefoot.usage.prices import Price
from surefoot.usage.tokens import estimate

# Of a Target: all else may change what it answers, so the cache tells targets apart by it.
PACE = ("requests_per_minute", "tokens_per_minute", "concurrency", "context_tokens")
NOT_IN_SCOPE = ("api_key", "lane", "input_usd_per_mtok", "output_usd_per_mtok", *PACE)


class Endpoint:
    """One target's shared part: its edge and everything that must be counted in one place."""

    def __init__(self, name: str, provider: Any, target: Target | None, policy: Policy, key: tuple[Any, ...]) -> None:
        self.key = key  # what it is found by; begins with the generation of the background loop it lives on
        self.leases = 0  # changed under the lock only
        self.is_ours = target is not None  # we made the provider, so we close it; one that was given is closed by `close()` alone
        self.name = name
        self.provider = provider
        self.price = Price(target, is_local=self.traits.is_local) if target is not None else None
        self.habits = Habits()
        self.budget = RetryBudget(process=_process_budget)
        self.source = None if target is None or self.traits.is_local else shared_limits(target, policy)
        self.shared = None if self.source is None else Shared(target=name, source=self.source)
        self.rate = Rate(
            target=name,
            requests_per_minute=target.requests_per_minute if target is not None else None,
            tokens_per_minute=target.tokens_per_minute if target is not None else None,
            estimate=partial(estimate, model=name),
            leased=None if self.source is None else (self.source.requests, self.source.tokens),
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
        if self.source is not None:
            self.source.attach(self.concurrency, self.breaker if policy.breaker else None)
            self.concurrency.on_wait = self.source.kick

    @property
    def is_open(self) -> bool:
        """Whether there is anything to close."""
        return self.source is not None or hasattr(self.provider, "aclose")

    async def aclose(self) -> None:
        """Give back what is shared with other processes, and close the connections."""
        if self.source is not None:
            await self.source.aclose()
        if hasattr(self.provider, "aclose"):
            await self.provider.aclose()

    @property
    def traits(self) -> Traits:
        """What the provider can do, as far as it knows by now: refusals teach it."""
        return getattr(self.provider, "traits", NO_TRAITS)


NO_TRAITS = Traits()  # of a provider that does not say
_log = logging.getLogger(__name__)
_process_budget = ProcessBudget()  # at most 100 extra attempts owed by this process, however many targets fail at once
_endpoints: WeakValueDictionary[tuple[Any, ...], Endpoint] = WeakValueDictionary()
_lock = threading.Lock()  # over `_endpoints` and the counts; never held while anything is built, imported or awaited
_exits: dict[int, Callable[[], None]] = {}  # the generation whose home closes the endpoints when it ends, and how to take that off
_left_behind: list[Endpoint] = []  # a parent process's
_closing: set[asyncio.Task[None]] = set()  # strong references, else a close may be collected before it ran
_unclosed: set[Endpoint] = set()  # nobody finds them any more, but their connections may still be open


class Lease:
    """One holder's claim on a shared endpoint. Made under the lock; given back by `release()`, or when it is collected."""

    __slots__ = ("__weakref__", "_collected", "endpoint")

    def __init__(self, endpoint: Endpoint) -> None:
        endpoint.leases += 1
        self.endpoint = endpoint
        self._collected = weakref.finalize(self, _release_later, endpoint)
        self._collected.atexit = False

    def release(self) -> bool:
        """Give it back, once. True if it was the last one: nobody finds the endpoint any more, and whoever released it closes its edge."""
        return self._collected.detach() is not None and _release(self.endpoint)


def _release(endpoint: Endpoint) -> bool:
    with _lock:
        endpoint.leases -= 1
        if endpoint.leases:
            return False
        if _endpoints.get(endpoint.key) is endpoint:
            del _endpoints[endpoint.key]
        return True


def _release_later(endpoint: Endpoint) -> None:
    """A lease was collected: count it on the background loop. The collector runs anywhere, also while this very thread holds the lock."""
    runtime.post(partial(_release_and_close, endpoint), generation=endpoint.key[0])  # a home that has gone has closed its endpoints itself


def _release_and_close(endpoint: Endpoint) -> None:
    if _release(endpoint) and endpoint.is_ours:
        _close(endpoint)


def release(leases: Iterable[Lease]) -> list[asyncio.Task[None]]:
    """Give `leases` back, on the background loop. What closes the connections that nobody uses any more, whether or not it is awaited."""
    return [_close(lease.endpoint) for lease in leases if lease.release() and lease.endpoint.is_open]


def _close(endpoint: Endpoint) -> asyncio.Task[None]:
    _unclosed.add(endpoint)
    return beside(_close_provider(endpoint))


async def _close_provider(endpoint: Endpoint) -> None:
    try:
        await endpoint.aclose()
    except Exception:
        _unclosed.discard(endpoint)  # it is not tried again
        raise
    _unclosed.discard(endpoint)


def beside(closing: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Let `closing` run to its end on the running loop, whoever waits for it."""
    task = asyncio.get_running_loop().create_task(closing)
    _closing.add(task)
    task.add_done_callback(_closed)
    return task


def _closed(task: asyncio.Task[None]) -> None:
    _closing.discard(task)
    if not task.cancelled() and task.exception() is not None:
        _log.info("connections that nobody used any more failed while being closed: %s", type(task.exception()).__name__)


async def _close_all(generation: int) -> None:
    """Close the connections of every endpoint of that background loop: its exit callback. A forked child leaves its parent's alone."""
    with _lock:
        endpoints = [endpoint for endpoint in (*_endpoints.values(), *_unclosed) if endpoint.key[0] == generation]
    _unclosed.difference_update(endpoints)
    await asyncio.gather(*(endpoint.aclose() for endpoint in endpoints if endpoint.is_open), return_exceptions=True)


def _close_at_exit(generation: int) -> None:
    """Under the lock."""
    if generation not in _exits:
        for take_off in _exits.values():
            take_off()
        _exits.clear()
        _exits[generation] = runtime.on_exit(partial(_close_all, generation))


def _after_fork() -> None:
    """In the child. The parent's endpoints are kept from the garbage collector: an SDK's client would close connections the two share."""
    global _lock  # noqa: PLW0603 - another thread of the parent may have held the one that was inherited
    _lock = threading.Lock()
    _left_behind.extend((*_endpoints.values(), *_unclosed))
    _unclosed.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class ResolvedTarget:
    """One target as given: checked, its key found; its endpoint is opened later, on the background loop."""

    def __init__(self, given: Any, kind: str) -> None:
        self.target: Target | None = None
        self.provider: Any = None
        self.keys: KeySource | None = None
        if isinstance(given, str):
            given = Target(given)
        if isinstance(given, Target):
            with locals_cleared():
                self._resolve(given, kind)
        elif hasattr(given, kind):
            self.provider = given
            self.name = str(getattr(given, "name", type(given).__name__.lower()))
        else:
            raise Misconfigured(f"a target is 'provider:model', a Target, or a provider with {kind}(call), not {type(given).__name__}")

    def _resolve(self, given: Target, kind: str) -> None:
        """Find the target's key, and what the environment says of it. Raises Misconfigured."""
        entry = registry.provider(given.provider, lane=given.lane, model=given.model)
        target = placed(given, entry)
        registry.check_kind(target, kind)
        self.target = target
        self.keys = keys_of(target, entry)
        self.path = entry.path
        self.name = target.name
        if target.provider == "local":
            self._provider(target)  # says now, not at the first call, what is not installed

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

    def _provider(self, target: Target) -> Any:
        """A provider of its own; the provider's SDK is imported here. Raises Misconfigured."""
        with locals_cleared():
            return registry.load(self.path)(target, self.keys)

    def warm(self, policy: Policy) -> Any:
        """A provider for the endpoint to come. Imports and TLS settings take seconds for some SDKs, so this runs on a worker thread."""
        target = self._reaching(policy)
        if target is None or self._key(policy) in _endpoints:
            return None
        provider = self._provider(target)
        Price(target, is_local=provider.traits.is_local)  # reads the price list once a process, a second of work
        return provider

    def _key(self, policy: Policy) -> tuple[Any, ...]:
        breaker = (policy.breaker_window_s, policy.breaker_min_calls, policy.breaker_ratio, policy.breaker_open_s)
        others = (policy.shared, policy.shared_namespace, policy.shared_when_away)
        return (runtime.generation(), self._reaching(policy) or id(self.provider), policy.queue_size, *breaker, *others)

    def lease(self, policy: Policy, provider: Any = None) -> Lease:
        """A lease on the shared endpoint, made (with `provider`, if it was made beforehand) unless this generation has one.

        Two threads that come at once may both make one; the second to finish takes the first one's, and its own has opened nothing yet.
        """
        if self.target is not None:
            runtime.home()  # started first: a home that starts in between would be another generation
        key = self._key(policy)
        with _lock:
            found = _endpoints.get(key)
            if found is not None:
                return Lease(found)
        target = self._reaching(policy)
        if target is not None and provider is None:
            provider = self._provider(target)
        made = Endpoint(self.name, provider or self.provider, target, policy, key)
        with _lock:
            _close_at_exit(key[0])
            return Lease(_endpoints.setdefault(key, made))

    def _reaching(self, policy: Policy) -> Target | None:
        """The target with the policy's connect timeout, where its provider opens connections and it names none itself."""
        target = self.target
        if target is None or policy.connect_s == DEFAULTS.connect_s or not registry.provider(target.provider).address:
            return target
        options = dict(target.options)
        return msgspec.structs.replace(target, options=tuple({"connect_s": policy.connect_s, **options}.items()))
