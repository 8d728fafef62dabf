"""From targets and a policy to rooms in a row: the one place that names layers and puts them together.

Targets that are the same (provider, model, address, key, limits) share one edge, one queue, one rate, one breaker and one retry budget in
the whole process, whichever model object asks: there is only one place where limits are. They live on one home loop; when the home
changes (a fork, a closed adopted loop) they are built anew with fresh connections.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from surefoot import registry, runtime
from surefoot.credentials import key_source
from surefoot.errors import Misconfigured
from surefoot.layers.attempt import Attempt
from surefoot.layers.balance import Balance
from surefoot.layers.batch import Batch
from surefoot.layers.breaker import Breaker
from surefoot.layers.budget import Accounts, Budget, LocalAccounts
from surefoot.layers.cache import Cache
from surefoot.layers.coalesce import Coalesce
from surefoot.layers.concurrency import Concurrency
from surefoot.layers.deadline import Deadline
from surefoot.layers.fallback import Fallback
from surefoot.layers.hedge import Hedge
from surefoot.layers.rate import Rate
from surefoot.layers.resume import Resume
from surefoot.layers.retry import Retry
from surefoot.layers.semantic import Semantic as SemanticRoom
from surefoot.layers.timeout import Timeout
from surefoot.layers.trace import Trace
from surefoot.layers.window import Window
from surefoot.prices import Price
from surefoot.rules.aimd import Limit
from surefoot.rules.backoff import ProcessBudget, RetryBudget
from surefoot.stack import Handler, Layer, Stack, describe, stack
from surefoot.stores import open_store
from surefoot.target import Policy, Semantic, SpendLimit, Target
from surefoot.tokens import DEFAULT_OUTPUT_TOKENS, estimate, estimate_input, estimate_window, guess_usage
from surefoot.types import KeySource, Store, Traits

CONNECTING = frozenset({"openai", "anthropic", "google"})
# Of a Target: all else may change what it answers, so the cache tells targets apart by it.
PACE = ("requests_per_minute", "tokens_per_minute", "concurrency", "context_tokens")
NOT_IN_SCOPE = ("api_key", "lane", "input_usd_per_mtok", "output_usd_per_mtok", *PACE)


def _date_s() -> float:
    """Seconds since 1970: a day on a bill is a calendar's day."""
    return time.time()  # noqa: TID251 - the loop's clock knows no date


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
        self.concurrency = Concurrency(target=name, limit=fixed, adaptive=Limit() if learns else None, queue_size=policy.queue_size)


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


def _close_soon(edge: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Nobody holds the door any more: close its connections on the loop they live on, if that still runs."""
    if loop.is_running():
        loop.call_soon_threadsafe(lambda: loop.create_task(edge.aclose()))


class _Spec:
    """One target as given: checked, its key found; the door is opened later, on the home loop."""

    def __init__(self, given: Any, kind: str) -> None:
        self.target: Target | None = None
        self.edge: Any = None
        self.keys: KeySource | None = None
        if isinstance(given, str):
            given = Target(given)
        if isinstance(given, Target):
            entry = registry.provider(given.provider)
            registry.check_kind(given, kind)
            self.target = given
            self.keys = key_source(given, entry.key_variables)
            self.path = entry.path
            self.name = given.name
            if given.provider == "local":
                self.edge_class()(given, self.keys)  # says now, not at the first call, what is not installed
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


def _accounts(spec: str) -> Accounts:
    """Where budgets are kept. Raises Misconfigured for an address that cannot be read."""
    if not spec:
        return LocalAccounts()
    if not spec.startswith(("redis://", "rediss://", "unix://")):
        raise Misconfigured("budget_store: write redis://HOST:PORT/0, or leave it out to count in this process")
    from surefoot.accounts import RedisAccounts

    return RedisAccounts(spec)


class Rooms:
    """The rooms of one model object: `handler()` gives the outermost, built at first use on the home loop."""

    def __init__(self, targets: Sequence[Any], *, policy: Policy, cache: str | Store | None, kind: str) -> None:
        if not targets:
            raise Misconfigured(f"name at least one target, for example {'ChatModel' if kind == 'chat' else 'EmbedModel'}('openai:...')")
        self.policy = policy
        self.kind = kind
        self.store = None if cache is None else open_store(cache)  # outlives the home loop, as answers do
        self._opened_store = isinstance(cache, str)
        self._groups = [
            [_Spec(one, kind) for one in given] if isinstance(given, Sequence) and not isinstance(given, str) else [_Spec(given, kind)]
            for given in targets
        ]
        if any(not group for group in self._groups):
            raise Misconfigured("a list of equal targets is empty")
        self._limits = policy.budgets
        if policy.budget_usd is not None:
            self._limits = (SpendLimit(usd=policy.budget_usd, mode=policy.budget_mode), *policy.budgets)
        self.accounts = _accounts(policy.budget_store)
        self._caches: Callable[[Cache], tuple[Layer, ...]] = lambda cache: (cache,)
        self._embedder: Any = None
        self._handler: Handler | None = None
        self._doors: list[Door] = []
        self._generation = -1

    def recognise(self, said: Semantic, embed: Any, *, owned: bool) -> None:
        """Answer the same question in other words too, where `embed`, an EmbedModel, finds them alike; if `owned`, it is closed with us."""
        if self.store is None:
            raise Misconfigured('semantic needs a cache to keep its answers in: write cache="memory" or cache="sqlite:PATH" beside it')
        threshold, alike, patience_s = said.threshold_for(embed.targets), embed.likeness, said.patience_s
        self._caches = lambda cache: (cache, SemanticRoom(cache, alike=alike, threshold=threshold, patience_s=patience_s))
        self._embedder = embed if owned else None

    @property
    def names(self) -> tuple[str, ...]:
        """The targets' names, in order of preference."""
        return tuple(spec.name for group in self._groups for spec in group)

    @property
    def traits(self) -> Traits:
        """What the first target can do, as its provider knows it."""
        self.handler()
        return self._doors[0].traits

    @property
    def space(self) -> str:
        """The embedding space id of the first target."""
        self.handler()
        return self._doors[0].traits.space

    def handler(self, edges: Sequence[Any] = ()) -> Handler:
        """The outermost room, for the present home loop."""
        generation = runtime.generation()
        if self._handler is None or generation != self._generation:
            self._handler = self._build(edges)
            self._generation = generation
        return self._handler

    def ready(self) -> Handler | None:
        """The outermost room if it is built for the present home loop; else await `open()`."""
        return self._handler if runtime.generation() == self._generation else None

    async def open(self) -> Handler:
        """Build the rooms on the home loop; imports and model files are read on a worker thread first."""
        specs = [spec for group in self._groups for spec in group]
        edges = [await runtime.in_thread(spec.warm, self.policy) for spec in specs]
        return self.ready() or self.handler(edges)

    def describe(self) -> str:
        """The rooms in order."""
        return describe(self.handler())

    async def aclose(self) -> None:
        """Close the edges that only this model uses, and the store it opened; a later call opens both again."""
        doors, self._doors, self._handler = self._doors, [], None
        if self.store is not None and self._opened_store:
            await self.store.aclose()
        held = (*(door.edge for door in doors), self.accounts, self._embedder)
        await asyncio.gather(*(one.aclose() for one in held if hasattr(one, "aclose")))
        for key, door in list(_doors.items()):
            if door in doors:
                del _doors[key]

    def _build(self, edges: Sequence[Any]) -> Handler:
        policy = self.policy
        specs = [spec for group in self._groups for spec in group]
        self._doors = [spec.door(policy, edge) for spec, edge in zip_longest(specs, edges)]
        self._check_spaces()
        doors = iter(self._doors)
        groups = [[next(doors) for _ in group] for group in self._groups]
        # Also for a single target: it refuses before sending what the target cannot do.
        inner: Handler = Fallback(
            handlers=[self._group(group) for group in groups],
            names=[" | ".join(door.name for door in group) for group in groups],
            traits=[group[0].traits for group in groups],
            attempts=policy.attempts,
            estimate=partial(estimate_window, model=self._doors[0].name),
        )
        deadline_s = policy.deadline_s
        if self.kind == "embed" and deadline_s == Policy().deadline_s and all(door.traits.is_local for door in self._doors):
            deadline_s = None  # work in this process goes on while it gets on; nobody's default shall throw half an index away
        layers: list[Layer] = [Trace(), Deadline(deadline_s=deadline_s)]
        if self.store is not None:
            layers += self._caches(self._cache(self.store))
        if policy.coalesce is not False:
            layers.append(Coalesce(always=policy.coalesce is True, cached=self.store is not None))
        if policy.resume and self.kind == "chat":
            layers.append(Resume(attempts=policy.attempts))
        if policy.overflow != "refuse" and self.kind == "chat":
            layers.append(Window(tokens=self._window, how=policy.overflow, model=self._doors[0].name))
        if self.kind == "embed":
            tokens = [door.traits.max_batch_tokens for door in self._doors if door.traits.max_batch_tokens is not None]
            texts = min(door.traits.max_batch_texts for door in self._doors)
            layers.append(Batch(max_texts=texts, max_tokens=min(tokens, default=None)))
        return stack(inner, *layers, name=self.kind)

    def _window(self) -> int | None:
        """The largest window at hand; None where one is unknown, which is taken as large enough."""
        windows = [door.traits.context_tokens for door in self._doors]
        return None if None in windows else max(one for one in windows if one is not None)

    def _cache(self, store: Store) -> Cache:
        """Targets of one name are one to the cache, so what makes them that target is what makes any of them so."""
        specs = [spec for group in self._groups for spec in group]
        names = tuple(dict.fromkeys(spec.name for spec in specs))
        return Cache(
            store,
            names=names,
            scopes=["|".join(sorted({spec.scope for spec in specs if spec.name == name})) for name in names],
            equals=len({spec.name for spec in self._groups[0]}),
            space=self._doors[0].traits.space,
            ttl_s=self.policy.cache_ttl_s,
            stale_s=self.policy.cache_stale_s,
            sampled=self.policy.cache_sampled,
        )

    def _group(self, doors: Sequence[Door]) -> Handler:
        """One target's stack, or several equals behind a balance."""
        stacks = [self._target_stack(door) for door in doors]
        if len(stacks) == 1:
            return stacks[0]
        traits = [door.traits for door in doors]
        return Balance(handlers=stacks, names=[door.name for door in doors], traits=traits, attempts=self.policy.attempts)

    def _target_stack(self, door: Door) -> Stack:
        policy = self.policy
        edge: Handler = door.edge.chat if self.kind == "chat" else door.edge.embed
        return stack(
            edge,
            Retry(
                target=door.name,
                attempts=policy.attempts,
                attempts_per_target=policy.attempts_per_target,
                base_s=policy.backoff_base_s,
                ceiling_s=policy.backoff_ceiling_s,
                budget=door.budget,
                half_open=door.breaker.is_on_trial if policy.breaker else None,
                shut_s=door.breaker.shut_s if policy.breaker else None,
            ),
            *self._hedge(door),
            door.concurrency,
            *(() if door.traits.is_local else (door.rate,)),
            *((door.breaker,) if policy.breaker else ()),
            *self._budget(door),
            Attempt(
                target=door.name,
                price=door.price.cost if door.price is not None else None,
                guess=partial(guess_usage, model=door.name),
            ),
            Timeout(target=door.name, first_token_s=None if door.traits.is_local else policy.first_token_s, idle_s=policy.idle_s),
            name=door.name,
        )

    def _hedge(self, door: Door) -> tuple[Layer, ...]:
        after = self.policy.hedge_after
        if after is None or door.traits.is_local:
            return ()
        if after not in door.hedges:
            half_open = door.breaker.is_on_trial if self.policy.breaker else None
            door.hedges[after] = Hedge(target=door.name, after=after, budget=door.budget, half_open=half_open)
        return (door.hedges[after],)

    def _budget(self, door: Door) -> tuple[Layer, ...]:
        if not self._limits or door.price is None:
            return ()
        price = door.price

        def upper(request: Any) -> float:
            output = 0 if self.kind == "embed" else request.max_tokens or DEFAULT_OUTPUT_TOKENS
            return price.upper(estimate_input(request, model=door.name), output)

        return (Budget(target=door.name, limits=self._limits, accounts=self.accounts, upper=upper, price=price.cost, clock=_date_s),)

    def _check_spaces(self) -> None:
        if self.kind != "embed":
            return
        spaces = {door.traits.space for door in self._doors}
        if len(spaces) > 1:
            raise Misconfigured(
                "these embedding models live in different spaces, so one cannot stand in for the other: "
                + ", ".join(f"{door.name} ({door.traits.space})" for door in self._doors)
            )
