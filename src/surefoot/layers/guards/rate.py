"""Requests and tokens per minute: whoever would exceed them waits, interactive calls before batch calls, each in order of arrival.

Each wire attempt passes two buckets, both of `rules.bucket`. Tokens: an estimate is reserved, and the actual replaces it when the call has
finished (refund or debt). Requests: one each. What a breaker or budget further in refuses is given back to both, or a dead target would be
asked no faster than its limit allows just to hear the refusal. No limiter we know gives back: aiolimiter was tried for the requests, for it
has no refund, its burst on top of its pace breaks a provider's 2 s windows, and its timer re-arms for a rounding error of 1e-16 s without
end on a loop whose clock stands still between timers (virtual time).

A batch call lets interactive calls pass until it has waited AGEING_S longer (`rules.bucket.queue`), as where places are waited for.
Whoever has to wait longer than his deadline allows hears so at once, and one whose turn comes too late makes way (rules.admission).

A limit that is not given is learned: from the headers of every answer (the provider leaves them in `call.state.rate_headers`), else
from 429s alone. A 429 counts against the limit its text names; against the one that is not given; else against requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias
from weakref import ref

from surefoot.core.deadlines import deadline_of
from surefoot.core.stack import Guard
from surefoot.core.stream import Outcome
from surefoot.errors import AuthFailed, BadRequest, DeadlineTooNear, Fault, NotFound, QueueFull, QuotaExhausted, RateLimited, Refused
from surefoot.events import RateLearned, Waited, emit
from surefoot.rules.admission import LEAST, USUAL, Admission
from surefoot.rules.noise import SpuriousRefusals
from surefoot.rules.quantile import Quantile
from surefoot.rules.rate_headers import rate_header
from surefoot.rules.token_bucket import LearnedTokenBucket, LeasedBucket, Reservation, TokenBucket
from surefoot.settings import DEFAULTS
from surefoot.types import Call
from surefoot.types.calls import loop_of

NOT_METERED = (BadRequest, AuthFailed, NotFound, QuotaExhausted)  # turned away at the error boundary: no provider counts tokens for these
ELSEWHERE_S = DEFAULTS.backoff_ceiling_s  # the ceiling of a retry's own waits: who has another target at hand waits no longer for this one
LEAST_WAIT_S = 0.001  # less is the event loop's own business
TELL_SHARE = 0.05  # a learned limit that moved by less is not told: it moves a little all the time

_Bucket: TypeAlias = TokenBucket | LearnedTokenBucket | LeasedBucket


class Rate(Guard):
    """Paces one target: `Rate(target="openai:m", requests_per_minute=500, tokens_per_minute=200_000, estimate=estimate)`.

    Shared by everybody who asks that target. `estimate(request)` gives the tokens to reserve (input and likely output); without it tokens
    are not limited. Raises DeadlineTooNear (nothing sent) when the wait leaves too little of the deadline for an answer, QueueFull when an
    interactive call would wait longer than ELSEWHERE_S although another target is at hand (`call.others`).
    """

    def __init__(
        self,
        *,
        target: str = "",
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        estimate: Callable[[Any], float] | None = None,
        leased: tuple[LeasedBucket, LeasedBucket] | None = None,
    ) -> None:
        self.target = target
        self.requests_per_minute = requests_per_minute
        self.tokens_per_minute = tokens_per_minute
        self.estimate = estimate
        self._tokens: _Bucket = LearnedTokenBucket() if tokens_per_minute is None else TokenBucket(tokens_per_minute)
        self._requests: _Bucket = LearnedTokenBucket() if requests_per_minute is None else TokenBucket(requests_per_minute)
        if leased is not None:  # (requests, tokens): limits that other processes share
            self._requests, self._tokens = leased
        self._spurious = SpuriousRefusals()
        self._watched: LearnedTokenBucket | None = None  # the bucket that was refused, and may have been so for nothing
        self._told = {"requests": float("inf"), "tokens": float("inf")}
        self._admission = Admission(Quantile(USUAL, least=LEAST))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = 0

    def idle(self) -> bool:
        """True if no reservation is open and nobody waits."""
        return self._open == 0

    def describe(self) -> str:
        """The limits, for `describe()`."""
        limits = (("requests", self.requests_per_minute), ("tokens", self.tokens_per_minute))
        return "rate: " + ", ".join(f"{what} {'learned' if given is None else f'{given:g} a minute'}" for what, given in limits)

    def acquire(self, call: Call[Any], now: float) -> Any:
        """Claim what the attempt needs of both limits, or wait for it."""
        loop = loop_of(call)
        if loop is not self._loop:
            self._move(loop)
        passage = _Passage(call, loop, now, self._tokens, self._requests)
        self._open += 1
        try:
            if passage.acquire(None if self.estimate is None else self.estimate(call.request)):
                return passage
        except BaseException:
            self._left(passage)
            raise
        return self._wait(passage)

    async def _wait(self, passage: _Passage) -> _Passage:
        """Wait until both buckets let it go."""
        try:
            await passage.wait(self)
        except BaseException:
            self._left(passage)
            raise
        waited_s = passage.loop.time() - passage.begun_s
        if waited_s > LEAST_WAIT_S:
            emit(passage.call, Waited, target=self.target, layer="rate", wait_s=waited_s)
            passage.turn_s = passage.begun_s + waited_s
        return passage

    def _left(self, passage: _Passage) -> None:
        """Nothing was sent."""
        passage.give_back()
        self._open -= 1

    def on_answer(self, call: Call[Any], held: _Passage, now: float) -> None:
        """A stream has begun: its headers are news, long before it ends."""
        self._heed(call, held, now)

    def release(self, call: Call[Any], held: _Passage, outcome: Outcome, now: float) -> None:
        """The attempt has finished: the actual replaces the estimate."""
        if call.state.rate_headers:
            self._heed(call, held, now)
        passage, loop = held, self._loop
        if loop is None or passage.loop is not loop:
            return  # its loop has died, and its reservations with it
        self._open -= 1
        error, usage = outcome.error, outcome.usage
        if self._watched is not None and outcome.complete and passage.is_news(self._watched):
            self._spurious.passed()
        if passage.turn_s is not None:
            self._note(passage, outcome, now)
        if error is None:
            passage.settle(None if usage is None else usage.total_tokens, now)
        elif isinstance(error, RateLimited):
            self._refused(passage, error, now)
        elif isinstance(error, Refused):
            passage.give_back()
        elif isinstance(error, NOT_METERED):
            passage.settle(0.0, now)
        else:  # without usage the estimate stands: a call that broke off was probably counted
            passage.settle(None if usage is None else usage.total_tokens, now)

    def judge(self, passage: _Passage, wait_s: float, now: float) -> None:
        """Raise DeadlineTooNear if a turn `wait_s` from now is too late, QueueFull if somebody else may answer long before it."""
        deadline, since_s = deadline_of(passage.call), passage.begun_s
        if deadline is not None and not self._admission.may_wait(now + wait_s - since_s, deadline - since_s, now):
            raise DeadlineTooNear(
                f"{self.target}: its limits let the call go in {wait_s:.1f} s, too late for a deadline in {deadline - now:.1f} s; "
                "nothing was sent"
            )
        if wait_s > ELSEWHERE_S and passage.call.others and passage.call.priority != "batch":
            raise QueueFull(f"{self.target}: its limits let the call go in {wait_s:.1f} s, and another target is at hand; nothing was sent")

    def _note(self, passage: _Passage, outcome: Outcome, now: float) -> None:
        """A call that had to wait has finished: those who wait now are judged by it."""
        deadline, is_whole = deadline_of(passage.call), outcome.complete
        is_cut_off = not is_whole and deadline is not None and now >= deadline
        self._admission.note(now - (passage.turn_s or now), now, answered=is_whole, cut_off=is_cut_off)

    def _refused(self, passage: _Passage, fault: RateLimited, now: float) -> None:
        """A 429: the bucket it concerns learns from it, the other one gets its claim back."""
        what = _limit_named(fault) or ("tokens" if self.requests_per_minute is not None and self.tokens_per_minute is None else "requests")
        by_tokens = what == "tokens" and passage.tokens is not None
        blamed, reservation = (self._tokens, passage.tokens) if by_tokens else (self._requests, passage.requests)
        passage.give_back(but=blamed)
        if reservation is not None:
            if isinstance(blamed, LearnedTokenBucket) and blamed.is_news(reservation):
                self._learn(blamed, reservation, now, fault.retry_after_s)
            else:
                blamed.on_refusal(reservation, now, retry_after_s=fault.retry_after_s)
            _rouse(blamed)
        self._emit(passage.call)

    def _learn(self, bucket: LearnedTokenBucket, reservation: Reservation, now: float, retry_after_s: float | None) -> None:
        """A 429 where the limit is learned: a lesson, unless it would have come at a lower pace, too (rules.noise)."""
        spurious, pace = self._spurious, bucket.per_minute
        if bucket is not self._watched:
            self._watched = bucket
            spurious.reset()
        if not spurious.is_lesson(pace):
            bucket.cancel(reservation, now)
            return
        bucket.on_refusal(reservation, now, retry_after_s=retry_after_s)
        if spurious.put_back() is not None:
            bucket.lift(now)

    def _heed(self, call: Call[Any], passage: _Passage, now: float) -> None:
        """Read the headers the provider left behind."""
        headers, call.state.rate_headers = call.state.rate_headers, None  # once: they age
        if not headers or self._loop is None:
            return
        for what, bucket, asked in (("tokens", self._tokens, passage.tokens), ("requests", self._requests, passage.requests)):
            layer = rate_header(headers, what)
            if layer is None:
                continue
            if not isinstance(bucket, TokenBucket):
                bucket.observe(now, limit=layer.limit, remaining=layer.remaining, reset_s=layer.reset_s, asked=asked)
            elif layer.remaining is not None:
                bucket.observe(now, remaining=layer.remaining, reset_s=layer.reset_s, asked=asked)
        self._emit(call)

    def _emit(self, call: Call[Any]) -> None:
        """Say so when a learned limit has moved."""
        for what, bucket in (("requests", self._requests), ("tokens", self._tokens)):
            if isinstance(bucket, LearnedTokenBucket):
                limit, told = bucket.per_minute, self._told[what]
                if limit != told and not abs(limit - told) < TELL_SHARE * told:
                    self._told[what] = limit
                    emit(call, RateLearned, target=self.target, what=what, per_minute=limit)

    def _move(self, loop: asyncio.AbstractEventLoop) -> None:
        """A new background loop. If the old one has died, whoever waited there waits no more."""
        if self._loop is not None and self._loop.is_closed():
            for bucket in (self._tokens, self._requests):
                while bucket.head is not None:
                    bucket.cancel(bucket.head, loop.time())
            self._open = 0
        self._loop = loop


class _Passage:
    """One attempt's claims on the buckets."""

    __slots__ = ("begun_s", "buckets", "call", "loop", "requests", "tokens", "turn_s")

    def __init__(
        self,
        call: Call[Any],
        loop: asyncio.AbstractEventLoop,
        now: float,
        tokens: _Bucket,
        requests: _Bucket,
    ) -> None:
        self.call = call
        self.loop = loop
        self.begun_s = now
        self.turn_s: float | None = None  # when it was let go, if it had to wait
        self.buckets = (tokens, requests)
        self.tokens: Reservation | None = None
        self.requests: Reservation | None = None

    def acquire(self, amount: float | None) -> bool:
        """Claim both; `amount` is the tokens to reserve, None for no matter. False: `wait`, for the first that is short."""
        tokens, requests = self.buckets
        now, low_priority = self.begun_s, self.call.priority == "batch"
        if amount is not None:
            self.tokens = tokens.reserve(amount, now, low_priority=low_priority)
            if self.tokens.wait_s:
                return False
        self.requests = requests.reserve(1.0, now, low_priority=low_priority)
        return not self.requests.wait_s

    async def wait(self, layer: Rate) -> None:
        """Pass what `enter` did not."""
        tokens, requests = self.buckets
        loop, now = self.loop, self.begun_s
        if self.tokens is not None and self.tokens.wait_s:
            layer.judge(self, tokens.sure_wait_s(self.tokens, now), now)
            await _turn(tokens, self.tokens, loop)
            now = loop.time()
            layer.judge(self, 0.0, now)
        if self.requests is None:
            self.requests = requests.reserve(1.0, now, low_priority=self.call.priority == "batch")
        if self.requests.wait_s:
            layer.judge(self, requests.sure_wait_s(self.requests, now), now)
            await _turn(requests, self.requests, loop)
            layer.judge(self, 0.0, loop.time())

    def settle(self, spent: float | None, now: float) -> None:
        """Sent: `spent` is the tokens it cost, None if nobody said."""
        tokens, requests = self.buckets
        if self.tokens is not None:
            tokens.settle(self.tokens, self.tokens.amount if spent is None else spent, now)
            if tokens.head is not None:
                _rouse(tokens)
        if self.requests is not None:
            requests.settle(self.requests, 1.0, now)

    def is_news(self, bucket: LearnedTokenBucket) -> bool:
        """Whether it was let go since `bucket` last learned anything."""
        reservation = self.tokens if bucket is self.buckets[0] else self.requests
        return reservation is not None and bucket.is_news(reservation)

    def give_back(self, *, but: _Bucket | None = None) -> None:
        """Not sent, or refused: every claim is returned, except the one on `but`."""
        now = self.loop.time()
        for bucket, reservation in zip(self.buckets, (self.tokens, self.requests), strict=True):
            if reservation is not None and bucket is not but:
                bucket.cancel(reservation, now)
                _rouse(bucket)


async def _turn(bucket: _Bucket, reservation: Reservation, loop: asyncio.AbstractEventLoop) -> None:
    """Wait until `bucket` lets `reservation` go; woken early when it becomes the first."""
    wait_s = bucket.ready(reservation, loop.time())  # never the whole wait: limits, pauses and those ahead may change meanwhile
    while wait_s:
        waiter = loop.create_future()
        reservation.waiter = ref(waiter)
        timer = loop.call_later(wait_s, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            reservation.waiter = None
        wait_s = bucket.ready(reservation, loop.time())
    _rouse(bucket)


def _rouse(bucket: _Bucket) -> None:
    """Whoever is first now may look again."""
    head = bucket.head
    if head is not None and isinstance(head.waiter, ref) and (waiter := head.waiter()) is not None:
        _wake(waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _limit_named(fault: Fault) -> str:
    """The limit a 429 names: "tokens per min (TPM)", "requests per min (RPM)", "input tokens per minute"; "" if it names none."""
    words = f"{fault.code} {fault}".lower()
    if "tokens per" in words or "tpm" in words:
        return "tokens"
    return "requests" if "requests per" in words or "rpm" in words else ""
