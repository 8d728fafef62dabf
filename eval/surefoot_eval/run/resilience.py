"""Rehearsals: the same questions of the same systems under a fault schedule, in virtual time: what success, latency and money become.

The layers are the real ones. The providers answer with what a real model said (read once, beforehand), as late and as dear as the suite
tells; faults come from `surefoot.layers.watch.chaos`, by seed, so a day of outages takes seconds and happens again exactly.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from surefoot import ChatModel, Message, Policy
from surefoot.cache.keys import digest
from surefoot.errors import Misconfigured, Overloaded, SurefootError
from surefoot.events import CallEnded
from surefoot.layers.watch.chaos import PASSING, Chaos
from surefoot.models.build import ModelStack
from surefoot.models.requests import call_of
from surefoot.testing.virtual import virtual_run
from surefoot.testing.world import layers_of
from surefoot.types import Call, ChatReply, ChatRequest, Traits
from surefoot.usage.prices import Price
from surefoot_eval.data.dataset import LabelledQuestion
from surefoot_eval.data.formats import TextSpan
from surefoot_eval.data.records import Record, Shown
from surefoot_eval.data.suite import Schedule, SimulatedProvider, Suite, System, target
from surefoot_eval.run.answers import OpenedSystem, SystemModels, models, open_system
from surefoot_eval.run.journal import Journal
from surefoot_eval.run.recording import Recording, Taped, cost_of
from surefoot_rag.answers.prompting import citations, is_refusal, render
from surefoot_rag.answers.refusals import without_no_answer
from surefoot_rag.answers.thinking import without_thinking
from surefoot_rag.records import Passage

if TYPE_CHECKING:
    from surefoot_eval.run.plan import Plan

__all__ = ["checked", "rehearse"]

SAID = 300  # characters of an error's message that a record keeps


class Asking(msgspec.Struct, frozen=True):
    """A question with what was found for it and the prompt made of that."""

    asked: LabelledQuestion
    found: Sequence[Passage]
    request: ChatRequest


class Rehearsed:
    """A provider that says what is known, as late as told, unless the fault schedule forbids."""

    def __init__(self, provider: SimulatedProvider, schedule: Schedule, said: Mapping[str, ChatReply], *, seed: int) -> None:
        self.name = provider.name
        self.traits = Traits()
        self._provider = provider
        self._said = said
        self._seed = f"{seed}:{provider.name}"
        self._outages: tuple[tuple[float, float], ...] = ()
        self._chaos: Chaos | None = None
        if not schedule.providers or provider.name in schedule.providers:
            rates = {kind: schedule.passing / len(PASSING) for kind in PASSING} if schedule.passing else {}
            rates |= {kind: rates.get(kind, 0.0) + share for kind, share in schedule.rates.items()}
            self._outages = schedule.outages
            self._chaos = Chaos(
                rates=rates,
                slow_rate=schedule.slow_rate,
                slow_s=schedule.slow_s,
                draw=Random(f"{self._seed}:{schedule.name}").random,
                target=provider.name,
            )

    async def chat(self, call: Call[ChatRequest]) -> Any:
        """Answer, or fail as a provider does."""
        now_s = asyncio.get_running_loop().time()
        if any(start <= now_s < end for start, end in self._outages):
            await asyncio.sleep(0.05)
            raise Overloaded("rehearsal: 503, an outage", status=503, target=self.name)
        return await (self._answer(call) if self._chaos is None else self._chaos(call, self._answer))

    async def _answer(self, call: Call[ChatRequest]) -> ChatReply:
        key = digest(call.request)
        draw = Random(f"{self._seed}:{key}:{call.state.attempts}").gauss(0.0, self._provider.spread)
        await asyncio.sleep(self._provider.median_s * math.exp(draw))
        return replace(self._said[key], target=self.name)

    async def aclose(self) -> None:
        """Nothing to close."""


def checked(suite: Suite, near: Path) -> dict[str, SystemModels]:
    """What each system needs for retrieval, and whether the providers' models can be had; asks nobody."""
    for provider in suite.provider:
        ChatModel(provider.answers)
        target(provider)
    for schedule in suite.schedule:
        Rehearsed(suite.provider[0], schedule, {}, seed=0)
    found = {}
    for system in suite.system:
        built = models(replace(system, chat=(suite.provider[0].answers,)), near=near)
        found[system.name] = built
    return found


def rehearse(planned: Plan, journal: Journal[Record], tape: Recording, *, place: Path) -> None:
    """Run every system under every schedule that has no whole set of records yet."""
    from tqdm import tqdm

    suite = planned.suite
    done = {record.key for record in journal.records}
    known: dict[tuple[str, str], ChatReply] = {}
    provider = {one.name: one for one in suite.provider}
    with tqdm(total=len(suite.system) * len(suite.schedule), unit="rehearsal", disable=None, dynamic_ncols=True) as bar:
        for system in suite.system:
            names = [f"{system.name} / {schedule.name}" for schedule in suite.schedule]
            wanted = {(name, one.query.id, seed) for name in names for one in planned.material.questions for seed in suite.seeds}
            if wanted <= done:
                bar.update(len(names))
                continue
            asking = _asking(planned, system, tape, place)
            for one in {provider[name].answers for name in system.chat}:
                _learn(one, asking, tape, known)
            said = {name: _said(provider[name], asking, known) for name in system.chat}
            for schedule, name in zip(suite.schedule, names, strict=True):
                for seed in suite.seeds:
                    for record in virtual_run(_day(name, system, schedule, suite, asking, said, seed)):
                        if record.key not in done:
                            journal.append(record)
                bar.update()


def _asking(planned: Plan, system: System, tape: Recording, place: Path) -> list[Asking]:
    opened = open_system(system, SystemModels(None, planned.models[system.name].embed), tape, planned.material, place=place)
    assert isinstance(opened, OpenedSystem)  # a suite of this kind has providers, and systems that are asked of them
    found = []
    for asked in planned.material.questions:
        passages = opened.retrieve(asked.query.text)
        first, second = render(asked.query.text, passages)
        request = ChatRequest(messages=(Message.system(first), Message.user(second)), temperature=system.temperature)
        found.append(Asking(asked, passages, replace(request, max_tokens=system.max_tokens)))
    return found


def _learn(answers: str, asking: Sequence[Asking], tape: Recording, known: dict[tuple[str, str], ChatReply]) -> None:
    """What the real model says to each prompt, asked once."""
    fresh = [one for one in asking if (answers, digest(one.request)) not in known]
    taped = Taped(ChatModel(answers), tape, mark=answers)
    replies = taped.model.batch([one.request for one in fresh], return_exceptions=True)
    for one, reply in zip(fresh, replies, strict=True):
        if not isinstance(reply, ChatReply):
            raise Misconfigured(f"{answers} could not answer {one.asked.query.id!r} beforehand ({reply}): nothing to rehearse with")
        known[answers, digest(one.request)] = reply


def _said(provider: SimulatedProvider, asking: Sequence[Asking], known: Mapping[tuple[str, str], ChatReply]) -> dict[str, ChatReply]:
    return {digest(one.request): known[provider.answers, digest(one.request)] for one in asking}


async def _day(
    name: str,
    system: System,
    schedule: Schedule,
    suite: Suite,
    asking: Sequence[Asking],
    said: Mapping[str, Mapping[str, ChatReply]],
    seed: int,
) -> list[Record]:
    """All questions at random distances, `per_s` a second on average, through the system's layers."""
    provider = {one.name: one for one in suite.provider}
    providers = [Rehearsed(provider[one], schedule, said[one], seed=seed) for one in system.chat]
    price = {one: Price(target(provider[one])) for one in system.chat}
    stack = ModelStack(providers, policy=msgspec.convert(system.policy, Policy), cache=None, kind="chat")
    handler = stack.handler()
    for at, layer in enumerate(layers_of(handler)):
        if hasattr(layer, "draw"):
            layer.draw = Random(f"{seed}:{at}").random

    async def one(wait_s: float, it: Asking) -> Record:
        await asyncio.sleep(wait_s)
        ended: list[CallEnded] = []
        call = call_of(it.request, {}, stream=False, listeners=(lambda event: _hear(event, ended),))
        reply, error = ChatReply(), ""
        try:
            reply = await handler(call)
        except SurefootError as failure:
            error = f"{type(failure).__name__}: {failure}"[:SAID]
        return _record(name, seed, it, reply, error, ended[0], price)

    arrivals, at_s, waits = Random(f"{seed}:arrivals"), 0.0, []
    for _ in asking:
        at_s += arrivals.expovariate(suite.per_s)
        waits.append(at_s)
    return list(await asyncio.gather(*(one(wait_s, it) for wait_s, it in zip(waits, asking, strict=True))))


def _record(name: str, seed: int, it: Asking, reply: ChatReply, error: str, ended: CallEnded, price: Mapping[str, Price]) -> Record:
    usd = 0.0
    for attempt in ended.trail:
        usd += (price[attempt.target].cost(attempt.usage) or 0.0) if attempt.usage is not None else 0.0
    refused = not error and is_refusal(reply.text)
    text = without_no_answer(without_thinking(reply.text))
    cited = () if refused or error else citations(text, it.found)
    return Record(
        system=name,
        question=it.asked.query.id,
        seed=seed,
        answer=text,
        refused=refused,
        citations=tuple(dict.fromkeys(TextSpan(one.document_id, one.start, one.end) for one in cited)),
        passages=tuple(Shown(id=one.id, document=one.document_id, start=one.start, end=one.end, score=one.score) for one in it.found),
        model=reply.target,
        cost=cost_of(ended, trail_usd=usd),
        pipeline_s=ended.seconds,
        error=error,
    )


def _hear(event: Any, ended: list[CallEnded]) -> None:
    if isinstance(event, CallEnded):
        ended.append(event)
