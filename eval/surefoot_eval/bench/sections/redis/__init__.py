"""A Redis that fails for five seconds: who is served meanwhile, how much later, how many log lines, and what happens to the money.

For each fault four models share the server, each with RATE calls a second: a cache, a hard budget that is ample, a soft one, and a hard
one for LIMIT_CALLS calls, which runs out while the server fails. The provider counts what it answered; its bill is compared with the
limit, and with what Redis has booked in the end.

    python -m surefoot_eval bench redis
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

from msgspec import Struct

from surefoot import ChatModel, Policy, Target
from surefoot.errors import SurefootError
from surefoot.settings import SpendLimit
from surefoot.testing import make_call
from surefoot.testing.wire._server._process import SimProcess
from surefoot_eval.bench.crew import load
from surefoot_eval.bench.sections.redis.faults import FAULTS

RATE = 20.0  # calls a second of each model
STRIKE_S, MEND_S, END_S = 3.0, 8.0, 14.0
SETTLED_S = 2.0  # after the end of the fault: from then on all must be as before
LIMIT_CALLS = 100  # of the 280 that want to be made
LATENCY_S = 0.03
DRAIN_S = 20.0  # what was not booked is sent again, and a lease is renewed every 20 s
USD = {"input_usd_per_mtok": 0.0, "output_usd_per_mtok": 1000.0}
CACHE, HARD, SOFT, TIGHT = "cache", "hard budget, ample", "soft budget", f"hard budget for {LIMIT_CALLS} calls"


class TimedCall(Struct):
    """One call: when it began, how long it took, what came of it."""

    at_s: float
    took_s: float
    how: str


class _Lines(logging.Handler):
    """What is written to the log meanwhile."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.said.append(record.getMessage())


def _model(kind: str, url: str, redis: str, call_usd: float) -> ChatModel:
    target = Target("openai:gpt-4.1", base_url=f"{url}/v1", api_key="bench-key", lane="direct", **USD)  # type: ignore[arg-type]
    if kind == CACHE:
        return ChatModel(target, cache=redis)
    usd = (LIMIT_CALLS + 0.5) * call_usd if kind == TIGHT else 1e5
    limit = SpendLimit(usd=usd, mode="soft" if kind == SOFT else "hard")
    return ChatModel(target, policy=Policy(budgets=(limit,), budget_store=redis, coalesce=False))


async def _asked(chat: ChatModel, began_s: float, kind: str) -> list[TimedCall]:
    """Calls at an even pace until the end. The cache's come twice each."""
    ended: list[TimedCall] = []

    async def one(number: int) -> None:
        at_s = time.monotonic() - began_s
        prompt = f"question {number // 2 if kind == CACHE else number:06}"
        try:
            reply = await chat.ainvoke(prompt, max_tokens=20, temperature=0.0)
            how = "hit" if reply.cached else "ok"
        except SurefootError as error:
            how = "full" if "has no room" in str(error) or "still no room" in str(error) else type(error).__name__
        ended.append(TimedCall(at_s, time.monotonic() - began_s - at_s, how))

    tasks: set[asyncio.Task[None]] = set()
    for number in range(int(RATE * END_S)):
        await asyncio.sleep(max(0.0, began_s + number / RATE - time.monotonic()))
        tasks.add(asyncio.create_task(one(number)))
    await asyncio.gather(*tasks)
    return ended


async def _fault(name: str, sims: dict[str, SimProcess], call_usd: float) -> dict[str, Any]:
    """One fault, all models."""
    lines = _Lines()
    log = logging.getLogger("surefoot")
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fault = await FAULTS[name](stack, folder)
        chats = {kind: _model(kind, sim.url, fault.url, call_usd) for kind, sim in sims.items()}
        for chat in chats.values():
            await chat.ainvoke("a first question", max_tokens=20)
        for sim in sims.values():
            sim.reset()
        lines.said.clear()
        began_s = time.monotonic()
        asking = {kind: asyncio.create_task(_asked(chat, began_s, kind)) for kind, chat in chats.items()}
        for moment_s, act in ((STRIKE_S, fault.strike), (MEND_S, fault.mend)):
            await asyncio.sleep(began_s + moment_s - time.monotonic())
            await act()
        ended = {kind: await task for kind, task in asking.items()}
        figures = {kind: _figures(ended[kind]) for kind in chats}
        for kind, chat in chats.items():
            if kind != CACHE:
                answered: Any = sims[kind].stats()["requests"]
                figures[kind] |= {"billed_calls": answered + 1, "booked_calls": await _booked(chat, (answered + 1) * call_usd) / call_usd}
            await chat.aclose()
    log.removeHandler(lines)
    return {"models": figures, "lines": len(lines.said), "said": [text for text, _ in Counter(lines.said).most_common(6)]}


async def _booked(chat: ChatModel, bill_usd: float) -> float:
    """What is on the account, once everything is on it that will be."""
    from surefoot import runtime

    store: Any = chat._stack.spend_store  # noqa: SLF001 - nobody else can look into it
    account = chat.policy.budgets[0].account(make_call(), now_epoch_s=0.0)
    until_s = time.monotonic() + DRAIN_S
    while True:
        spent: float = await runtime.arun(store.spent_usd(account)) or 0.0
        if (spent >= bill_usd - 1e-9 and store.idle()) or time.monotonic() > until_s:
            return spent
        await asyncio.sleep(0.2)


def _figures(ended: list[TimedCall]) -> dict[str, Any]:
    """Of the calls before, during and after."""
    spans = {"before": (0.5, STRIKE_S), "during": (STRIKE_S, MEND_S), "after": (MEND_S + SETTLED_S, END_S)}
    found: dict[str, Any] = {"errors": dict(Counter(one.how for one in ended if one.how not in {"ok", "hit", "full"}))}
    for span, (begin_s, end_s) in spans.items():
        part = [one for one in ended if begin_s <= one.at_s < end_s]
        took = sorted(one.took_s * 1000 for one in part if one.how in {"ok", "hit"})
        wanted = [one for one in part if one.how != "full"]
        found[span] = {
            "served": sum(one.how in {"ok", "hit"} for one in wanted) / len(wanted) if wanted else None,
            "hits": sum(one.how == "hit" for one in part) / len(part),
            "p50_ms": took[len(took) // 2] if took else None,
            "p99_ms": took[int(0.99 * len(took))] if took else None,
        }
    return found


def run(*, rounds: int = 1) -> dict[str, Any]:
    """Every fault once: they take their time."""
    del rounds
    from tqdm import tqdm

    options = ("--latency-s", str(LATENCY_S), "--answer", "one two three four five")
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        sims = {kind: stack.enter_context(SimProcess("openai", *options)) for kind in (CACHE, HARD, SOFT, TIGHT)}
        call_usd = _call_usd(sims[HARD])
        for name in tqdm(FAULTS, unit="fault", desc="redis", dynamic_ncols=True):
            for sim in sims.values():
                sim.reset()
            found[name] = asyncio.run(_fault(name, sims, call_usd))
    return {"what": "a Redis that fails for 5 of 14 s", "rounds": 1, "load": load(), "faults": found}


def _call_usd(sim: SimProcess) -> float:
    """What one call costs: the answer's tokens, whatever the question."""
    with _model(SOFT, sim.url, "redis://127.0.0.1:1/0", 1.0) as chat:
        return float(chat.invoke("a first question", max_tokens=20).cost_usd or 0.0)


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    columns = (
        "Redis",
        "model",
        "served before, during, after",
        "later then by, p50 ms",
        "p99 ms",
        "billed of the limit",
        "booked of the bill",
    )
    lines = ["| " + " | ".join((*columns, "log lines")) + " |", "|---" * 8 + "|"]
    for name, one in result["faults"].items():
        for kind, found in one["models"].items():
            served = ", ".join(_share(found[span]["served"]) for span in ("before", "during", "after"))
            if kind == CACHE:
                served += f" (hits {', '.join(_share(found[span]['hits']) for span in ('before', 'during', 'after'))})"
            later = [_later(found, which) for which in ("p50_ms", "p99_ms")]
            billed = f"{found['billed_calls']} of {LIMIT_CALLS}" if kind == TIGHT else "-"
            booked = f"{found['booked_calls'] / found['billed_calls']:.1%}" if "booked_calls" in found else "-"
            said = str(one["lines"]) if kind == CACHE else ""
            lines.append(
                f"| {name if kind == CACHE else ''} | {kind} | {served} | {later[0]} | {later[1]} | {billed} | {booked} | {said} |"
            )
    lines += ["", f"{RATE:g} calls a second each; it fails from {STRIKE_S:g} to {MEND_S:g} s; after: from {MEND_S + SETTLED_S:g} s on."]
    lines += [f"Load {result['load']}. A call that finds no room in the budget is not counted as one that is to be served."]
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _later(found: dict[str, Any], which: str) -> str:
    before, during = found["before"][which], found["during"][which]
    return "-" if before is None or during is None else f"{during - before:+.0f}"
