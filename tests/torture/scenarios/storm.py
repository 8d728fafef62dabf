"""Faults in every third attempt, 500 calls in flight: nothing lost, nothing doubled, nothing held, nothing billed that is not in the books.

Chats, streams and embeddings mixed, a share of them asked before or by others at the same moment, with a cache, shared calls and a
budget. Also: every fault of the catalogue mixed in, each coming out as its one typed error; and refusals (429) that have nothing to do
with the pace.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from surefoot.errors import DeadlineExceeded, DeadlineTooNear, Interrupted, SurefootError
from surefoot.layers.guards.concurrency import Concurrency
from surefoot.layers.guards.rate import Rate
from surefoot.rules.aimd import Limit
from surefoot.settings import Policy, SpendLimit, Target
from surefoot.storage.memory import MemoryStore
from surefoot.testing import make_call
from surefoot.testing.world import Ended, Serving, ServingProvider, World, failures_of, virtual_run
from surefoot.types import Call, EmbedRequest
from surefoot.usage.prices import Price
from tests.torture.figures import Figure, FigureRow
from tests.torture.scenarios.faults import ALL, BY_SURFACE, MIXTURES, NAME, PASSING_KINDS, Kind, answer_s, silent

LOST_USD = 0.034  # at most, at PRICE: 4,096 tokens of answer, which count before anything is known, and a short question
SURFACES = ("chat", "stream", "embed", "chat", "stream")  # by number, in turn: two fifths, two fifths, one fifth
REPEATED = 0.3  # of the calls ask what others ask, at the same moment or before
PRICE = Price(Target("priced:m", input_usd_per_mtok=2.0, output_usd_per_mtok=8.0))


def surface_of(call: Call[Any]) -> str:
    """Which of the three `call` is."""
    return "embed" if isinstance(call.request, EmbedRequest) else "stream" if call.stream else "chat"


class Mix:
    """What is asked: `Mix(seed).of(number)` gives the arguments of `World.ask`."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(f"{seed}:mix")

    def of(self, number: int, surface: str = "") -> dict[str, Any]:
        """A chat, a stream or one to three texts; a share of them asked by others too."""
        surface = surface or SURFACES[number % 5]
        rng, era = self._rng, number // 20
        is_repeated = rng.random() < REPEATED
        topic = era if rng.random() < 0.5 else rng.randrange(era + 1)  # what is asked just now, or was asked at any time before
        if surface == "embed":
            own = [f"text {number} {i}" for i in range(1 + number % 3)]
            return {"texts": [f"text of topic {topic}", *own[1:]] if is_repeated else own}
        asked = {"text": f"topic {topic}", "temperature": 0.0} if is_repeated else {}
        return {"stream": surface == "stream", **asked}


class Served:
    """Which kinds of fault the provider served, call by call, against what each call's trail says."""

    def __init__(self, seed: int, *, share: float, kinds: Sequence[Kind]) -> None:
        self._rng = Random(f"{seed}:storm")
        self._share = share
        self._kinds = {surface: [kind for kind in kinds if kind in BY_SURFACE[surface]] for surface in BY_SURFACE}
        self._of: dict[str, list[str]] = {}
        self._later: list[tuple[str, Ended, bool]] = []
        self.met = Counter[str]()
        self.good = 0  # answers that stand in somebody's trail
        self.twice = 0  # calls answered more than once
        self.wrong: list[str] = []

    def serve(self, call: Call[Any]) -> Serving:
        """An answer, or a fault drawn for this attempt."""
        rng = self._rng
        served = self._of.setdefault(call.state.call_id, [])
        if rng.random() >= self._share:
            served.append("")
            return Serving(after_s=answer_s(rng))
        kind = rng.choice(self._kinds[surface_of(call)])
        self.met[kind.name] += 1
        served.append(kind.means)
        return kind.serve(rng)

    def note(self, call_id: str, ended: Ended, *, in_parts: bool) -> None:
        """A call has ended; if others may still fly on its ticket, its attempts are looked at in the end. `in_parts`: several texts."""
        if is_out_of_time(ended) or any(attempt.seconds is None for attempt in ended.trail):
            self._later.append((call_id, ended, in_parts))
        else:
            self._check(call_id, ended, in_parts=in_parts)

    def finish(self) -> None:
        """Nothing is under way any more."""
        for call_id, ended, in_parts in self._later:
            self._check(call_id, ended, in_parts=in_parts)

    def _check(self, call_id: str, ended: Ended, *, in_parts: bool) -> None:
        """Each attempt's fault must stand in the trail as its class, and the last one be what the caller got."""
        served, trail = self._of.pop(call_id, []), [attempt.error for attempt in ended.trail]
        answers = trail.count("")
        self.good += answers
        self.twice += answers > 1 and not in_parts
        by_time = is_out_of_time(ended)
        names = [type(one).__name__ for one in failures_of(ended.error)]
        is_last = not served or not names or by_time or bool(set(served if in_parts else served[-1:]) & set(names))
        if by_time and trail and trail[-1] in {"CancelledError", "Interrupted"}:
            trail, served = trail[:-1], served[:-1]  # cut short before its fault came
        if sorted(trail) != sorted(served) or not is_last:  # parts end in any order
            self.wrong.append(f"{call_id}: served {served}, trail {trail}, ended as {ended.error!r}")


def is_out_of_time(ended: Ended) -> bool:
    """True if its deadline ended it."""
    error = ended.error.__cause__ if isinstance(ended.error, Interrupted) else ended.error
    return isinstance(error, DeadlineExceeded | DeadlineTooNear)


def storm(
    seed: int,
    *,
    calls: int = 2_000,
    width: int = 500,
    share: float = 0.3,
    given: bool = True,
    mixture: str = "passing",
    log: bool = True,
) -> FigureRow:
    """`share` of the attempts meet a fault of `mixture` (of MIXTURES); two fifths of the calls are streams, one fifth embeddings.

    `given`: the target's limits are known, so what strikes at random is not taken for them. Else the policies learn what they can from it.
    """
    kinds, passing = MIXTURES[mixture], mixture == "passing"
    mix, served = Mix(seed), Served(seed, share=share, kinds=kinds)

    async def run() -> FigureRow:
        provider = ServingProvider(NAME, serve=served.serve)
        provider.keeps_times = False
        policy = Policy(attempts=6, budget_usd=1e9, first_token_s=10, idle_s=10)
        world = World(seed, provider, policy=policy, tune=tuned(width if given else None), cache=MemoryStore(), log=log)

        async def ask(number: int) -> None:
            asked = mix.of(number)
            served.note(f"{seed}-{number}", await world.ask(number, **asked), in_parts=len(asked.get("texts", ())) > 1)

        await world.in_flight(calls, width, ask)
        left = await world.left_over()
        served.finish()
        for line in served.wrong[:3]:
            print(line)
        return FigureRow(
            f"{calls:,} calls, {width} in flight, {share:.0%} faults: {mixture}, limits {'given' if given else 'not given'}",
            seed,
            (
                Figure("lost", world.counts["lost"] + calls - world.ended, "= 0"),
                Figure("delivered twice", served.twice + provider.answered - served.good, "= 0"),
                Figure("left over", len(left), "= 0"),
                *rates(world, calls, share if passing and given else None),
                Figure("not its one typed error", len(served.wrong), "= 0"),
                Figure("kinds of fault met", len(served.met), f"= {len(kinds)}" if calls >= 20_000 else ""),
                *(money(provider, world, served, kinds) if passing and given else ()),
                Figure("out of the cache or shared", world.free / calls),
                Figure("virtual seconds", asyncio.get_running_loop().time()),
            ),
            world.log_hash if log else "",
        )

    return virtual_run(run())


def rates(world: World, calls: int, share: float | None) -> tuple[Figure, ...]:
    """Success and attempts of the calls that had to ask; bounded where `share` of passing faults is all that strikes."""
    asked = calls - world.free
    success = (world.counts[""] - world.free) / asked
    if share is None:
        return Figure("success", success), Figure("attempts a call", world.attempts / asked)
    # By chance alone 1.428 attempts a call, with a spread of 0.79: among few calls luck has six standard deviations, as for success.
    attempts = "<= 1.45" if asked >= 50_000 else f"<= {1.428 + 6 * 0.79 / asked**0.5:.3f}"
    return Figure("success", success, success_bound(asked, share)), Figure("attempts a call", world.attempts / asked, attempts)


def success_bound(calls: int, share: float) -> str:
    """Six attempts all fail by chance once in 1372 (0.3 ** 6), so among few calls luck decides: six standard deviations are its due."""
    if calls >= 50_000:
        return ">= 0.999"
    chance = share**6
    return f">= {1 - chance - 6 * (chance / calls) ** 0.5:.5f}"


def bill(provider: ServingProvider) -> float:
    """What the provider would send, in US dollars: whole answers alone (none of the passing faults lets a token through)."""
    chats = PRICE.cost(provider.usage) or 0.0
    return provider.answered * chats - provider.embedded * provider.usage.output_tokens * 8.0 / 1e6


def money(provider: ServingProvider, world: World, served: Served, kinds: Sequence[Kind]) -> tuple[Figure, ...]:
    """The books against the bill: every answer is in them, and beyond the bill only a likely answer for each one that was lost."""
    losses = sum(served.met[kind.name] for kind in kinds if kind.means in {"AttemptTimedOut", "ConnectionLost", "MalformedReply"})
    over = booked(world) - bill(provider)
    return (
        Figure("dollars billed but not booked", max(0.0, -over), "<= 1e-6"),
        Figure("dollars booked for answers that never came", over, f"<= {losses * LOST_USD + 1e-6:.6f}"),
    )


def booked(world: World) -> float:
    """What the budgets have booked, in US dollars."""
    account = SpendLimit(usd=1e9).account(make_call(), now_epoch_s=0.0)
    return sum(stack.spend_store.spent_usd(account) for stack in world.every_stack)


def catalogue(seed: int, *, per_s: float = 10.0) -> FigureRow:
    """For 400 s; of the first ones, one call in ten meets one fault of the catalogue at each attempt, the others now and then.

    The healthy traffic goes on behind them: else the last calls under way would all be doomed ones, and rightly stopped by the breaker.
    """
    rng = Random(f"{seed}:catalogue")
    kinds = list(ALL)
    rng.shuffle(kinds)
    doomed = {10 * i + rng.randrange(10): kind for i, kind in enumerate(kinds)}
    luck = Served(seed, share=0.1, kinds=PASSING_KINDS)

    def serve(call: Call[Any]) -> Serving:
        kind = doomed.get(int(call.state.call_id.rpartition("-")[2]))
        return luck.serve(call) if kind is None else kind.serve(rng)

    async def run() -> FigureRow:
        provider = ServingProvider(NAME, serve=serve)
        world = World(seed, provider, policy=Policy(attempts=6, first_token_s=5, idle_s=5), tune=lambda endpoint: know(endpoint, 500))
        wrong: list[str] = []
        met = set[str]()
        asked = 0

        async def ask(n: int) -> None:
            nonlocal asked
            asked += 1
            kind = doomed.get(n)
            surface = SURFACES[n % 5]
            if kind is not None and (surface not in kind.surfaces or kind.serve is silent):  # a plain answer may take half the time left
                surface = "stream" if "stream" in kind.surfaces else kind.surfaces[n % len(kind.surfaces)]
            texts = [f"text {n}"] if surface == "embed" else []
            ended = await world.ask(n, stream=surface == "stream", texts=texts, deadline_s=300)
            if kind is None:
                return
            met.add(kind.name)
            names = {type(one).__name__ for one in failures_of(ended.error)}
            if names != ({kind.means} if kind.means else set()) or (kind.means and not isinstance(ended.error, SurefootError)):
                wrong.append(f"{n}: {kind.name} came out as {ended.error!r}, not {kind.means}")

        await world.arrivals(per_s, 400, ask)
        left = await world.left_over()
        for line in wrong[:3]:
            print(line)
        return FigureRow(
            "every fault of the catalogue at all attempts of a call",
            seed,
            (
                Figure("lost", world.counts["lost"] + asked - world.ended, "= 0"),
                Figure("not its one typed error", len(wrong), "= 0"),
                Figure("kinds of fault", len(met), f"= {len(ALL)}"),
                Figure("left over", len(left), "= 0"),
            ),
            world.log_hash,
        )

    return virtual_run(run())


def tuned(width: int | None) -> Any:
    """How a target's shared layers are set: its limits given, or (None) to be found; priced either way."""

    def tune(endpoint: Any) -> None:
        endpoint.price = PRICE
        if width is None:
            endpoint.concurrency = Concurrency(target=endpoint.name, adaptive=Limit())
        else:
            know(endpoint, width)

    return tune


def know(endpoint: Any, width: int) -> None:
    """Give the target its limits: `width` in flight, and a pace that is never reached."""
    endpoint.rate = Rate(target=endpoint.name, requests_per_minute=60_000, tokens_per_minute=1e12)
    endpoint.concurrency = Concurrency(target=endpoint.name, limit=width)
