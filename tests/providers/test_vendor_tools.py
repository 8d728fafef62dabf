"""What a vendor alone understands: its own tools, fields, headers and query of a call. Sent to it as they are, never to another."""

from __future__ import annotations

import asyncio

import msgspec
import openai
import pytest

from surefoot import ChatModel, Policy, Target
from surefoot.core.deltas import from_deltas
from surefoot.core.tool_dicts import tool_of
from surefoot.errors import BadRequest, Overloaded, Unsupported
from surefoot.layers.repeat.fallback import Fallback
from surefoot.providers.anthropic import responses as anthropic_responses
from surefoot.providers.anthropic import stream as anthropic_stream
from surefoot.providers.anthropic.requests import AnthropicDialect
from surefoot.providers.anthropic.requests import chat_body as anthropic_body
from surefoot.providers.google.requests import GoogleDialect
from surefoot.providers.google.requests import chat_body as google_body
from surefoot.providers.openai.requests import OpenAIDialect, chat_body
from surefoot.testing import Scripted
from surefoot.testing.wire import AnthropicSim, GeminiSim, OpenAISim
from surefoot.types import Call, CallState, ChatRequest, Delta, Message, Schema, Tool, Traits

SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
GOOGLE = {"google_search": {}}
SERVER = {"type": "web_search", "search_context_size": "low"}
WEATHER = Tool.of("weather", "of a city", {"type": "object", "properties": {"city": {"type": "string"}}})
MARKED = {"name": "clock", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}


def body_of(vendor: str, *, is_openai: bool = False, **fields) -> dict:
    request = ChatRequest(messages=(Message.user("hi"),), **fields)
    if vendor == "anthropic":
        return msgspec.json.decode(anthropic_body(request, "claude-sonnet-4-5", stream=False, dialect=AnthropicDialect(target="t")).data)
    if vendor == "google":
        return msgspec.json.decode(google_body(request, "gemini-3-flash", dialect=GoogleDialect(target="t")))
    return msgspec.json.decode(chat_body(request, "m", stream=False, dialect=OpenAIDialect(target="t", is_openai=is_openai)))


OWNERS = {"anthropic": SEARCH, "google": GOOGLE, "openai": SERVER}


@pytest.mark.parametrize("vendor", OWNERS)
@pytest.mark.parametrize("owner", OWNERS)
def test_a_vendors_own_tool_goes_to_it_as_it_is_and_nowhere_else(vendor, owner):
    """Beside the caller's own; refused before sending, so that a fallback can still go to the right one."""
    tools = (tool_of(OWNERS[owner]), WEATHER)
    if vendor != owner:
        with pytest.raises(Unsupported, match=f"{owner}'s own"):
            body_of(vendor, tools=tools)
        return
    own, ours = body_of(vendor, tools=tools)["tools"]
    assert own == OWNERS[owner]
    assert "weather" in str(ours)


def test_openai_itself_is_not_sent_what_its_chat_api_does_not_know():
    """Its built-in tools live in another API; a free-text tool's calls nobody could run."""
    for given, is_openai in ((SERVER, True), ({"type": "custom", "name": "sql"}, True), ({"type": "custom", "name": "sql"}, False)):
        with pytest.raises(Unsupported):
            body_of("openai", tools=(tool_of(given),), is_openai=is_openai)


def test_words_beside_a_function_reach_their_vendor_and_no_other():
    """The others take the same function without them."""
    tool = tool_of(MARKED)
    assert body_of("anthropic", tools=(tool,))["tools"] == [MARKED]
    assert body_of("openai", tools=(tool,))["tools"] == [
        {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
    ]


def test_openai_is_not_sent_anthropics_words_in_its_own_spelling():
    """People mark OpenAI's dicts of functions for Claude's cache; OpenAI answers with a 400, servers of its protocol pass them on."""
    plain = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    marked = tool_of(plain | {"cache_control": {"type": "ephemeral"}})
    assert body_of("openai", tools=(marked,), is_openai=True)["tools"] == [plain]
    assert body_of("openai", tools=(marked,))["tools"] == [plain | {"cache_control": {"type": "ephemeral"}}]


def test_extra_is_merged_and_not_laid_over_what_was_built():
    """A tool in extra stands beside the bound ones, a generation setting beside the others; another type is another thing."""
    tools = body_of("anthropic", tools=(WEATHER,), extra=msgspec.json.encode({"tools": [SEARCH]}).decode())["tools"]
    assert {one["name"] for one in tools} == {"weather", "web_search"}
    config = body_of("google", temperature=0.5, extra='{"generationConfig": {"topK": 5}}')["generationConfig"]
    assert config == {"temperature": 0.5, "topK": 5}
    shape = body_of("openai", schema=Schema.of("a", {"type": "object"}), extra='{"response_format": {"type": "text"}}')["response_format"]
    assert shape == {"type": "text"}
    joined = body_of("openai", stop=("END",), extra='{"stop": ["STOP"]}')["stop"]
    assert joined == ["END", "STOP"]
    strict = body_of("openai", schema=Schema.of("a", {"type": "object"}), extra='{"response_format": {"json_schema": {"strict": true}}}')
    assert strict["response_format"]["json_schema"] == {"name": "a", "schema": {"type": "object"}, "strict": True}
    assert body_of("openai", extra='{"extra_body": {"top_k": 3}, "min_p": 0.1}').keys() >= {"top_k", "min_p"}


VENDORS = {
    "openai": (OpenAISim, "openai:m", "/v1"),
    "anthropic": (AnthropicSim, "anthropic:claude-haiku-4-5", ""),
    "google": (GeminiSim, "google:gemini-3-flash", ""),
}
EXTRA = {"extra_headers": {"x-team": "b", "X-Trace": "t-1"}, "extra_query": {"beta": True, "v": 2}}
HEADERS = (("X-Team", "a"),)


def check_two_calls(sim, target: Target) -> None:
    """One with headers and a query of its own, one without."""
    chat = ChatModel(target, policy=Policy(attempts=1))
    chat.invoke("hi", extra=EXTRA)
    chat.invoke("hi")
    first, second = sim.requests
    assert [value for name, value in first.headers.items() if name.lower() in {"x-team", "x-trace"}] == ["b", "t-1"]
    assert first.query == "beta=true&v=2"
    assert first.json == second.json
    assert (second.headers.get("x-team"), second.headers.get("x-trace"), second.query) == ("a", None, "")


@pytest.mark.parametrize("lane", ["sdk", "direct"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_headers_and_query_of_one_call_go_where_they_belong(vendor, lane):
    """In the body they would be refused, or show a token in the server's log of bodies; another call does not have them."""
    sim_class, name, root = VENDORS[vendor]
    with sim_class() as sim:
        check_two_calls(sim, Target(name, base_url=f"{sim.url}{root}", api_key="k", lane=lane, headers=HEADERS))


def test_headers_and_query_of_one_call_go_through_a_client_of_the_callers():
    """Azure's client finds its address by the path, which must stay as it is."""
    with OpenAISim() as sim:
        client = openai.AsyncAzureOpenAI(base_url=f"{sim.url}/v1", api_key="k", api_version="2024-10-21")
        chat = ChatModel(Target("openai:m", client=client, headers=HEADERS), policy=Policy(attempts=1))
        chat.invoke("hi", extra=EXTRA)
        (request,) = sim.requests
    assert (request.headers.get("x-team"), request.headers.get("x-trace")) == ("b", "t-1")
    assert set(request.query.split("&")) == {"api-version=2024-10-21", "beta=true", "v=2"}
    assert set(request.json) == {"model", "messages"}


@pytest.mark.parametrize(
    "extra",
    [
        {"extra_headers": {"x": "a\nb: c"}},
        {"extra_headers": {"Content-Length": "1"}},
        {"extra_headers": {"ü": "1"}},
        {"extra_headers": ["x"]},
        {"extra_query": {"x": {}}},
        {"timeout": 5},
    ],
    ids=str,
)
def test_what_cannot_go_out_is_told_before_anything_is_sent(extra):
    """A header that breaks out of its line is another request; a timeout in the body bounds nothing."""
    with OpenAISim() as sim:
        chat = ChatModel(Target("openai:m", base_url=f"{sim.url}/v1", api_key="k", lane="direct"), policy=Policy(attempts=1))
        with pytest.raises(BadRequest, match=r"extra"):
            chat.invoke("hi", extra=extra)
        assert not sim.requests


def test_a_servers_own_words_stay_there_when_another_model_is_asked():
    """`extra` and an effort were said of the first target; a replica of it takes them, another server may refuse them."""

    def asked(first: str, second: str, names=("openai:a", "openai:b")) -> ChatRequest:
        providers = [Scripted(Overloaded("down")), Scripted("fine")]
        layer = Fallback(handlers=[provider.chat for provider in providers], names=names, traits=[Traits(host=first), Traits(host=second)])
        request = ChatRequest(messages=(Message.user("hi"),), extra='{"x": 1}', reasoning_effort="low")
        asyncio.run(layer(Call(request=request, state=CallState())))
        return providers[1].requests[0]

    elsewhere = asked("", "other:8000")
    assert (elsewhere.extra, elsewhere.reasoning_effort) == ("", "")
    assert (asked("one:8000", "").extra, asked("one:8000", "").reasoning_effort) == ("", "low")
    for same in (asked("", ""), asked("one:1", "two:2", names=("openai:a", "openai:a"))):
        assert (same.extra, same.reasoning_effort) == ('{"x": 1}', "low")


SERVER_BLOCKS = [
    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
    {"type": "mcp_tool_use", "id": "s2", "name": "f", "server_name": "x", "input": {}},
    {"type": "some_new_tool_use", "id": "s3", "input": {}},
]


@pytest.mark.parametrize("block", SERVER_BLOCKS, ids=lambda one: one["type"])
def test_a_servers_own_tool_at_work_is_no_call_of_the_callers(block):
    """Its input comes in the same pieces; taken for the caller's, it would be run, or spoil the arguments of the call beside it."""
    reader = anthropic_stream.AnthropicChatReader(
        anthropic_responses.AnthropicContext("t", "", ChatRequest(messages=()), "", lambda _: Overloaded("x"))
    )
    own = {"type": "tool_use", "id": "t1", "name": "weather", "input": {}}
    deltas: list[Delta] = []
    for index, (start, pieces) in enumerate(((block, ('{"query":', '"x"}')), (own, ('{"city":', '"Bergen"}')), (block, ("{}",)))):
        events = [{"type": "content_block_start", "index": index, "content_block": start}]
        events += [
            {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": p}} for p in pieces
        ]
        for event in events:
            reader.read(msgspec.json.encode(event), deltas)
    reader.read(b'{"type": "message_delta", "delta": {"stop_reason": "tool_use"}}', deltas)
    reader.end(deltas)
    assert [(call.id, call.name, call.arguments, call.error) for call in from_deltas(deltas).tool_calls] == [
        ("t1", "weather", '{"city":"Bergen"}', "")
    ]
