"""What tracers are told of a model: provider, model, tokens, cached and reasoning among them, whole and streamed.

openinference over both frameworks, Langfuse's callback with a receiver of its own on loopback, and surefoot's own OpenTelemetry.
"""

from __future__ import annotations

import asyncio
import functools
import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytest.importorskip("openinference.instrumentation.langchain", reason="the clients are not installed here: `make test-clients`")
pytest.importorskip("openinference.instrumentation.llama_index", reason="the clients are not installed here: `make test-clients`")
pytest.importorskip("langfuse", reason="the clients are not installed here: `make test-clients`")

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langfuse import Langfuse
from langfuse.langchain import CallbackHandler
from llama_index.core.llms import ChatMessage
from openinference.instrumentation.langchain import LangChainInstrumentor
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.clients.beside import EVERY, Desk, after_tools, call
from tests.clients.beside import beside as any_beside

beside = functools.partial(any_beside, framework="langchain")
LONG = "The harbour office opens at eight. " * 160  # so long that its beginning is cached when it comes again
THINKING: dict[str, dict[str, Any]] = {
    "openai": {"reasoning_effort": "low"},
    "responses": {"reasoning_effort": "low"},
    "anthropic": {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2048},
    "google": {"thinking_budget": 64},
}
COUNTS = {
    "input": "llm.token_count.prompt",
    "output": "llm.token_count.completion",
    "total": "llm.token_count.total",
    "cached": "llm.token_count.prompt_details.cache_read",
    "reasoning": "llm.token_count.completion_details.reasoning",
}


@tool
def weather(city: str) -> str:
    """Weather of a city."""
    return f"rain in {city}"


@contextmanager
def traced(instrumentor: Any) -> Iterator[list[dict[str, Any]]]:
    """The attributes of the spans of models that an instrumentation of openinference writes meanwhile."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor.instrument(tracer_provider=provider)
    found: list[dict[str, Any]] = []
    try:
        yield found
    finally:
        instrumentor.uninstrument()
        spans = [dict(one.attributes or {}) for one in exporter.get_finished_spans()]
        found += [one for one in spans if one.get("openinference.span.kind") in ("LLM", "EMBEDDING")]


def told(span: dict[str, Any]) -> dict[str, Any]:
    """Who answered, and what it cost; a detail of 0 says the same as none."""
    counts = {name: span[key] for name, key in COUNTS.items() if span.get(key)}
    names = {name: span.get(f"llm.{name}") for name in ("model_name", "provider", "system")}
    counts.setdefault("total", counts.get("input", 0) + counts.get("output", 0))  # which some leave to the reader
    return {**names, "usage": counts, "tool": span.get("llm.output_messages.0.message.tool_calls.0.tool_call.function.name")}


THOUGHTS = "ours tells the tokens of thoughts apart, which the official class of Anthropic leaves out of whole answers"


@beside(*EVERY, differs={"anthropic: whole": THOUGHTS, "anthropic: awaited": THOUGHTS})
def test_openinference_of_langchain(desk: Desk):
    desk.answers("At eight.")
    with traced(LangChainInstrumentor()) as spans:
        model = desk.llm(**THINKING[desk.wire])
        model.invoke(LONG)
        list(model.stream(LONG))
        asyncio.run(model.ainvoke(LONG))
    assert len(spans) == 3
    details = {name for one in spans for name in told(one)["usage"]} - {"input", "output", "total"}
    assert desk.wire == "anthropic" or details == {"cached", "reasoning"}
    return {"whole": told(spans[0]), "streamed": told(spans[1]), "awaited": told(spans[2])}


@beside(*EVERY)
def test_openinference_of_an_agent(desk: Desk):
    desk.answers(after_tools(call("weather", city="Izmir"), "It rains."))
    with traced(LangChainInstrumentor()) as spans:
        create_agent(desk.llm(), tools=[weather]).invoke({"messages": [HumanMessage("weather?")]})
    assert told(spans[0])["tool"] == "weather"
    return {"spans": [told(one) for one in spans]}


BY_CLASS = "openinference takes the provider from the class of a LlamaIndex model; one class for many vendors has none"
LLAMA_INDEX = {
    "openai: who": BY_CLASS,
    "anthropic: who": BY_CLASS,
    "anthropic: models": "acomplete of the official class is two spans, one in the other",
    "openai: streamed": "the official class asks for no usage in streams",
    "openai: embedded": "the model's name has its provider before it, as everywhere with ours",
}


@beside("openai", "anthropic", "google", framework="llama_index", differs=LLAMA_INDEX)
def test_openinference_of_llama_index(desk: Desk):
    desk.answers("At eight.")
    with traced(LlamaIndexInstrumentor()) as spans:
        model = desk.llm()
        model.chat([ChatMessage(LONG)])
        list(model.stream_chat([ChatMessage(LONG)]))
        asyncio.run(model.acomplete(LONG))
        if desk.wire == "openai":
            desk.embed().get_text_embedding("harbour")
    found = [told(one) for one in spans if one["openinference.span.kind"] == "LLM"]
    embedded = [one.get("embedding.model_name") for one in spans if one["openinference.span.kind"] == "EMBEDDING"]
    return {
        "models": [one["model_name"] for one in found],
        "who": [[one["provider"], one["system"]] for one in found],
        "usage": [found[0]["usage"], found[2]["usage"]],
        "streamed": found[1]["usage"],
        "embedded": embedded,
    }


@contextmanager
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An OTLP receiver over HTTP: the attributes of every span that is sent to it."""
    found: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            body = gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body
            if self.path.endswith("/v1/traces"):
                request = ExportTraceServiceRequest.FromString(body)
                spans = [span for one in request.resource_spans for scope in one.scope_spans for span in scope.spans]
                found.extend({item.key: item.value.string_value for item in span.attributes} for span in spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@beside(*EVERY, differs={"anthropic: whole": THOUGHTS})
def test_langfuse(desk: Desk):
    """Its callback, its exporter and its format, as they are."""
    desk.answers("At eight.")
    key = f"pk-lf-{desk.wire}-{desk.is_ours}"
    with receiver() as (url, spans):
        client = Langfuse(public_key=key, secret_key="sk-lf-simulated", host=url, tracer_provider=TracerProvider())
        config = {"callbacks": [CallbackHandler(public_key=key)]}
        model = desk.llm(**THINKING[desk.wire])
        model.invoke(LONG, config)
        list(model.stream(LONG, config))
        client.flush()
        client.shutdown()
    generations = [one for one in spans if one.get("langfuse.observation.type") == "generation"]
    assert len(generations) == 2
    seen = []
    for one in generations:
        usage = json.loads(one["langfuse.observation.usage_details"])
        seen.append({"model": one["langfuse.observation.model.name"], "tokens": {name: count for name, count in usage.items() if count}})
    return {"whole": seen[0], "streamed": seen[1]}


@pytest.mark.heavy
@pytest.mark.parametrize("wire", EVERY)
def test_surefoots_own_spans_say_the_same(wire: str):
    """There is no official class for it: it is held against what the vendor billed."""
    from surefoot.telemetry.otel import OpenTelemetry
    from tests.clients.beside import SIMS

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with SIMS[wire]() as sim:
        desk = Desk("langchain", wire, sim, is_ours=True)
        desk.answers("At eight.")
        model = desk.llm(**THINKING[wire])
        OpenTelemetry(tracer_provider=provider).watch(model.surefoot)
        model.invoke(LONG)
        list(model.stream(LONG))
        bills = [one.counts for one in sim.usage_log.values()]
    spans = [dict(one.attributes or {}) for one in exporter.get_finished_spans() if one.parent is None]
    assert [one["gen_ai.usage.input_tokens"] for one in spans] == [one.input for one in bills]
    assert [one["gen_ai.usage.output_tokens"] for one in spans] == [one.output for one in bills]
    assert [one.get("gen_ai.usage.cache_read_input_tokens", 0) for one in spans] == [one.cached for one in bills]
    assert [one.get("gen_ai.usage.reasoning.output_tokens", 0) for one in spans] == [one.reasoning for one in bills]
    assert sum(one.reasoning for one in bills)
    provider = {"openai": "openai", "responses": "openai", "anthropic": "anthropic", "google": "gcp.gemini"}[wire]
    assert {one["gen_ai.provider.name"] for one in spans} == {provider}
    assert {one["gen_ai.request.model"] for one in spans} == {desk.llm().model_name}
