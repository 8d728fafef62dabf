"""From targets and a policy to layers in a row: the one place that names layers and puts them together."""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from itertools import zip_longest
from typing import Any, NamedTuple

from surefoot import runtime
from surefoot.core.stack import Handler, Layer, Stack, describe, stack
from surefoot.errors import Misconfigured, Refused, SurefootError
from surefoot.layers.repeat.balance import Balance
from surefoot.layers.repeat.fallback import Fallback
from surefoot.layers.repeat.hedge import Hedge
from surefoot.layers.repeat.resume import Resume
from surefoot.layers.repeat.retry import Retry
from surefoot.layers.reuse.batch import Batch
from surefoot.layers.reuse.cache import Cache
from surefoot.layers.reuse.coalesce import Coalesce
from surefoot.layers.reuse.semantic import Semantic as SemanticLayer
from surefoot.layers.watch.attempt import Attempt
from surefoot.layers.watch.context_window import ContextWindow
from surefoot.layers.watch.deadline import Deadline
from surefoot.layers.watch.lifetime import Lifetime, until
from surefoot.layers.watch.timeout import Timeout
from surefoot.layers.watch.trace import Trace
from surefoot.models._sharing import shared_url
from surefoot.models._spending import Budgets, budget_layers, open_spend_store, price_reader
from surefoot.models.endpoints import Endpoint, Lease, ResolvedTarget, beside, release
from surefoot.models.opened import OpenedStore
from surefoot.secret import Secret
from surefoot.settings import DEFAULTS, Policy, Semantic, SpendLimit
from surefoot.storage import open_store
from surefoot.types import Call, Store, Traits
from surefoot.usage.spend import LocalSpendStore, SpendStore
from surefoot.usage.tokens import estimate_window, guess_usage

UNWIND_S = 1.0  # what calls that were ended get to clean up, which takes milliseconds


class _Built(NamedTuple):
    """What was built for one generation of the background loop. All of it is swapped at once, so that no thread sees half of it."""

    generation: int
    handler: Handler
    traced: Handler  # the same without the outermost layer, for a call that is traced already
    leases: tuple[Lease, ...]
    lifetime: Lifetime
    cache: Cache | None

    @property
    def endpoints(self) -> list[Endpoint]:
        """What the targets share with other models, in the targets' order."""
        return [lease.endpoint for lease in self.leases]

    def idle(self) -> bool:
        """No call is under way, and nothing is being written behind one's back."""
        return self.lifetime.idle() and (self.cache is None or self.cache.idle())


class ModelStack:
    """The layers of one model object: `handler()` gives the outermost, built at first use on the background loop."""

    def __init__(self, targets: Sequence[Any], *, policy: Policy, cache: str | Secret | Store | None, kind: str) -> None:
        if not targets:
            raise Misconfigured(f"name at least one target, for example {'ChatModel' if kind == 'chat' else 'EmbedModel'}('openai:...')")
        self.policy = policy
        self.kind = kind
        where = cache.reveal() if isinstance(cache, Secret) else cache
        self._opened: list[OpenedStore[Any]] = []  # by us, and by others who name the same addresses
        if isinstance(where, str) and where != "memory":
            self._opened.append(OpenedStore(open_store, where))
            where = self._opened[0].store
        self.store = None if where is None else open_store(where)  # outlives the background loop, as answers do
        self._groups = [
            [ResolvedTarget(one, kind) for one in given]
            if isinstance(given, Sequence) and not isinstance(given, str)
            else [ResolvedTarget(given, kind)]
            for given in targets
        ]
        if any(not group for group in self._groups):
            raise Misconfigured("a list of equal targets is empty")
        self.names = tuple(spec.name for group in self._groups for spec in group)  # the targets', in order of preference
        whole = () if policy.budget_usd is None else (SpendLimit(usd=policy.budget_usd, mode=policy.budget_mode),)
        self._limits = (*whole, *policy.budgets)
        self.spend_store: SpendStore = LocalSpendStore()
        shared = shared_url(policy)  # an address that is none is told here, not by the first call
        if accounts := policy.budget_store or (shared if self._limits else ""):
            self._opened.append(OpenedStore(open_spend_store, accounts))
            self.spend_store = self._opened[-1].store
        self._budgets: Budgets = ((self._limits, self.spend_store),)
        self._caches: Callable[[Cache], tuple[Layer, ...]] = lambda cache: (cache,)
        self._embedder: Any = None
        self.start()

    def start(self) -> None:
        """Nothing is built yet, and nobody waits."""
        self._built: _Built | None = None
        self._opening: asyncio.Task[_Built] | None = None
        self._waiting = Lifetime()  # of calls that wait until the layers are built
        self._batches = 0  # under way
        self._closings = 0  # so far
        self._lock = threading.Lock()  # over `_built`; never held while building

    def limit_further(self, limits: Sequence[SpendLimit], spend_store: SpendStore) -> None:
        """Make a copy of another stack one of its own, with further spend limits. What the other one opened is the other's to close."""
        self._budgets = (*self._budgets, (limits, spend_store))
        self._opened, self._embedder = [], None
        self.start()

    def recognise(self, said: Semantic, embed: Any, *, owned: bool) -> None:
        """Answer the same question in other words too, where `embed`, an EmbedModel, finds them alike; if `owned`, it is closed with us."""
        if self.store is None:
            raise Misconfigured('semantic needs a cache to keep its answers in: write cache="memory" or cache="sqlite:PATH" beside it')
        threshold, alike, patience_s = said.threshold_for(embed.targets), embed.likeness, said.patience_s
        self._caches = lambda cache: (cache, SemanticLayer(cache, alike=alike, threshold=threshold, patience_s=patience_s))
        self._embedder = embed if owned else None

    @property
    def traits(self) -> Traits:
        """What the first target can do, as its provider knows it."""
        return self._ensure().endpoints[0].traits

    @property
    def space(self) -> str:
        """The embedding space id of the first target."""
        return self.traits.space

    @property
    def _endpoints(self) -> list[Endpoint]:
        """The endpoints in use; none before the first call and after closing."""
        return self._built.endpoints if self._built is not None else []

    def handler(self, providers: Sequence[Any] = ()) -> Handler:
        """The outermost layer, for the present background loop."""
        return self._ensure(providers).handler

    def ready(self) -> Handler | None:
        """The outermost layer if it is built for the present background loop; else await `open()`."""
        built = self._built
        return built.handler if built is not None and built.generation == runtime.generation() else None

    def opening(self) -> Handler:
        """What a call goes through that finds nothing built: the time that building takes counts. Kept, it would keep this stack alive."""
        given_s = self.policy.deadline_s
        has_none = self.kind == "embed" and given_s == DEFAULTS.deadline_s  # a local model reads its files for as long as it takes
        return stack(self._open_and_ask, Trace(), Deadline(deadline_s=None if has_none else given_s), name=self.kind)

    async def open(self) -> Handler:
        """Build the layers on the background loop; imports and model files are read on a worker thread first."""
        return (await self._open()).handler

    async def warm(self) -> dict[str, SurefootError]:
        """Build, and have each provider read its files and open a connection; what failed, by target."""
        failed: dict[str, SurefootError] = {}
        for spec in (spec for group in self._groups for spec in group):
            try:
                await runtime.in_thread(spec.warm, self.policy)
            except SurefootError as error:
                failed[spec.name] = error
        if not failed:
            await self._open()
        warming = {endpoint.name: endpoint.provider.warm() for endpoint in self._endpoints if hasattr(endpoint.provider, "warm")}
        for name, said in zip(warming, await asyncio.gather(*warming.values(), return_exceptions=True), strict=True):
            if isinstance(said, SurefootError):
                failed[name] = said
            elif said is not None:
                raise said
        return failed

    async def _open_and_ask(self, call: Call[Any]) -> Any:
        return await (await self._waiting(call, lambda _: self._open())).traced(call)

    async def _open(self) -> _Built:
        """Build once for all calls that wait; one that waits no longer leaves the others their building."""
        opening = self._opening
        if opening is None or opening.done() or opening.get_loop() is not asyncio.get_running_loop():
            opening = self._opening = asyncio.create_task(self._open_all(), context=contextvars.Context())
            opening.add_done_callback(_heard)
        return await asyncio.shield(opening)

    async def _open_all(self) -> _Built:
        specs = [spec for group in self._groups for spec in group]
        await runtime.in_thread(_import_late, self.kind)
        return self._ensure([await runtime.in_thread(spec.warm, self.policy) for spec in specs])

    @contextmanager
    def held(self) -> Iterator[Handler]:
        """How to ask many calls that belong together: closing the model ends those that have not been asked yet, too."""
        closings = self._closings

        async def ask(call: Call[Any]) -> Any:
            if self._closings != closings:
                raise Refused("the model was closed before this call of the batch was sent; nothing was spent on it")
            return await (self.ready() or self.opening())(call)

        self._batches += 1
        try:
            yield ask
        finally:
            self._batches -= 1

    def _ensure(self, providers: Sequence[Any] = ()) -> _Built:
        """What is built for the present background loop. Of two threads that build at once the first to finish wins."""
        built = self._built
        if built is not None and built.generation == runtime.generation():
            return built
        fresh = self._build(providers)
        with self._lock:
            built = self._built
            if built is None or built.generation != fresh.generation:
                self._built = built = fresh
        return built

    def describe(self) -> str:
        """The layers in order."""
        return describe(self.handler())

    async def aclose(self, *, drain_s: float = 0.0) -> None:
        """End this model's calls, close what no other model uses, and the store it opened; a later call opens all again.

        What is under way gets `drain_s` seconds to end by itself. Once begun, closing goes on when its caller is cancelled.
        """
        if not 0 <= drain_s < math.inf:
            raise Misconfigured(f"drain_s = {drain_s!r} must be a number of seconds, 0 or more: how long calls may go on before they end")
        try:
            await until(self._idle, drain_s)
        finally:
            with self._lock:
                built, self._built = self._built, None
            if built is not None and built.generation != runtime.generation():
                built = None  # those of another background loop went with it, or are a parent process's
            self._closings += 1
            waiting, self._waiting = self._waiting, Lifetime()
            waiting.end()
            if self._opening is not None and self._opening.get_loop() is asyncio.get_running_loop():
                self._opening.cancel()
            await asyncio.shield(beside(self._close(built)))

    def _idle(self) -> bool:
        """No call is under way, and no batch."""
        return not self._batches and self._waiting.idle() and (self._built is None or self._built.idle())

    async def _close(self, built: _Built | None) -> None:
        closing: list[asyncio.Task[None]] = []
        if built is not None:
            built.lifetime.end()
            closing += release(built.leases)
            await until(built.idle, UNWIND_S)  # they settle their reservations and give their locks back
        closing += [beside(one.store.aclose()) for one in self._opened if one.release()]
        if self._embedder is not None:
            closing.append(beside(self._embedder.aclose()))
        await asyncio.gather(*closing)

    def _build(self, providers: Sequence[Any]) -> _Built:
        _import_late(self.kind)
        policy = self.policy
        for one in self._opened:
            one.hold()
        specs = [spec for group in self._groups for spec in group]
        leases = tuple(spec.lease(policy, provider) for spec, provider in zip_longest(specs, providers))
        every = [lease.endpoint for lease in leases]
        self._check_spaces(every)
        endpoints = iter(every)
        groups = [[next(endpoints) for _ in group] for group in self._groups]
        # Also for a single target: it refuses before sending what the target cannot do.
        inner: Handler = Fallback(
            handlers=[self._group(group) for group in groups],
            names=[" | ".join(endpoint.name for endpoint in group) for group in groups],
            traits=[group[0].traits for group in groups],
            attempts=policy.attempts,
            estimate=partial(estimate_window, model=every[0].name),
        )
        deadline_s = policy.deadline_s
        if self.kind == "embed" and deadline_s == DEFAULTS.deadline_s and all(endpoint.traits.is_local for endpoint in every):
            deadline_s = None  # work in this process goes on while it gets on; nobody's default shall throw half an index away
        layers: list[Layer] = [Trace(), Deadline(deadline_s=deadline_s)]
        cache = None if self.store is None else self._cache(self.store, every[0].traits.space)
        if cache is not None:
            layers += self._caches(cache)
        if policy.coalesce is not False:
            layers.append(Coalesce(always=policy.coalesce is True, cached=self.store is not None))
        if policy.resume and self.kind == "chat":
            layers.append(Resume(attempts=policy.attempts))
        if policy.overflow != "refuse" and self.kind == "chat":
            layers.append(ContextWindow(tokens=partial(_window, every), how=policy.overflow, model=every[0].name))
        if self.kind == "embed":
            tokens = [endpoint.traits.max_batch_tokens for endpoint in every if endpoint.traits.max_batch_tokens is not None]
            layers.append(Batch(max_texts=partial(_batch_texts, every), max_tokens=min(tokens, default=None)))
        lifetime = Lifetime(*leases)
        layers.append(lifetime)  # inside all that shares or keeps answers: work behind a caller's back is a call like any other
        if self.kind == "embed" or policy.resume or (self.store is not None and not hasattr(self.store, "recall")):
            layers.insert(2, lifetime)  # also outside of what waits, or asks several times, before or after a call inside
        handler, traced = stack(inner, *layers, name=self.kind), stack(inner, *layers[1:], name=self.kind)
        return _Built(leases[0].endpoint.key[0], handler, traced, leases, lifetime, cache)

    def _cache(self, store: Store, space: str) -> Cache:
        """Targets of one name are one to the cache, so what makes them that target is what makes any of them so."""
        specs = [spec for group in self._groups for spec in group]
        names = tuple(dict.fromkeys(spec.name for spec in specs))
        return Cache(
            store,
            names=names,
            identities=["|".join(sorted({spec.scope for spec in specs if spec.name == name})) for name in names],
            equals=len({spec.name for spec in self._groups[0]}),
            space=space,
            ttl_s=self.policy.cache_ttl_s,
            stale_s=self.policy.cache_stale_s,
            sampled=self.policy.cache_sampled,
        )

    def _group(self, endpoints: Sequence[Endpoint]) -> Handler:
        """One target's stack, or several equals behind a balance."""
        stacks = [self._target_stack(endpoint) for endpoint in endpoints]
        if len(stacks) == 1:
            return stacks[0]
        traits = [endpoint.traits for endpoint in endpoints]
        return Balance(handlers=stacks, names=[endpoint.name for endpoint in endpoints], traits=traits, attempts=self.policy.attempts)

    def _target_stack(self, endpoint: Endpoint) -> Stack:
        policy = self.policy
        provider: Handler = endpoint.provider.chat if self.kind == "chat" else endpoint.provider.embed
        return stack(
            provider,
            Retry(
                target=endpoint.name,
                attempts=policy.attempts,
                attempts_per_target=policy.attempts_per_target,
                base_s=policy.backoff_base_s,
                ceiling_s=policy.backoff_ceiling_s,
                budget=endpoint.budget,
                half_open=endpoint.breaker.is_on_trial if policy.breaker else None,
                shut_s=endpoint.breaker.shut_s if policy.breaker else None,
                failing=endpoint.breaker.is_failing if policy.breaker else None,
            ),
            *self._hedge(endpoint),
            *(() if endpoint.shared is None else (endpoint.shared,)),
            endpoint.concurrency,
            *(() if endpoint.traits.is_local else (endpoint.rate,)),
            *((endpoint.breaker,) if policy.breaker else ()),
            *budget_layers(endpoint, self._budgets),
            Attempt(
                target=endpoint.name,
                price=endpoint.price.cost if endpoint.price is not None else None,
                ready=price_reader(endpoint.price) if endpoint.price is not None else None,
                guess=partial(guess_usage, model=endpoint.name),
            ),
            Timeout(target=endpoint.name, first_token_s=None if endpoint.traits.is_local else policy.first_token_s, idle_s=policy.idle_s),
            name=endpoint.name,
        )

    def _hedge(self, endpoint: Endpoint) -> tuple[Layer, ...]:
        after = self.policy.hedge_after
        if after is None or endpoint.traits.is_local:
            return ()
        if after not in endpoint.hedges:
            half_open = endpoint.breaker.is_on_trial if self.policy.breaker else None
            endpoint.hedges[after] = Hedge(target=endpoint.name, after=after, budget=endpoint.budget, half_open=half_open)
        return (endpoint.hedges[after],)

    def _check_spaces(self, endpoints: Sequence[Endpoint]) -> None:
        if self.kind != "embed":
            return
        spaces = {endpoint.traits.space for endpoint in endpoints}
        if len(spaces) > 1:
            raise Misconfigured(
                "these embedding models live in different spaces, so one cannot stand in for the other: "
                + ", ".join(f"{endpoint.name} ({endpoint.traits.space})" for endpoint in endpoints)
            )


def _import_late(kind: str) -> None:
    """Import what the layers need only with the first failure, or the first vectors: a quarter of a second, off the loop."""
    import_module("tenacity")
    if kind == "embed":
        import_module("numpy")


def _heard(opening: asyncio.Task[Any]) -> None:
    """All who waited may have gone: asyncio would complain of a failure nobody heard of."""
    if not opening.cancelled():
        opening.exception()


def _batch_texts(endpoints: Sequence[Endpoint]) -> int:
    """How many texts all of them take at once, as far as they have said."""
    return min([endpoint.traits.max_batch_texts for endpoint in endpoints])


def _window(endpoints: Sequence[Endpoint]) -> int | None:
    """The largest window at hand; None where one is unknown, which is taken as large enough."""
    windows = [endpoint.traits.context_tokens for endpoint in endpoints]
    return None if None in windows else max(one for one in windows if one is not None)
