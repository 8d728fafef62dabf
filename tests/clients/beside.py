"""Scenarios that run twice: with a framework's official class and with ours, over the same wire, and must show the same.

A scenario is a function of a `Desk`. It returns what its user would see, by name. To that comes what the vendor was asked: the turns, the
tools and the shape of each request, without its vendor's dress. Where the two differ and shall, `differs` names it with its reason; a
difference that is named and no longer there fails as well.
"""

from __future__ import annotations

import asyncio
import difflib
import inspect
import json
import pprint
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import pytest

from surefoot.testing.wire import AnthropicSim, Ask, GeminiSim, OpenAISim, PlainAnswer, PlainToolCall, WireSim
from tests.clients import classes

Answers: TypeAlias = Callable[[Ask], PlainAnswer | str | None]
SIMS: dict[str, type[WireSim]] = {"openai": OpenAISim, "responses": OpenAISim, "anthropic": AnthropicSim, "google": GeminiSim}
EVERY = ("openai", "responses", "anthropic", "google")
MOST = 100  # requests of a scenario
CHATS = ("openai", "anthropic", "google")


class Desk:
    """What a scenario works at: makes models of one class, says how they answer, and keeps what they were asked."""

    def __init__(self, framework: str, wire: str, sim: WireSim, *, is_ours: bool) -> None:
        self.framework, self.wire, self.sim, self.is_ours = framework, wire, sim, is_ours
        self.asks: list[Ask] = []
        self.answers("Fine.")

    def llm(self, **fields: Any) -> Any:
        """A chat model of this desk's class."""
        return classes.llm(self.framework, self.wire, self.sim.url, is_ours=self.is_ours, fields=fields)

    def embed(self, **fields: Any) -> Any:
        """An embedding model of this desk's class."""
        return classes.embed(self.framework, self.wire, self.sim.url, is_ours=self.is_ours, fields=fields)

    def answers(self, how: Answers | PlainAnswer | str | list[PlainAnswer | str]) -> None:
        """From now on: a function of what is asked, one answer for all, or a list of them, of which the last repeats."""
        given = 0

        def answer(ask: Ask) -> PlainAnswer | str | None:
            nonlocal given
            self.asks.append(ask)
            if len(self.asks) > MOST:
                raise RuntimeError("an agent that asks without end")
            if callable(how):
                return how(ask)
            if not isinstance(how, list):
                return how
            given += 1
            return how[min(given, len(how)) - 1]

        self.sim.answer = answer

    def sent(self) -> list[Any]:
        """What was asked, in an order that does not hang on which of two at once came first."""
        return sorted((_asked(ask) for ask in self.asks), key=json.dumps)

    @contextmanager
    def broken(self) -> Iterator[Desk]:
        """A second desk of the same class, whose vendor is down."""
        from surefoot.testing.wire import fault

        with SIMS[self.wire]() as sim:
            sim.script(fault("status_500"))
            yield Desk(self.framework, self.wire, sim, is_ours=self.is_ours)


def _asked(ask: Ask) -> Any:
    turns = [[turn.role, turn.text, list(turn.calls), turn.tool] for turn in ask.turns]
    shape = "schema" if ask.schema is not None else "json" if ask.json_mode else ""
    return [turns, sorted(tool.name for tool in ask.tools), ask.choice, shape, list(ask.stop), ask.images]


def call(name: str, /, **arguments: Any) -> PlainAnswer:
    """An answer that calls one tool."""
    return calls((name, arguments))


def calls(*wanted: tuple[str, dict[str, Any]]) -> PlainAnswer:
    """An answer that calls several tools at once."""
    return PlainAnswer(calls=tuple(PlainToolCall(name, json.dumps(arguments)) for name, arguments in wanted))


def after_tools(first: PlainAnswer | str, then: PlainAnswer | str) -> Answers:
    """`first` until a tool's result stands behind the last words of the model, then `then`."""

    def answer(ask: Ask) -> PlainAnswer | str:
        last = next((turn.role for turn in reversed(ask.turns) if turn.role in ("tool", "assistant")), "")
        return then if last == "tool" else first

    return answer


def beside(*wires: str, framework: str, differs: dict[str, str] | None = None) -> Callable[[Callable[[Desk], Any]], Callable[[str], None]]:
    """Make a test of a scenario: on each wire, what our class shows is what the official one shows.

    `differs` has the reason for what may not be equal, under `wire: name`, or under `name` for all wires.
    """

    def decorate(scenario: Callable[[Desk], Any]) -> Callable[[str], None]:
        @pytest.mark.heavy
        @pytest.mark.parametrize("wire", wires)
        def run(wire: str) -> None:
            official, ours = (_observed(scenario, framework, wire, is_ours=is_ours) for is_ours in (False, True))
            unequal = {name for name in official | ours if official.get(name) != ours.get(name)}
            named = {name.removeprefix(f"{wire}: ") for name in differs or {} if ": " not in name or name.startswith(f"{wire}: ")}
            said = [f"{name}: - is the official class, + ours\n{_lines(official.get(name), ours.get(name))}" for name in unequal - named]
            said += [f"{name}: named as a difference, but equal" for name in named - unequal]
            assert not said, "\n".join(said)

        run.__name__, run.__doc__, run.__module__ = scenario.__name__, scenario.__doc__, scenario.__module__
        return run

    return decorate


def _lines(official: Any, ours: Any) -> str:
    """The lines in which two values differ."""
    first, second = (pprint.pformat(one, width=110).splitlines() for one in (official, ours))
    return "\n".join([line for line in difflib.ndiff(first, second) if line[0] in "-+"][:60])


def _observed(scenario: Callable[[Desk], Any], framework: str, wire: str, *, is_ours: bool) -> dict[str, Any]:
    with SIMS[wire]() as sim:
        desk = Desk(framework, wire, sim, is_ours=is_ours)
        seen = asyncio.run(scenario(desk)) if inspect.iscoroutinefunction(scenario) else scenario(desk)
        assert desk.asks or any("embed" in one.path.lower() for one in sim.requests), "nobody was asked anything"
        assert seen
        return {**as_billed(seen, sim), "sent": desk.sent()}


def as_billed(seen: Any, sim: WireSim) -> Any:
    """What was seen, with "as billed" for a count of tokens that is the vendor's own, of one answer or of all together.

    The counts themselves hang on how a vendor's tools are written down, which is not what is compared here.
    """
    if isinstance(seen, dict) and {"input", "output", "total"} <= seen.keys():
        bills = [_counts(*(getattr(bill.counts, name) for name in TOKENS)) for bill in sim.usage_log.values()]
        whole = _counts(*(sum(getattr(bill.counts, name) for bill in sim.usage_log.values()) for name in TOKENS))
        return "as billed" if seen in bills else "as billed in all" if seen == whole else seen
    if isinstance(seen, dict):
        return {name: as_billed(value, sim) for name, value in seen.items()}
    return [as_billed(one, sim) for one in seen] if isinstance(seen, list | tuple) else seen


TOKENS = ("input", "output", "cached", "reasoning")


def _counts(given: int, made: int, cached: int, reasoning: int) -> dict[str, int]:
    details = {name: count for name, count in (("cached", cached), ("reasoning", reasoning)) if count}
    return {"input": given, "output": made, "total": given + made, **details}
