"""OpenTelemetry spans and GenAI metrics, through the API package only: `OpenTelemetry().watch(chat)`.

One CLIENT span a call, one child a wire attempt, retries, fallbacks and waits as span events. Tokens and costs are counted by attempt, as
providers bill: answers that were shared or cached count nothing. Names follow the GenAI conventions; what no
convention covers is `surefoot.*`. No prompt, answer, key, tenant or tag ever becomes an attribute or a label: `content` capture is for the
frameworks' own instrumentation to offer.

Two generations of names are in use: "1.37" (what tools read today) and "latest" (semantic-conventions-genai). All names stand in NAMES.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from surefoot.errors import Misconfigured
from surefoot.events import AttemptEnded, CacheHit, CallEnded, CallStarted, Event, RateLearned, Waited
from surefoot.facts import name_in
from surefoot.types import Usage

Semconv = Literal["1.37", "latest"]

NAMES: Mapping[Semconv, Mapping[str, str]] = {
    "1.37": {
        "duration": "gen_ai.client.operation.duration",
        "first": "gen_ai.client.operation.time_to_first_chunk",
        "tokens": "gen_ai.client.token.usage",
        "cached": "gen_ai.usage.cache_read_input_tokens",
    },
    "latest": {
        "duration": "gen_ai.client.inference.duration",
        "first": "gen_ai.client.inference.time_to_first_chunk",
        "tokens": "gen_ai.client.inference.usage",
        "cached": "gen_ai.usage.cache_read.input_tokens",
    },
}
OPERATIONS = {"chat": "chat", "embed": "embeddings"}
NOTED = (
    "target",
    "next_target",
    "cause",
    "attempt",
    "wait_s",
    "delay_s",
    "layer",
    "failures",
    "calls",
    "limit",
    "characters",
    "per_minute",
)
MAX_OPEN = 10_000  # spans of calls whose end was never heard (a subscriber that came and went) are let go beyond this


class OpenTelemetry:
    """A listener that turns events into spans and metrics. Raises Misconfigured where opentelemetry-api is not installed."""

    def __init__(self, *, semconv: Semconv = "1.37", tracer_provider: Any = None, meter_provider: Any = None) -> None:
        try:
            from opentelemetry import metrics, trace
        except ImportError as error:
            raise Misconfigured('OpenTelemetry is not installed: run  pip install "surefoot[otel]"') from error
        self._trace = trace
        self._names = NAMES[semconv]
        self._latest = semconv == "latest"
        self._tracer = trace.get_tracer("surefoot", tracer_provider=tracer_provider)
        meter = metrics.get_meter("surefoot", meter_provider=meter_provider)
        self._duration = meter.create_histogram(self._names["duration"], unit="s", description="Duration of a call, all attempts")
        self._first = meter.create_histogram(self._names["first"], unit="s", description="Time to the first token")
        if self._latest:
            self._tokens = {
                kind: meter.create_counter(f"{self._names['tokens']}.{kind}_tokens", unit="{token}") for kind in ("input", "output")
            }
        else:
            self._usage = meter.create_histogram(self._names["tokens"], unit="{token}", description="Tokens billed")
        self._attempts = meter.create_counter("surefoot.attempts", unit="{attempt}", description="Wire attempts, by outcome")
        self._cost = meter.create_counter("surefoot.cost", unit="usd", description="US dollars")
        self._hits = meter.create_counter("surefoot.cache.hits", unit="{call}")
        self._waits = meter.create_histogram("surefoot.wait", unit="s", description="Waiting for a place or a turn, by layer")
        self._spans: dict[str, tuple[Any, float, str]] = {}
        self._late: dict[str, list[tuple[Any, float, str]]] = {}  # ended; once for each attempt still being closed (a hedge that lost)

    def watch(self, *models: Any) -> OpenTelemetry:
        """Listen to `models` from now on; returns itself."""
        for model in models:
            model.subscribe(self, inline=True)
        return self

    def __call__(self, event: Event) -> None:
        """Hear one event; runs where it happens, so the caller's span is the parent."""
        if isinstance(event, CallStarted):
            self._started(event)
        elif isinstance(event, CallEnded):
            self._ended(event)
        elif isinstance(event, AttemptEnded):
            self._attempted(event)
        else:
            self._noted(event)

    def _started(self, event: CallStarted) -> None:
        operation = OPERATIONS[event.kind]
        attributes: dict[str, Any] = {"gen_ai.operation.name": operation}
        if event.stream:
            attributes["gen_ai.request.stream"] = True
        span = self._tracer.start_span(operation, kind=self._trace.SpanKind.CLIENT, attributes=attributes)
        _make_space(self._spans)
        # The loop's clock starts anywhere; the difference to the wall clock turns an event's moment into a date.
        self._spans[event.call_id] = (span, time.time() - event.at_s, operation)  # noqa: TID251 - spans carry dates

    def _attempted(self, event: AttemptEnded) -> None:
        one = event.attempt
        provider, _, model = one.target.partition(":")
        model = one.model or model
        labels = {"gen_ai.provider.name": name_in("telemetry_id", provider), "gen_ai.request.model": model}
        self._attempts.add(1, {**labels, "surefoot.attempt.kind": one.kind, "error.type": one.error or "none"})
        if one.cost_usd:
            self._cost.add(one.cost_usd, labels)
        held = self._spans.get(event.call_id)
        if one.usage is not None:  # here and not at the call's end: an answer that many calls share was billed once
            self._count(one.usage, {**labels, "gen_ai.operation.name": self._operation(event.call_id)})
        if held is None and (late := self._late.get(event.call_id)):
            held = late.pop()
            if not late:
                del self._late[event.call_id]
        if held is None:
            return
        span, offset_s, operation = held
        start_ns = int((one.started_s + offset_s) * 1e9)
        child = self._tracer.start_span(
            f"{operation} {model}".strip(),
            context=self._trace.set_span_in_context(span),
            kind=self._trace.SpanKind.CLIENT,
            start_time=start_ns,
            attributes={
                **labels,
                "gen_ai.operation.name": operation,
                "surefoot.attempt.number": one.number,
                "surefoot.attempt.kind": one.kind,
                "surefoot.attempt.wait_s": one.wait_s,
                **self._used(one.usage),
            },
        )
        self._outcome(child, one.error)
        child.end(end_time=start_ns + int((one.seconds or 0.0) * 1e9))

    def _ended(self, event: CallEnded) -> None:
        held = self._spans.pop(event.call_id, None)
        provider, _, model = event.target.partition(":")
        model = event.asked or model
        labels: dict[str, Any] = {"gen_ai.provider.name": name_in("telemetry_id", provider), "gen_ai.request.model": model}
        if event.error:
            labels["error.type"] = event.error
        labels["gen_ai.operation.name"] = held[2] if held is not None else "chat"
        self._duration.record(event.seconds, labels)
        if event.first_token_s is not None:
            self._first.record(event.first_token_s, labels)
        if held is None:
            return
        if under_way := sum(one.seconds is None for one in event.trail):
            _make_space(self._late)
            self._late[event.call_id] = [held] * under_way
        span = held[0]
        span.update_name(f"{held[2]} {model}".strip())
        cost = {} if event.cost_usd is None else {"surefoot.cost_usd": event.cost_usd}
        span.set_attributes(
            {
                **labels,
                **({"gen_ai.response.model": event.model} if event.model else {}),
                **self._used(event.usage if event.attempts and not event.cached else None),  # else another call's span has them
                **cost,
                "surefoot.attempts": event.attempts,
                "surefoot.hedges": event.hedges,
                "surefoot.cache.hit": event.cached,
            }
        )
        self._outcome(span, event.error)
        span.end()

    def _noted(self, event: Event) -> None:
        fields = msgspec.structs.asdict(event)
        if isinstance(event, CacheHit):
            self._hits.add(1, {"surefoot.cache.stale": event.stale, "surefoot.cache.semantic": event.semantic})
        if isinstance(event, Waited):
            self._waits.record(event.wait_s, {"surefoot.layer": event.layer})
        held = self._spans.get(event.call_id)
        if held is not None:
            said = {f"surefoot.{name}": fields[name] for name in NOTED if name in fields}
            if isinstance(event, RateLearned):
                said["surefoot.what"] = event.what  # a budget's `what` names tenants
            held[0].add_event(f"surefoot.{type(event).__name__}", said)

    def _operation(self, call_id: str) -> str:
        """What the call of an attempt is for; "chat" where its start was never heard."""
        late = self._late.get(call_id)
        held = self._spans.get(call_id) or (late[-1] if late else None)
        return held[2] if held is not None else OPERATIONS["chat"]

    def _used(self, usage: Usage | None) -> dict[str, int]:
        if usage is None:
            return {}
        used = {"gen_ai.usage.input_tokens": usage.input_tokens, "gen_ai.usage.output_tokens": usage.output_tokens}
        if usage.cached_tokens:
            used[self._names["cached"]] = usage.cached_tokens
        if usage.reasoning_tokens:
            used["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning_tokens
        return used

    def _count(self, usage: Usage, labels: dict[str, Any]) -> None:
        for kind, tokens in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            if self._latest:
                self._tokens[kind].add(tokens, labels)
            else:
                self._usage.record(tokens, {**labels, "gen_ai.token.type": kind})

    def _outcome(self, span: Any, error: str) -> None:
        if error:
            span.set_attribute("error.type", error)
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, error))


def _make_space(held: dict[str, Any]) -> None:
    """Let the oldest go: nobody will ask for it again."""
    while len(held) >= MAX_OPEN:
        held.pop(next(iter(held)))
