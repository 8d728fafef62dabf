"""Record and replay: a chat model whose answers are kept with the latency and cost they had when they were first given.

The recording is a file of JSON lines, fit for a repository: in `replay` a suite runs without a key, and its figures are those of the day
of the recording. Keys are made of the request, the model's description and the seed, so another model or prompt never meets an old
answer. Failures are not kept: they are asked again.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

import msgspec

from surefoot import ChatModel, Policy
from surefoot.cache.keys import digest
from surefoot.core.deltas import Replay, to_deltas
from surefoot.core.stream import open_stream
from surefoot.errors import Misconfigured
from surefoot.events import CallEnded
from surefoot.types import AttemptRecord, Call, ChatReply, ChatRequest
from surefoot_eval.data.records import Cost
from surefoot_eval.run.journal import Journal, records_of

__all__ = ["Entry", "Mode", "Recording", "Taped", "cost_of"]

Mode = Literal["auto", "replay", "refresh", "off"]
TAG = "eval"  # the tag under which a call's question travels
ALONE = Policy(
    deadline_s=None, attempts=1, first_token_s=None, idle_s=None, breaker=False, coalesce=False
)  # all policy is the inner model's


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An answer on the recording."""

    key: str
    reply: ChatReply
    cost: Cost


class Recording:
    """The file (None: memory) and its mode.

    `auto` asks what is not on it, `replay` asks nothing, `refresh` asks everything once more, `off` keeps nothing.
    """

    def __init__(self, path: Path | None, mode: Mode = "auto") -> None:
        self.mode = mode
        if mode == "replay" and not (path and path.is_file()):
            raise Misconfigured(f"{path or 'no tape'}: nothing to replay; record it first by a run without --tape-mode replay")
        self._journal = Journal(path, Entry) if path and mode in {"auto", "refresh"} else None
        held = self._journal.records if self._journal else []
        if path and mode == "replay":
            held = records_of(path, Entry)  # several jobs may replay one tape, also from a place that cannot be written
        self._entries = {one.key: one for one in held if mode != "refresh"}
        self._lock = threading.Lock()

    def find(self, key: str) -> Entry | None:
        """What is kept under `key`. Raises Misconfigured in `replay` where nothing is."""
        found = self._entries.get(key)
        if found is None and self.mode == "replay":
            raise Misconfigured("not in the recording, and --tape-mode replay asks nobody: record it first")
        return found

    def keep(self, entry: Entry) -> None:
        """Keep an answer; the newest of a key counts."""
        if self.mode == "off":
            return
        with self._lock:
            self._entries[entry.key] = entry
        if self._journal:
            self._journal.append(entry)

    def close(self) -> None:
        """Let go of the file."""
        if self._journal:
            self._journal.close()


class Taped:
    """A provider around a whole chat model. Pipelines are given `Taped(...).model`; `take` tells what a question took.

    The calls of one question are told apart by a tag, set with `surefoot.scope(tags={TAG: question})`.
    """

    def __init__(self, inner: ChatModel, tape: Recording, *, mark: str) -> None:
        self.inner = inner
        self.tape = tape
        self.mark = mark
        self.name = inner.targets[0]
        self.traits = inner.traits
        self.model = ChatModel(self, policy=ALONE)
        self._ended: dict[str, list[CallEnded]] = defaultdict(list)
        self._costs: dict[str, list[Cost]] = defaultdict(list)
        inner.subscribe(self._hear, inline=True)

    def take(self, question: str) -> Cost:
        """The sum of what the calls under this tag took; each is told once."""
        return total(self._costs.pop(question, []))

    async def chat(self, call: Call[ChatRequest]) -> Any:
        """From the recording, or from the model and onto it."""
        question = dict(call.tags).get(TAG, "")
        key = digest(call.request, self.mark, question.rpartition("#")[2])
        kept = self.tape.find(key)
        if kept is None:
            try:
                reply = await self.inner.ainvoke(call.request, tags=dict(call.tags))
            except BaseException:
                self._costs[question] += [cost_of(one) for one in self._ended.pop(question, [])]
                raise
            cost = total([cost_of(one) for one in self._ended.pop(question, [])])
            self.tape.keep(Entry(key=key, reply=msgspec.structs.replace(reply, trail=()), cost=cost))
        else:
            reply, cost = kept.reply, msgspec.structs.replace(kept.cost, replayed=True)
        self._costs[question].append(cost)
        return await open_stream(Replay(to_deltas(reply)), target=self.name) if call.stream else reply

    def _hear(self, event: Any) -> None:
        if isinstance(event, CallEnded):
            self._ended[dict(event.tags).get(TAG, "")].append(event)


def cost_of(event: CallEnded, *, trail_usd: float | None = None) -> Cost:
    """What one call took, failed attempts included. `trail_usd` stands in where the event knows no price."""
    trail: tuple[AttemptRecord, ...] = event.trail
    used = [one.usage for one in trail if one.usage is not None] or ([event.usage] if event.usage else [])
    kinds = [one.kind for one in trail]
    return Cost(
        calls=1,
        seconds=event.seconds,
        input_tokens=sum(one.input_tokens for one in used),
        output_tokens=sum(one.output_tokens for one in used),
        usd=event.cost_usd if trail_usd is None else trail_usd,
        attempts=event.attempts,
        retries=kinds.count("retry"),
        fallbacks=kinds.count("fallback"),
        hedges=kinds.count("hedge"),
    )


def total(costs: list[Cost]) -> Cost:
    """All together; an unknown price among them makes the sum unknown."""
    known = [one.usd for one in costs if one.usd is not None]
    return Cost(
        calls=sum(one.calls for one in costs),
        seconds=sum(one.seconds for one in costs),
        input_tokens=sum(one.input_tokens for one in costs),
        output_tokens=sum(one.output_tokens for one in costs),
        usd=sum(known) if len(known) == len(costs) else None,
        attempts=sum(one.attempts for one in costs),
        retries=sum(one.retries for one in costs),
        fallbacks=sum(one.fallbacks for one in costs),
        hedges=sum(one.hedges for one in costs),
        replayed=any(one.replayed for one in costs),
    )
