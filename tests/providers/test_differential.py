"""What we send and read beside what the vendors' own SDKs send and read: hundreds of random requests and answers, each the same twice.

Differences that are meant stand here with their names; any other is a mistake of ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types
from msgspec import Struct

from surefoot.core.deltas import from_deltas
from surefoot.providers.anthropic.requests import AnthropicDialect
from surefoot.providers.anthropic.requests import chat_body as anthropic_body
from surefoot.providers.anthropic.responses import AnthropicContext
from surefoot.providers.anthropic.responses import chat_reply as anthropic_reply
from surefoot.providers.anthropic.stream import AnthropicChatReader
from surefoot.providers.google.requests import GoogleDialect
from surefoot.providers.google.requests import chat_body as google_body
from surefoot.providers.google.responses import GoogleChatReader
from surefoot.providers.google.responses import chat_reply as google_reply
from surefoot.providers.http.reading import ReadingContext
from surefoot.providers.http.sdk import http_module
from surefoot.providers.http.sse import EventParser
from surefoot.providers.openai.dialect import OpenAIDialect
from surefoot.providers.openai.requests import chat_body as openai_body
from surefoot.providers.openai.responses import chat_reply as openai_reply
from surefoot.providers.openai.responses_api.answers import chat_reply as responses_reply
from surefoot.providers.openai.responses_api.events import ResponsesReader
from surefoot.providers.openai.responses_api.requests import responses_body
from surefoot.providers.openai.stream import OpenAIChatReader
from surefoot.types import ChatReply, ChatRequest, Message
from tests.providers import sdk_answers as answering
from tests.providers import sdk_requests as asking

ROWS = 200
EVERY = 4  # of the streams one in so many is read by the SDK, too, which takes its time; all of them by us
SEEDS = [pytest.param(20261130, id="usual"), *(pytest.param(seed, id=f"seed{seed}", marks=pytest.mark.heavy) for seed in range(10))]
OPENAI = OpenAIDialect(target="openai:m", is_openai=True, host="api.openai.com")


def catching(module: Any) -> tuple[Any, list[dict[str, Any]]]:
    """A transport of the SDK's HTTP library that keeps what is sent, and answers with what is set."""
    sent: list[dict[str, Any]] = []

    class Transport(module.BaseTransport):  # type: ignore[misc,name-defined]
        answer = b"{}"
        kind = "application/json"

        def handle_request(self, request: Any) -> Any:
            sent.append(json.loads(request.read()))
            return module.Response(200, headers={"content-type": self.kind}, content=self.answer, request=request)

    return Transport(), sent


@pytest.fixture(scope="module")
def by_openai():
    http = http_module(openai.DefaultHttpxClient)
    transport, sent = catching(http)
    with openai.OpenAI(api_key="k", max_retries=0, http_client=http.Client(transport=transport)) as client:
        yield client, transport, sent


@pytest.fixture(scope="module")
def by_anthropic():
    http = http_module(anthropic.DefaultHttpxClient)
    transport, sent = catching(http)
    with anthropic.Anthropic(api_key="k", max_retries=0, http_client=http.Client(transport=transport)) as client:
        yield client, transport, sent


@pytest.fixture(scope="module")
def by_google():
    http = http_module(type(genai.Client(api_key="k")._api_client._httpx_client))
    transport, sent = catching(http)
    options = types.HttpOptions(httpx_client=http.Client(transport=transport), api_version="v1beta")
    return genai.Client(api_key="k", http_options=options), transport, sent


def requests(seed: int, **without: bool) -> list[asking.Asked]:
    luck = Random(seed)
    return [asking.random_request(luck, **without) for _ in range(ROWS)]


@pytest.mark.parametrize("seed", SEEDS)
def test_chat_completions_are_asked_as_openais_sdk_asks(by_openai, seed):
    """Whole and streamed."""
    client, transport, sent = by_openai
    transport.answer = json.dumps({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": []}).encode()
    for number, asked in enumerate(requests(seed)):
        sent.clear()
        streams: Any = {"stream": True, "stream_options": {"include_usage": True}} if number % 2 else {}
        client.chat.completions.create(**asking.for_chat(asked), **streams)
        assert json.loads(openai_body(asking.ours(asked), "gpt-4.1", stream=bool(streams), dialect=OPENAI)) == sent[0], number


@pytest.mark.parametrize("seed", SEEDS)
def test_responses_are_asked_as_openais_sdk_asks(by_openai, seed):
    """The same conversations as items."""
    client, transport, sent = by_openai
    transport.answer = json.dumps({"id": "r", "object": "response", "created_at": 1, "model": "m", "output": []}).encode()
    for number, asked in enumerate(requests(seed, stops=False, seeds=False)):
        sent.clear()
        streams: Any = {"stream": True} if number % 2 else {}
        client.responses.create(**asking.for_responses(asked), **streams)
        assert json.loads(responses_body(asking.ours(asked), "gpt-4.1", stream=bool(streams), dialect=OPENAI)) == sent[0], number


@pytest.mark.parametrize("seed", SEEDS)
def test_messages_are_asked_as_anthropics_sdk_asks(by_anthropic, seed):
    """With the limit that the API wants where nobody says one."""
    client, transport, sent = by_anthropic
    transport.answer = json.dumps({"id": "m", "type": "message", "role": "assistant", "model": "m", "content": []}).encode()
    for number, asked in enumerate(requests(seed, seeds=False)):
        sent.clear()
        streams: Any = {"stream": True} if number % 2 else {}
        client.messages.create(**asking.for_anthropic(asked), **streams)
        dialect = AnthropicDialect(target="anthropic:m")
        body = anthropic_body(asking.ours(asked), "claude-haiku-4-5", stream=bool(streams), dialect=dialect)
        assert json.loads(body.data) == sent[0], number


def camel(value: Any) -> Any:
    """The SDK spells some names with underscores and some without; the API takes both. What a caller named stays as it is."""
    if isinstance(value, list):
        return [camel(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for name, inner in value.items():
        head, *rest = name.split("_")
        spelled = head + "".join(map(str.capitalize, rest))
        found[spelled] = inner if spelled in {"parametersJsonSchema", "responseJsonSchema", "args", "response"} else camel(inner)
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_contents_are_asked_as_googles_sdk_asks(by_google, seed):
    """Built from the SDK's own types: here it writes each field itself."""
    client, transport, sent = by_google
    transport.answer = json.dumps({"candidates": [{"content": {"parts": [{"text": "x"}], "role": "model"}}]}).encode()
    for number, asked in enumerate(requests(seed)):
        sent.clear()
        client.models.generate_content(**asking.for_google(asked, types))
        body = google_body(asking.ours(asked), "gemini-2.5-flash", dialect=GoogleDialect(target="google:m"))
        theirs = camel(sent[0])
        if theirs.get("generationConfig") == {}:  # the SDK sends an empty one beside tools
            del theirs["generationConfig"]
        assert json.loads(body) == theirs, number


# Answers


class Read(Struct):
    """What an answer says, read by us or by an SDK: its text, its calls, and what was billed for it."""

    text: str
    calls: list[tuple[str, str, Any]]
    usage: tuple[int, ...]
    model: str
    number: str


def by_us(reply: ChatReply) -> Read:
    usage = reply.usage
    calls = [(call.id, call.name, call.parsed()) for call in reply.tool_calls]
    billed = (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens)
    return Read(text=reply.text, calls=calls, usage=billed, model=reply.model, number=reply.response_id or reply.request_id)


def streamed(body: bytes, reader: Any) -> ChatReply:
    """The reply out of a stream's body, by our reader of its events."""
    parser, out = EventParser(), []
    for data in [*parser.feed(body), *parser.close()]:
        reader.read(data, out)
    reader.end(out)
    return from_deltas(out, target="t")


def context(kind: Any, *more: Any) -> Any:
    return kind("t", "", HELLO, *more, lambda error: AssertionError(error))


HELLO = ChatRequest(messages=(Message.user("hi"),))
PLAIN: Any = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def answers(seed: int, make: Any) -> Iterator[tuple[int, Any, bytes]]:
    luck = Random(seed)
    for number in range(ROWS):
        yield number, *make(luck)


@pytest.mark.parametrize("seed", SEEDS)
def test_completions_are_read_as_openais_sdk_reads_them(by_openai, seed):
    """Whole, and put together of pieces: by its own helper and by ours."""
    client, transport, _ = by_openai

    def theirs(found: Any) -> Read:
        said, usage = found.choices[0].message, found.usage
        inputs, outputs = usage.prompt_tokens_details, usage.completion_tokens_details
        cached, thought = inputs.cached_tokens if inputs else 0, outputs.reasoning_tokens if outputs else 0
        return Read(
            text=said.content or "",
            calls=[(call.id, call.function.name, json.loads(call.function.arguments)) for call in said.tool_calls or ()],
            usage=(usage.prompt_tokens, usage.completion_tokens, cached, 0, thought),
            model=found.model,
            number=found.id,
        )

    for number, whole, events in answers(seed, answering.chat_answer):
        transport.answer, transport.kind = json.dumps(whole).encode(), "application/json"
        told = theirs(client.chat.completions.create(**PLAIN))
        assert by_us(openai_reply(transport.answer, "application/json", context(ReadingContext))) == told, number
        transport.answer, transport.kind = events, "text/event-stream"
        with (
            suppress(openai.LengthFinishReasonError),
            client.chat.completions.stream(**PLAIN, stream_options={"include_usage": True}) as stream,
        ):
            assert theirs(stream.get_final_completion()) == told, number
        assert by_us(streamed(events, OpenAIChatReader(context(ReadingContext)))) == told, number


@pytest.mark.parametrize("seed", SEEDS)
def test_responses_are_read_as_openais_sdk_reads_them(by_openai, seed):
    """The text of all messages, the calls, and nothing that the server did on its own."""
    client, transport, _ = by_openai

    def theirs(found: Any) -> Read:
        usage, inputs = found.usage, found.usage.input_tokens_details
        return Read(
            text=found.output_text,
            calls=[(item.call_id, item.name, json.loads(item.arguments)) for item in found.output if item.type == "function_call"],
            usage=(
                usage.input_tokens,
                usage.output_tokens,
                inputs.cached_tokens,
                inputs.cache_write_tokens,
                usage.output_tokens_details.reasoning_tokens,
            ),
            model=found.model,
            number=found.id,
        )

    for number, whole, events in answers(seed, answering.responses_answer):
        transport.answer, transport.kind = json.dumps(whole).encode(), "application/json"
        told = theirs(client.responses.create(model="m", input="hi"))
        assert by_us(responses_reply(transport.answer, "application/json", context(ReadingContext))) == told, number
        transport.answer, transport.kind = events, "text/event-stream"
        if number % EVERY == 0:
            *_, last = client.responses.create(model="m", input="hi", stream=True)
            assert theirs(last.response) == told, number
        assert by_us(streamed(events, ResponsesReader(context(ReadingContext)))) == told, number


@pytest.mark.parametrize("seed", SEEDS)
def test_messages_are_read_as_anthropics_sdk_reads_them(by_anthropic, seed):
    """Inputs told apart by the cache are one number with us."""
    client, transport, _ = by_anthropic
    asked = {**PLAIN, "max_tokens": 9}

    def theirs(found: Any) -> Read:
        usage = found.usage
        read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
        return Read(
            text="".join(block.text for block in found.content if block.type == "text"),
            calls=[(block.id, block.name, block.input) for block in found.content if block.type == "tool_use"],
            usage=(usage.input_tokens + read + written, usage.output_tokens, read, written, 0),
            model=found.model,
            number=found.id,
        )

    for number, whole, events in answers(seed, answering.anthropic_answer):
        transport.answer, transport.kind = json.dumps(whole).encode(), "application/json"
        told = theirs(client.messages.create(**asked))
        assert by_us(anthropic_reply(transport.answer, "application/json", context(AnthropicContext, ""))) == told, number
        transport.answer, transport.kind = events, "text/event-stream"
        if number % EVERY == 0:
            with client.messages.stream(**asked) as stream:
                assert theirs(stream.get_final_message()) == told, number
        assert by_us(streamed(events, AnthropicChatReader(context(AnthropicContext, "")))) == told, number


@pytest.mark.parametrize("seed", SEEDS)
def test_contents_are_read_as_googles_sdk_reads_them(by_google, seed):
    """Thoughts are outputs, and no part of the text."""
    client, transport, _ = by_google

    def theirs(chunks: list[Any]) -> Read:
        parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
        usage, calls = chunks[-1].usage_metadata, [part.function_call for part in parts if part.function_call]
        thought = usage.thoughts_token_count or 0
        return Read(
            text="".join(part.text for part in parts if part.text and not part.thought),
            calls=[(call.id, call.name, call.args) for call in calls],
            usage=(usage.prompt_token_count, usage.candidates_token_count + thought, usage.cached_content_token_count or 0, 0, thought),
            model=chunks[-1].model_version,
            number=chunks[-1].response_id,
        )

    for number, whole, events in answers(seed, answering.google_answer):
        transport.answer, transport.kind = json.dumps(whole).encode(), "application/json"
        told = theirs([client.models.generate_content(model="gemini-2.5-flash", contents="hi")])
        assert by_us(google_reply(transport.answer, "application/json", context(ReadingContext))) == told, number
        transport.answer, transport.kind = events, "text/event-stream"
        if number % EVERY == 0:
            assert theirs(list(client.models.generate_content_stream(model="gemini-2.5-flash", contents="hi"))) == told, number
        assert by_us(streamed(events, GoogleChatReader(context(ReadingContext)))) == told, number
