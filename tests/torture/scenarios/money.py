"""A hard budget with 64 calls in flight: whatever the answers' length and whatever fails, the provider's bill stays within it.

The provider keeps its own books by what it wrote, not by what it told: an answer that nobody waited for is on its bill, too, as far as it
had come. It keeps to max_tokens, as providers do. Nobody here says max_tokens.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from random import Random
from typing import Any

from surefoot.core.stream import Stream, open_stream
from surefoot.errors import ConnectionLost, Overloaded, SurefootError
from surefoot.events import AttemptEnded
from surefoot.facts import output_limit
from surefoot.rules.spending import AMPLE
from surefoot.settings import Policy, SpendLimit, Target
from surefoot.testing import make_call
from surefoot.testing.world import Serving, ServingProvider, World, virtual_run
from surefoot.types import Call, CallState, ChatReply, ChatRequest, Delta, Message, Usage
from surefoot.usage.prices import Price
from tests.torture.figures import Figure, FigureRow
from tests.torture.scenarios.storm import know

IN_USD, OUT_USD = 2.0, 10.0  # a million tokens
PROMPT_TOKENS = 12  # as the provider counts the question
WIDTH = 64
PIECES = 8  # of a streamed answer
SPEED = 4000.0  # tokens a second, so that the longest answers take a quarter of a minute
MIXED = (200, 2000, 8000)  # where answers differ
SHORT = 500  # tokens that are asked for with what is left
SPENT = 0.98  # of an ample limit can be spent, with no answer cut short


class Writer(ServingProvider):
    """A provider that writes `tokens` for every question, or what `max_tokens` allows; a share of its answers goes wrong."""

    def __init__(self, name: str, rng: Random, *, tokens: int, faults: float) -> None:
        super().__init__(name, serve=lambda _: Serving())
        self._rng = rng
        self.tokens = tokens
        self._faults = faults
        self.billed_tokens = 0.0
        self.truncated = 0
        self.whole_usd = 0.0  # of whole answers, which are the ones that it counts for us
        self.billed_calls = 0

    @property
    def bill_usd(self) -> float:
        """What it would charge."""
        return (self.billed_calls * PROMPT_TOKENS * IN_USD + self.billed_tokens * OUT_USD) / 1e6

    async def chat(self, call: Call[ChatRequest]) -> ChatReply | Stream:
        """One exchange."""
        wanted = self.tokens or self._rng.choice(MIXED)
        tokens = min(wanted, call.request.max_tokens or wanted)
        fault = self._rng.choice(("busy", "reset", "silent")) if self._rng.random() < self._faults else ""
        if fault == "busy":
            await asyncio.sleep(0.1)
            raise Overloaded("busy", status=503, target=self.name)
        self.billed_calls += 1
        if call.stream:
            return await open_stream(_Writing(self, tokens, wanted, fault), target=self.name)
        if fault == "reset":
            self.billed_calls -= 1
            await asyncio.sleep(0.1)
            raise ConnectionLost("reset before it began", target=self.name)
        await self.write(tokens)
        if fault == "silent":
            await asyncio.sleep(1e6)
        return ChatReply(text=words(tokens), usage=self.count(tokens, wanted), finish_reason=ended(tokens, wanted), target=self.name)

    async def write(self, tokens: int) -> None:
        """Write so many tokens; whoever leaves is billed for what there is by then."""
        loop = asyncio.get_running_loop()
        begun_s, takes_s = loop.time(), 0.5 + tokens / SPEED
        try:
            await asyncio.sleep(takes_s)
        finally:
            self.billed_tokens += tokens * min(1.0, (loop.time() - begun_s) / takes_s)

    def count(self, tokens: int, wanted: int) -> Usage:
        """The count that a whole answer ends with."""
        usage = Usage(input_tokens=PROMPT_TOKENS, output_tokens=tokens)
        self.answered += 1
        self.truncated += tokens < wanted
        self.whole_usd += (usage.input_tokens * IN_USD + usage.output_tokens * OUT_USD) / 1e6
        return usage


class _Writing:
    """A stream under way."""

    def __init__(self, writer: Writer, tokens: int, wanted: int, fault: str) -> None:
        self._writer = writer
        self._left = tokens
        self._tokens = tokens
        self._wanted = wanted
        self._fault_at = tokens // 2 if fault else -1
        self._fault = fault
        self._is_counted = False

    async def __anext__(self) -> Delta:
        if self._is_counted:
            raise StopAsyncIteration
        if not self._left:
            self._is_counted = True
            return Delta(finish_reason=ended(self._tokens, self._wanted), usage=self._writer.count(self._tokens, self._wanted))
        if self._left <= self._fault_at:
            if self._fault == "silent":
                await asyncio.sleep(1e6)
            raise ConnectionLost("reset", target=self._writer.name)
        piece = min(self._left, -(-self._tokens // PIECES))
        await self._writer.write(piece)
        self._left -= piece
        return Delta(text=words(piece))

    async def aclose(self) -> None:
        """Dropped: it writes no more."""


def words(tokens: int) -> str:
    """A text that the provider counts as so many tokens."""
    return "word " * tokens


def ended(tokens: int, wanted: int) -> Any:
    """How an answer ends."""
    return "stop" if tokens == wanted else "length"


def spend(
    seed: int, *, tokens: int, limit_usd: float, stream: bool = False, faults: float = 0.0, hedged: bool = False, targets: int = 1
) -> FigureRow:
    """Ask until the money is spent and beyond, 64 at a time. `tokens` 0: answers differ (MIXED)."""
    model = "anthropic:claude-haiku-4-5" if tokens > 16_000 else "openai:gpt-4o"  # they write 64,000 and 16,384 tokens at most
    price = Price(Target("priced:m", input_usd_per_mtok=IN_USD, output_usd_per_mtok=OUT_USD))
    worst_usd = (output_limit(*model.split(":")) or 0) * OUT_USD / 1e6

    async def run() -> FigureRow:
        writers = [Writer(model, Random(f"{seed}:{i}"), tokens=tokens, faults=faults) for i in range(targets)]
        policy = Policy(
            attempts=3,
            budget_usd=limit_usd,
            deadline_s=90.0 if faults else 600.0,
            breaker=not faults,
            first_token_s=60,
            idle_s=60,
            hedge_after=2.0 if hedged else None,
            coalesce=False,
        )

        def tune(endpoint: Any) -> None:
            endpoint.price = price
            know(endpoint, WIDTH)

        world = World(seed, *writers, policy=policy, tune=tune, log=False)
        ended_as, booked = Counter[str](), [0.0]

        def hear(event: Any) -> None:
            if isinstance(event, AttemptEnded) and event.attempt.usage is not None and not event.attempt.usage.estimated:
                booked[0] += event.attempt.cost_usd or 0.0

        async def ask(number: int, max_tokens: int | None = None) -> None:
            request = ChatRequest(messages=(Message.user(f"question {number}"),), temperature=1.0, max_tokens=max_tokens)
            call: Call[Any] = Call(request=request, state=CallState((hear,), f"{seed}-{number}"), stream=stream)
            try:
                answer = await world.handler(call)
                if isinstance(answer, Stream):
                    async for _ in answer:
                        pass
                ended_as[""] += 1
            except SurefootError as error:
                ended_as[type(error).__name__] += 1

        usual_usd = (tokens or sum(MIXED) / len(MIXED)) * OUT_USD / 1e6
        longest_usd = (tokens or max(MIXED)) * OUT_USD / 1e6 + 1e-4  # with its question: what is less cannot be spent without cutting
        calls = int(1.5 * limit_usd / usual_usd) + 2 * WIDTH
        await world.in_flight(calls, WIDTH, ask)
        account = SpendLimit(usd=limit_usd).account(make_call(), now_epoch_s=0.0)
        read_usd = partial(world.stack.spend_store.spent_usd, account)  # type: ignore[attr-defined] - it is kept in this process
        freely_usd = read_usd()
        if freely_usd < SPENT * limit_usd:  # one more such answer would pass the limit; a shorter one need not
            for writer in writers:
                writer.tokens = SHORT
            few = int(1.5 * (limit_usd - freely_usd) / (SHORT * OUT_USD / 1e6)) + 1
            await world.in_flight(few, WIDTH, partial(ask, max_tokens=SHORT))
        left = await world.left_over()
        spent_usd = read_usd()
        bill_usd = sum(writer.bill_usd for writer in writers)
        hitches = {"Exhausted", "Interrupted", "DeadlineExceeded", "Overloaded", "ConnectionLost", "AttemptTimedOut"} if faults else set()
        is_ample = limit_usd >= AMPLE * (worst_usd + 0.001)
        others = sum(count for kind, count in ended_as.items() if kind not in {"", "BudgetExceeded", *hitches})
        kinds = [name for name, there in (("streams", stream), ("hedges", hedged), (f"{targets} targets", targets > 1)) if there]
        return FigureRow(
            f"${limit_usd:g} for answers of {tokens or MIXED} tokens, worst case ${worst_usd:.2f}, {WIDTH} in flight"
            + (f", {faults:.0%} faults" if faults else "")
            + (f", {', '.join(kinds)}" if kinds else ""),
            seed,
            (
                Figure("billed, of the limit", bill_usd / limit_usd, "<= 1"),
                Figure(
                    "booked, of the limit", freely_usd / limit_usd, f">= {min(SPENT, 1 - longest_usd / limit_usd) if is_ample else 0:g}"
                ),
                Figure("with short answers for what was left", spent_usd / limit_usd, f">= {SPENT if is_ample else 0:g}"),
                Figure("booked beyond the limit, dollars", max(0.0, spent_usd - limit_usd), "<= 0"),
                Figure("billed but not booked, dollars", max(0.0, bill_usd - spent_usd), "<= 1e-6"),
                Figure("ledger off the count, dollars", abs(booked[0] - sum(writer.whole_usd for writer in writers)), "<= 1e-6"),
                Figure("answers", sum(writer.answered for writer in writers)),
                Figure("truncated by us", sum(writer.truncated for writer in writers), "= 0" if is_ample else ""),
                Figure("other errors", others, "= 0"),
                Figure("left over", len(left), "= 0"),
                Figure("virtual seconds", asyncio.get_running_loop().time()),
            ),
        )

    return virtual_run(run())
