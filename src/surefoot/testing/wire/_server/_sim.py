"""The part all wire simulators share: life cycle, recording, scripts, keys, limits, billing."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Self, TypeAlias

import msgspec

from surefoot.testing.wire._model._brain import Ask, Counts, PlainAnswer, bound, think
from surefoot.testing.wire._model._draft import Billed, Draft, Rejection, WireEvent
from surefoot.testing.wire._model._schema import Json
from surefoot.testing.wire._server._batches import BatchDesk
from surefoot.testing.wire._server._http import WireReply, WireRequest
from surefoot.testing.wire._server._life import LoopbackServer
from surefoot.testing.wire._server._limits import Limits, Quota
from surefoot.testing.wire._server._spoil import spoil_reply
from surefoot.testing.wire.faults import HTML, OK, WireFault, fault

Scripted: TypeAlias = WireFault | PlainAnswer | str | None
"""One entry of a script: a fault, an answer (`PlainAnswer`, or its text), or None for a good answer."""
Plan: TypeAlias = Scripted | Callable[[WireRequest], Scripted]
Answer: TypeAlias = PlainAnswer | str | Callable[[Ask], PlainAnswer | str | None] | None


CACHE_STEP_CHARS = 512  # prefixes are cached in steps of 128 tokens of four characters, as OpenAI documents
MAX_PREFIXES = 200_000  # then the cache starts anew: a day of load must not fill the memory
JSON_TYPE = "application/json"
STREAM_TYPE = "text/event-stream; charset=utf-8"
ENCODE = msgspec.json.Encoder().encode


def strikes(marker: str, body: bytes) -> bool:
    """Whether a JSON body holds the marker, plain or with its letters escaped, as some SDKs write them."""
    return marker.encode() in body or json.dumps(marker)[1:-1].encode() in body


class _Rule:
    def __init__(self, plan: Iterator[Plan] | None, always: Plan, when: Callable[[WireRequest], bool] | None, times: int | None) -> None:
        self.plan, self.always, self.when, self.times = plan, always, when, times


class WireSim(LoopbackServer):
    """A provider on loopback. Use a vendor's subclass: `OpenAISim`, `AnthropicSim`, `GeminiSim`.

    `with sim:` runs it in a thread of its own: right for every client, sync or async. `async with sim:` runs it on the running loop: then
    the loop's (perhaps virtual) time governs its delays, and only async clients of that loop may call it.

    `answer` fixes what is said: text, a `PlainAnswer`, or a function of the `Ask` (None = think for yourself). `latency_s` (a number or a
    function of the request) passes before the head, `first_token_s` before a stream's first event, `gap_s` between its events.
    `expected_key` is the only key let in; None lets any in. `models` are the only ones known; None knows all. `strict` refuses what the
    vendor would refuse (unanswered tool calls, schemas outside its dialect). `record` requests are remembered at most.
    """

    vendor = ""
    known_models: tuple[str, ...] = ()

    def __init__(  # noqa: PLR0913 - options, each with a default
        self,
        *,
        answer: Answer = None,
        latency_s: float | Callable[[WireRequest], float] = 0.0,
        first_token_s: float = 0.0,
        gap_s: float = 0.0,
        expected_key: str | None = None,
        models: Iterable[str] | None = None,
        limits: Limits | None = None,
        context_tokens: int | None = None,
        embed_tokens: int = 8192,
        dimensions: int | None = None,
        cache_from_tokens: int = 1024,
        strict: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
        record: int = 100_000,
    ) -> None:
        """Nothing is opened yet.

        `context_tokens` and `embed_tokens` bound a prompt and a text to embed; `cache_from_tokens` is the shortest cached prefix.
        """
        super().__init__(host, port)
        self.answer, self.latency_s, self.first_token_s, self.gap_s = answer, latency_s, first_token_s, gap_s
        self.expected_key, self.limits, self.strict = expected_key, limits, strict
        self.models = tuple(models) if models is not None else None
        self.context_tokens, self.embed_tokens, self.dimensions = context_tokens, embed_tokens, dimensions
        self.cache_from_tokens = cache_from_tokens
        self.record = record
        self._idle = threading.Event()
        self.reset()

    # What it saw

    def reset(self) -> None:
        """Forget requests, scripts, bills and windows; the server goes on."""
        self._requests: deque[WireRequest] = deque(maxlen=self.record)
        self._rules: list[_Rule] = []
        self._quotas: dict[str, Quota] = {}
        self.desk = BatchDesk()  # the vendor's batches
        self.usage_log: dict[str, Billed] = {}
        self.keys: Counter[str] = Counter()
        self.faults_played: Counter[str] = Counter()
        self.request_count = 0
        self.concurrency = 0
        self.concurrency_peak = 0
        self.prefixes: set[bytes] = set()
        self._sum = Counts()
        self._idle.set()

    @property
    def requests(self) -> list[WireRequest]:
        """The requests so far, oldest first (the newest `record` of them)."""
        return list(self._requests)

    @property
    def billed(self) -> Counts:
        """All tokens billed so far, added up."""
        return msgspec.structs.replace(self._sum)

    def wait_idle(self, timeout_s: float = 5.0) -> bool:
        """Block until no request is under way (a client's hang-up has been noticed, too). Not for `async with`: see `until_idle`."""
        return self._idle.wait(timeout_s)

    async def until_idle(self) -> None:
        """The same for `async with`: let the loop run until no request is under way."""
        while not self._idle.is_set():  # noqa: ASYNC110 - the event is a thread's
            await asyncio.sleep(0.001)

    # What it shall do

    def script(self, plan: Plan | Iterable[Plan], *, when: Callable[[WireRequest], bool] | None = None, times: int | None = None) -> Self:
        """Say how coming POST requests are answered.

        A single fault, answer or function holds for every matching request (the first `times` of them); a list or iterator is used up one
        entry per request, then all is well again. `when` picks the requests. Of several scripts the first that matches and is not used up
        applies.
        """
        single = plan is None or isinstance(plan, WireFault | PlainAnswer | str) or callable(plan)
        rule = _Rule(None, plan, when, times) if single else _Rule(iter(plan), None, when, times)  # type: ignore[arg-type]
        self._rules.append(rule)
        return self

    def clear_script(self) -> None:
        """Every request is answered well again."""
        self._rules = []

    def _planned(self, request: WireRequest) -> Scripted:
        for rule in self._rules:
            if rule.times == 0 or (rule.when is not None and not rule.when(request)):
                continue
            if rule.plan is not None:
                try:
                    chosen = next(rule.plan)
                except StopIteration:
                    rule.times = 0
                    continue
            else:
                chosen = rule.always
            if rule.times is not None:
                rule.times -= 1
            return chosen(request) if callable(chosen) else chosen
        return None

    # One request

    def serve(self, request: WireRequest) -> WireReply:
        """Answer one request. A mistake of the simulator's own is a 500 that names it, never silence."""
        try:
            if request.path.startswith("/_sim/"):
                return self._control(request)
            return self._answer(request)
        except Exception as error:  # noqa: BLE001 - the client must see what broke, whatever it was
            return WireReply(status=500, body=f"simulator error: {error!r}".encode(), content_type="text/plain")

    def _answer(self, request: WireRequest) -> WireReply:
        request.index = self.request_count
        request.id = f"req_{request.index:012x}"
        self.request_count += 1
        self._requests.append(request)
        planned = self._planned(request) if self._rules and request.method == "POST" else None
        spoiled = planned if isinstance(planned, WireFault) else OK
        if spoiled.marker and not strikes(spoiled.marker, request.body):
            spoiled = OK
        self.faults_played[spoiled.name] += 1
        headers = self.head_lines(request.id)
        quota: Quota | None = None
        draft: Draft | None = None
        try:
            if spoiled is OK and (found := self.batch(request)) is not None:
                self.let_in(request)
                reply = found
            elif request.method != "POST" and not (spoiled.status != 200 or spoiled.drop):
                self.let_in(request)
                reply = WireReply(body=ENCODE(self.listing(request)))
            elif spoiled.drop or spoiled.raw is not None:
                reply = WireReply()
            elif spoiled.status != 200:
                reply = self._error(request, spoiled.status, spoiled.kind, spoiled.message, spoiled.retry_in_s)
            else:
                key = self.let_in(request)
                draft = self.draft(request, planned if isinstance(planned, PlainAnswer | str) else None)
                quota = self._quota(key)
                self._admit(quota, draft, request.at_s)
                reply = self._encoded(draft, spoiled)
        except Rejection as refusal:
            reply, draft = self._error(request, refusal.status, refusal.kind, refusal.message, refusal.retry_in_s), None
        except msgspec.MsgspecError as error:
            reply, draft = (
                self._error(request, 400, "bad_request", f"We could not parse the JSON body of your request: {error}", None),
                None,
            )
        reply.headers = headers + reply.headers + (self.rate_lines(quota, request.at_s) if quota is not None else "")
        spoil_reply(reply, spoiled)
        reply.delay_s += self.latency_s(request) if callable(self.latency_s) else self.latency_s
        self._account(request, reply, draft, spoiled)
        return reply

    def let_in(self, request: WireRequest) -> str:
        """Check the key; gives it back. Raises Refusal."""
        key = self.key_of(request)
        if not key or (self.expected_key is not None and key != self.expected_key):
            raise Rejection(401, "no_key" if not key else "auth", "")
        self.keys[key] += 1
        return key

    def _quota(self, key: str) -> Quota | None:
        if self.limits is None:
            return None
        if key not in self._quotas:
            self._quotas[key] = Quota(self.limits)
        return self._quotas[key]

    def _admit(self, quota: Quota | None, draft: Draft, now_s: float) -> None:
        if quota is None:
            return
        if quota.limits.in_flight is not None and self.concurrency >= quota.limits.in_flight:
            raise Rejection(429, "rate_limit", f"Too many requests at once: the limit is {quota.limits.in_flight}.")
        what, wait_s = quota.admit(draft.counts.input, draft.counts.output, now_s)
        if what:
            raise Rejection(429, "rate_limit", f"Rate limit reached for {draft.model} on {what} per min.", retry_in_s=wait_s)

    def _encoded(self, draft: Draft, spoiled: WireFault) -> WireReply:
        if spoiled.body is not None:
            events = draft.events is not None
            reply = WireReply(
                chunks=[spoiled.body] if events else None, body=spoiled.body, content_type=STREAM_TYPE if events else JSON_TYPE
            )
            draft.counts = Counts() if spoiled.body == HTML else draft.counts  # a proxy's page: the model was never asked
            return reply
        if spoiled.spoil:
            draft.marker = spoiled.marker
            self.spoil(draft, spoiled.spoil)
        if draft.events is None:
            return WireReply(body=draft.raw if draft.raw is not None else ENCODE(draft.payload))
        reply = WireReply(chunks=[self.event_bytes(event) for event in draft.events], content_type=STREAM_TYPE)
        reply.first_gap_s, reply.gap_s = self.first_token_s, self.gap_s
        return reply

    def _error(self, request: WireRequest, status: int, kind: str, message: str, retry_in_s: float | None) -> WireReply:
        payload, headers = self.error(status, kind, message, retry_in_s, request_id=request.id)
        return WireReply(status=status, body=ENCODE(payload), headers=headers)

    def _account(self, request: WireRequest, reply: WireReply, draft: Draft | None, spoiled: WireFault) -> None:
        """Count what is in flight, and bill when the answer has gone out (or the client has gone)."""
        self.concurrency_peak = max(self.concurrency_peak, self.concurrency + 1)
        if reply.is_plain and not reply.delay_s:
            if draft is not None:
                self._bill(request, draft, spoiled, draft.counts.output, complete=True)
            return
        self.concurrency += 1
        self._idle.clear()
        book = self._requests

        def ended(sent: int, complete: bool) -> None:  # noqa: FBT001 - the server's callback
            if self._requests is not book:  # reset between the client's last byte and this: forgotten with the rest
                return
            self.concurrency -= 1
            if not self.concurrency:
                self._idle.set()
            if draft is not None:
                events = draft.events
                partial = events is not None and not complete
                output = sum(e.tokens for e in events[:sent]) if partial and events is not None else draft.counts.output
                self._bill(request, draft, spoiled, output, complete=complete)

        reply.on_end = ended

    def _bill(self, request: WireRequest, draft: Draft, spoiled: WireFault, output: int, *, complete: bool) -> None:
        counts = draft.counts
        if not counts.total:
            return
        self._sum.input += counts.input
        self._sum.output += output
        if len(self.usage_log) >= self.record:
            self.usage_log.pop(next(iter(self.usage_log)), None)
        self.usage_log[request.id] = Billed(
            request_id=request.id, model=draft.model, surface=draft.surface, input_tokens=counts.input, output_tokens=output, counts=counts,
            complete=complete, fault=spoiled.name,
        )  # fmt: skip

    def _control(self, request: WireRequest) -> WireReply:
        """For a simulator in another process: `GET /_sim/stats`, `POST /_sim/script` with names of faults, `POST /_sim/reset`."""
        verb = request.path.removeprefix("/_sim/")
        if verb == "script" and request.method == "POST":
            body = request.json
            names = msgspec.convert(body.get("faults", []), list[str])
            plan = [fault(name) for name in names]
            self.script(plan[0] if body.get("always") and plan else plan)
        elif verb == "reset" and request.method == "POST":
            self.reset()
        elif verb != "stats":
            return WireReply(status=404, body=b"{}")
        return WireReply(body=ENCODE(self.stats()))

    def stats(self) -> Json:
        """Counts so far: requests, faults played, peak of requests in flight, tokens billed; the CPU seconds of this process."""
        return {
            "requests": self.request_count, "faults": dict(self.faults_played), "concurrency": self.concurrency,
            "concurrency_peak": self.concurrency_peak, "input_tokens": self._sum.input, "output_tokens": self._sum.output,
            "keys": len(self.keys), "cpu_s": time.process_time(),
        }  # fmt: skip

    # What a vendor fills in

    def draft(self, request: WireRequest, said: PlainAnswer | str | None) -> Draft:
        """Parse a POST and answer it. Raises Refusal, or msgspec's errors for a body that makes no sense."""
        raise NotImplementedError

    def batch(self, request: WireRequest) -> WireReply | None:
        """The answer to a request about batches; None if it is about something else."""

    def event_bytes(self, event: WireEvent) -> bytes:
        """One event of a stream as this vendor frames it."""
        raise NotImplementedError

    def error(self, status: int, kind: str, message: str, retry_in_s: float | None, *, request_id: str) -> tuple[Json, str]:
        """The vendor's own error body for a status and a vendor-neutral kind, and header lines that go with it."""
        raise NotImplementedError

    def error_event(self) -> WireEvent:
        """The vendor's own way to say "overloaded" inside a stream."""
        raise NotImplementedError

    def listing(self, request: WireRequest) -> Json:
        """The answer to a GET: the models, or one of them. Raises Refusal(404)."""
        raise NotImplementedError

    def key_of(self, request: WireRequest) -> str | None:
        """The key the request presents."""
        raise NotImplementedError

    def head_lines(self, request_id: str) -> str:
        """Header lines of every answer, each ending in CRLF."""
        raise NotImplementedError

    def rate_lines(self, quota: Quota, now_s: float) -> str:
        """The vendor's rate-limit headers, each ending in CRLF."""
        raise NotImplementedError

    def spoil(self, draft: Draft, how: str) -> None:
        """Spoil a good answer in place, by the name a fault gives."""
        raise NotImplementedError

    def seen_prefix(self, prompt: str) -> int:
        """Tokens of the longest prefix seen before, in steps of 128, from `cache_from_tokens` on; remembers this prompt's prefixes."""
        shortest = self.cache_from_tokens * 4
        if len(prompt) < shortest:
            return 0
        if len(self.prefixes) > MAX_PREFIXES:
            self.prefixes.clear()
        digest, longest = blake2b(digest_size=16), 0
        for end in range(CACHE_STEP_CHARS, len(prompt) + 1, CACHE_STEP_CHARS):
            digest.update(prompt[end - CACHE_STEP_CHARS : end].encode("utf-8", "replace"))
            mark = digest.digest()
            if end >= shortest:
                longest = end // 4 if mark in self.prefixes else longest
                self.prefixes.add(mark)
        return longest

    def said(self, ask: Ask, fixed: PlainAnswer | str | None) -> PlainAnswer:
        """What is answered:

        The script's word, else `answer`, else what the mind thinks; always counted and cut to the limits asked for.
        """
        chosen = fixed if fixed is not None else self.answer(ask) if callable(self.answer) else self.answer
        if isinstance(chosen, str):
            chosen = PlainAnswer(text=chosen)
        if chosen is None:
            return think(ask)
        if chosen.calls and chosen.finish == "stop":
            chosen.finish = "tools"
        return bound(msgspec.structs.replace(chosen, counts=None), ask)
