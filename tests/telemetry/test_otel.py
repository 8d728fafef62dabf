"""Spans and metrics by the real SDK; nothing secret in either."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import surefoot
from surefoot import ChatModel, EmbedModel, Policy, Target
from surefoot.errors import Exhausted, Overloaded
from surefoot.events import AttemptEnded, BudgetWarning, CallEnded, CallStarted, RateLearned
from surefoot.telemetry.otel import OpenTelemetry
from surefoot.testing import Scripted
from surefoot.testing.wire import OK, OpenAISim, fault
from surefoot.types import AttemptRecord

QUICK = Policy(backoff_base_s=0.001)


@pytest.fixture
def seen():
    """What an exporter would have sent."""

    class Seen:
        def __init__(self):
            self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
            self.tracers = TracerProvider()
            self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
            self.meters = MeterProvider(metric_readers=[self.reader])

        def listen(self, chat, **settings):
            OpenTelemetry(tracer_provider=self.tracers, meter_provider=self.meters, **settings).watch(chat)

        @property
        def spans(self):
            return self.exporter.get_finished_spans()

        @property
        def metrics(self):
            data = self.reader.get_metrics_data()
            return {one.name: one for resource in data.resource_metrics for scope in resource.scope_metrics for one in scope.metrics}

    return Seen()


def test_a_call_is_a_span_and_each_attempt_a_child_under_the_callers_own(seen):
    """The neighbours show one span for all retries."""
    chat = ChatModel(Scripted(Overloaded("busy"), "fine", name="openai:gpt-5-mini"), policy=QUICK)
    seen.listen(chat)
    with seen.tracers.get_tracer("app").start_as_current_span("request") as outer:
        chat.invoke("secret prompt")
    by_name = {}
    for span in seen.spans:
        by_name.setdefault(span.name, []).append(span)
    call = next(span for span in by_name["chat gpt-5-mini"] if "surefoot.attempts" in span.attributes)
    attempts = [span for span in seen.spans if "surefoot.attempt.number" in span.attributes]
    assert call.parent.span_id == outer.get_span_context().span_id
    assert [span.parent.span_id for span in attempts] == [call.context.span_id] * 2
    assert [span.attributes.get("error.type") for span in attempts] == ["Overloaded", None]
    assert call.attributes["gen_ai.provider.name"] == "openai"
    assert call.attributes["surefoot.attempts"] == 2
    assert [event.name for event in call.events] == ["surefoot.Retried"]
    for span in attempts:
        assert call.start_time - 50_000_000 <= span.start_time <= span.end_time <= call.end_time + 50_000_000


def test_another_model_asked_is_the_one_that_is_named(seen):
    """Whoever adds up cost by model must not find gpt-4o under gpt-5-mini."""
    chat = ChatModel(Scripted("fine", name="openai:gpt-5-mini"), policy=QUICK)
    seen.listen(chat)
    chat.invoke("hi", model="gpt-4o")
    assert {span.attributes["gen_ai.request.model"] for span in seen.spans} == {"gpt-4o"}
    for metric in seen.metrics.values():
        assert {point.attributes["gen_ai.request.model"] for point in metric.data.data_points} == {"gpt-4o"}


def test_a_failed_call_is_an_error_by_our_own_name(seen):
    """error.type is the taxonomy people search for."""
    chat = ChatModel(Scripted(Overloaded("busy"), times=3), policy=QUICK)
    seen.listen(chat)
    with pytest.raises(Exhausted):
        chat.invoke("hi")
    call = next(span for span in seen.spans if "surefoot.attempts" in span.attributes)
    assert call.attributes["error.type"] == "Exhausted"
    assert not call.status.is_ok


@pytest.mark.parametrize(
    ("semconv", "tokens"), [("1.37", "gen_ai.client.token.usage"), ("latest", "gen_ai.client.inference.usage.input_tokens")]
)
def test_metrics_speak_either_generation_of_names(seen, semconv, tokens):
    """Names moved; dashboards did not all follow."""
    chat = ChatModel(Scripted("fine", name="openai:m"))
    seen.listen(chat, semconv=semconv)
    for _ in chat.stream("hi"):
        pass
    found = seen.metrics
    assert tokens in found
    assert any(name.endswith("duration") for name in found)
    assert any("time_to_first" in name for name in found)
    assert found["surefoot.attempts"].data.data_points[0].value == 1


def counted(seen) -> tuple[float, float, float]:
    """Input tokens, output tokens and US dollars by the metrics."""
    tokens = {"input": 0.0, "output": 0.0}
    for point in seen.metrics["gen_ai.client.token.usage"].data.data_points:
        tokens[point.attributes["gen_ai.token.type"]] += point.sum
        assert point.attributes["gen_ai.operation.name"] in {"chat", "embeddings"}
    cost = sum(point.value for point in seen.metrics["surefoot.cost"].data.data_points)
    return tokens["input"], tokens["output"], cost


@pytest.mark.parametrize("how", ["shared", "shared streams", "cached", "retried", "first left", "embedded"])
def test_metrics_count_what_the_provider_counts(seen, how):
    """Ten calls that share an answer are billed once: a hundred tokens for ten would be a bill nobody got."""
    with OpenAISim(latency_s=0.1) as sim:
        target = Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key=how, input_usd_per_mtok=1, output_usd_per_mtok=2)
        chat = ChatModel(target, policy=QUICK, cache="memory")
        embed = EmbedModel(target, policy=QUICK, cache="memory")
        for model in (chat, embed):
            seen.listen(model)

        async def stream() -> None:
            async for _ in chat.astream("same", temperature=0):
                pass

        async def ask() -> None:
            if how == "shared streams":
                await asyncio.gather(*(stream() for _ in range(10)))
            elif how == "embedded":
                await asyncio.gather(*(embed.aembed(["a", "b", "a"]) for _ in range(10)))
                await embed.aembed(["b", "a", "c"])
            elif how == "first left":
                first, *others = [asyncio.create_task(chat.ainvoke("same", temperature=0)) for _ in range(10)]
                await asyncio.sleep(0.05)
                first.cancel()
                await asyncio.gather(first, *others, return_exceptions=True)
            else:
                await asyncio.gather(*(chat.ainvoke("same", temperature=0) for _ in range(10)))
            if how == "cached":
                await chat.ainvoke("same", temperature=0)

        if how == "retried":
            sim.script([fault("status_503"), OK])
        asyncio.run(ask())
        for model in (chat, embed):
            model.close()
        billed = [sum(getattr(one, field) for one in sim.usage_log.values()) for field in ("input_tokens", "output_tokens")]
    assert billed[0] > 0
    inputs, outputs, cost = counted(seen)
    assert [inputs, outputs] == billed
    assert cost == pytest.approx((billed[0] + 2 * billed[1]) / 1e6)
    calls = [span for span in seen.spans if "surefoot.attempts" in span.attributes]
    assert sum(span.attributes.get("gen_ai.usage.input_tokens", 0) for span in calls) in {billed[0], 0 if how == "first left" else -1}


def test_no_prompt_answer_tenant_or_tag_is_exported(seen):
    """Content capture is off, and there is no switch to forget."""
    chat = ChatModel(Scripted("ANSWER-CANARY", name="openai:m"))
    seen.listen(chat)
    with surefoot.scope(tenant="TENANT-CANARY", tags={"k": "TAG-CANARY"}):
        chat.invoke("PROMPT-CANARY")
    text = "".join(span.to_json() for span in seen.spans) + seen.reader.get_metrics_data().to_json()
    assert "CANARY" not in text


def test_a_runner_that_lost_is_a_span_too(seen):
    """It was sent and may be billed; that it is closed only after its call has ended is no reason not to show it."""
    otel = OpenTelemetry(tracer_provider=seen.tracers, meter_provider=seen.meters)
    lost = AttemptRecord(number=1, target="openai:m", started_s=1.0)
    won = AttemptRecord(number=2, target="openai:m", kind="hedge", started_s=2.0, seconds=1.0)
    otel(CallStarted(call_id="c", at_s=1.0))
    otel(AttemptEnded(call_id="c", at_s=3.0, attempt=won))
    otel(CallEnded(call_id="c", at_s=3.0, target="openai:m", attempts=2, hedges=1, trail=(lost, won)))
    lost.seconds, lost.error = 2.5, "CancelledError"
    otel(AttemptEnded(call_id="c", at_s=3.5, attempt=lost))
    spans = {span.attributes.get("surefoot.attempt.number"): span for span in seen.spans}
    assert spans[1].parent.span_id == spans[2].parent.span_id == spans[None].context.span_id
    assert spans[1].attributes["error.type"] == "CancelledError"


def test_a_budgets_warning_names_no_tenant(seen):
    """Its account holds the tenant's name, which is for the tenant's own books."""
    otel = OpenTelemetry(tracer_provider=seen.tracers, meter_provider=seen.meters)
    otel(CallStarted(call_id="c"))
    otel(BudgetWarning(call_id="c", what="tenant=TENANT-CANARY|2026-11", spent_usd=1.0, limit_usd=1.0))
    otel(RateLearned(call_id="c", target="openai:m", what="requests", per_minute=60.0))
    otel(CallEnded(call_id="c", target="openai:m"))
    (span,) = seen.spans
    assert [event.name for event in span.events] == ["surefoot.BudgetWarning", "surefoot.RateLearned"]
    assert span.events[1].attributes["surefoot.what"] == "requests"
    assert "CANARY" not in span.to_json()
