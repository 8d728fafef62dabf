"""OpenAI's Responses API as the second dialect of `openai:`: when it is asked, what is sent, what is read, what is given back."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from surefoot import ChatModel, Message, Policy, Target
from surefoot.core.deltas import from_deltas
from surefoot.errors import BadRequest, ContentRefused, Misconfigured, NotFound, Overloaded, RateLimited, Unsupported
from surefoot.events import LeftOut
from surefoot.providers.http.faults import fault_of
from surefoot.providers.http.reading import ReadingContext
from surefoot.providers.http.sse import EventParser
from surefoot.providers.openai.dialect import OpenAIDialect
from surefoot.providers.openai.models import RESPONSES, api_of
from surefoot.providers.openai.responses_api.answers import chat_reply
from surefoot.providers.openai.responses_api.events import ResponsesReader
from surefoot.providers.openai.responses_api.requests import responses_body
from surefoot.testing.wire import OpenAISim, PlainAnswer, PlainToolCall, fault
from surefoot.testing.wire._server._http import WireRequest
from surefoot.types import ChatReply, ChatRequest, Delta, File, Image, Opaque, Reasoning, Schema, Text, Tool, ToolCall

ONCE = Policy(attempts=1, deadline_s=20, breaker=False)
KEY = "k-0123456789012345678901234567"
HOST = "api.openai.com"
VENDOR = f"{RESPONSES}/{HOST}"
DIALECT = OpenAIDialect(target="openai:gpt-5.6", is_openai=True, host=HOST)
WEATHER = Tool.of("weather", "The weather", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
SEARCH = Tool(name="web_search", parameters="", vendor="openai", raw='{"type":"web_search","search_context_size":"low"}')
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
FORCED = (("api", "responses"),)
THOUGHTS = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}], "encrypted_content": "gAAA"}


def body(*messages: Message | str, model: str = "gpt-5.6", left_out: list[str] | None = None, **fields: Any) -> dict[str, Any]:
    said = tuple(Message.user(one) if isinstance(one, str) else one for one in messages or ("hi",))
    return json.loads(responses_body(ChatRequest(messages=said, **fields), model, stream=False, dialect=DIALECT, left_out=left_out))


def asked(**fields: Any) -> ReadingContext:
    request = ChatRequest(messages=(Message.user("hi"),), **fields)
    return ReadingContext("openai:m", "req_1", request, lambda error: fault_of("openai:m", error, request_id="req_1"), VENDOR)


def read(*items: dict[str, Any], status: str = "completed", **fields: Any) -> ChatReply:
    whole = {"id": "resp_1", "object": "response", "model": "gpt-5.6", "status": status, "output": list(items), **fields}
    return chat_reply(json.dumps(whole).encode(), "application/json", asked())


def streamed(*events: dict[str, Any]) -> tuple[ChatReply, list[Delta]]:
    reader, out = ResponsesReader(asked()), []
    for event in events:
        reader.read(json.dumps(event).encode(), out)
    reader.end(out)
    return from_deltas(out, target="openai:m"), out


def said(*parts: dict[str, Any], **about: Any) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": list(parts), **about}


def text(words: str, *annotations: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": words, "annotations": list(annotations), **more}


# Which API is asked


@pytest.mark.parametrize(
    ("model", "fields", "api"),
    [
        ("gpt-4.1", {}, "chat"),
        ("gpt-5.6", {"reasoning_effort": "high"}, "chat"),
        ("gpt-5.6", {"tools": (WEATHER,)}, "chat"),
        ("gpt-5.6", {"tools": (WEATHER,), "reasoning_effort": "none"}, "chat"),
        ("gpt-5.6", {"tools": (WEATHER,), "reasoning_effort": "high"}, "responses"),
        ("gpt-5.4-mini-2026-03-01", {"tools": (WEATHER,), "reasoning_effort": "low"}, "responses"),
        ("gpt-6-astra", {"tools": (WEATHER,)}, "responses"),
        ("gpt-6-astra", {}, "chat"),
        ("gpt-5-pro", {}, "responses"),
        ("gpt-5-pro-2026-01-01", {}, "responses"),
        ("gpt-5.1-codex-max", {}, "responses"),
        ("o3-deep-research", {}, "responses"),
        ("gpt-4.1", {"tools": (SEARCH,)}, "responses"),
        ("gpt-4.1", {"tools": (WEATHER,)}, "chat"),
        ("ft:gpt-4.1:org::id", {"tools": (WEATHER, SEARCH)}, "responses"),
        ("my-deployment", {"tools": (WEATHER,), "reasoning_effort": "high"}, "chat"),
    ],
)
def test_the_api_is_the_one_that_the_model_takes_it_in(model, fields, api):
    """By the table, at OpenAI's own hosts: what Chat Completions refuses goes where it is taken."""
    request = ChatRequest(messages=(Message.user("hi"),), **fields)
    assert api_of(request, model, DIALECT) == api
    elsewhere = OpenAIDialect(target="openai:m", host="127.0.0.1")
    assert api_of(request, model, elsewhere) == "chat"
    for said_so in ("chat", "responses"):
        assert api_of(request, model, OpenAIDialect(target="t", is_openai=True, api=said_so)) == said_so


@pytest.mark.parametrize(
    "message",
    [
        Message.assistant([Opaque.of(VENDOR, THOUGHTS), Text("x")]),
        Message.assistant("x", tool_calls=[ToolCall(id="c", name="f", vendor=VENDOR, extra='{"id":"fc_1"}')]),
        Message.tool([Image(data=PNG)], tool_call_id="c"),
    ],
)
def test_a_conversation_that_was_begun_there_goes_on_there(message):
    """Chat Completions has no place for encrypted thoughts, nor for pictures in a result."""
    request = ChatRequest(messages=(Message.user("hi"), message))
    assert api_of(request, "gpt-5.6", DIALECT) == "responses"
    assert api_of(request, "gpt-5.6", OpenAIDialect(target="t", is_openai=True, api="chat")) == "chat"


def test_an_unknown_api_is_refused():
    """A typo would be Chat Completions in silence."""
    with pytest.raises(Misconfigured, match="'chat' or 'responses'"):
        ChatModel(Target("openai:m", api_key=KEY, options=(("api", "response"),))).invoke("hi")


# What is sent


def test_a_request_in_the_apis_own_words():
    """Nothing is kept by the server, and what it thinks comes back encrypted."""
    left_out: list[str] = []
    found = body(
        Message.system("Be brief."),
        Message.user("hi", name="ada"),
        max_tokens=100, temperature=0.2, top_p=0.5, seed=7, stop=("x",), reasoning_effort="max", parallel_tool_calls=False,
        tools=(WEATHER, SEARCH), tool_choice="weather", schema=Schema.of("a", {"type": "object"}, strict=True), left_out=left_out,
    )  # fmt: skip
    assert found == {
        "model": "gpt-5.6",
        "input": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "max_output_tokens": 100,
        "reasoning": {"effort": "max"},
        "tools": [
            {
                "type": "function",
                "name": "weather",
                "description": "The weather",
                "parameters": json.loads(WEATHER.parameters),
                "strict": False,
            },
            {"type": "web_search", "search_context_size": "low"},
        ],
        "tool_choice": {"type": "function", "name": "weather"},
        "parallel_tool_calls": False,
        "text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True}},
    }
    assert set(left_out) == {"temperature", "top_p", "seed", "stop", "name"}


@pytest.mark.parametrize(
    ("model", "thinks"), [("gpt-4.1", False), ("gpt-4o", False), ("o4-mini", True), ("gpt-5-pro", True), ("gpt-5.1", True)]
)
def test_only_who_can_think_is_asked_for_thoughts(model, thinks):
    """Others answer that with a 400: "Encrypted content is not supported with this model"."""
    assert ("include" in body(model=model)) == thinks
    assert body(model="gpt-4.1", temperature=0.2)["temperature"] == 0.2


def test_extras_lie_beside_what_is_built():
    """Lists are joined, words of Chat Completions get their place here."""
    found = body(
        reasoning_effort="low",
        extra='{"verbosity":"low","logprobs":true,"top_logprobs":2,"include":["web_search_call.results"],"reasoning":{"summary":"auto"}}',
    )
    assert found["text"] == {"verbosity": "low"}
    assert found["include"] == ["reasoning.encrypted_content", "message.output_text.logprobs", "web_search_call.results"]
    assert found["reasoning"] == {"effort": "low", "summary": "auto"}
    assert found["top_logprobs"] == 2


def test_pictures_and_files_go_where_the_api_wants_them():
    """In questions and in tools' results."""
    parts = [
        "look",
        Image(data=PNG, detail="low"),
        Image(url="https://e/a.png"),
        File(data=b"%PDF-", name="a.pdf"),
        File(url="https://e/b.pdf"),
    ]
    call = ToolCall(id="c1", name="f", arguments="{}")
    found = body(
        Message.user(parts), Message.assistant("", tool_calls=[call]), Message.tool([Image(data=PNG)], tool_call_id="c1", is_error=True)
    )
    kinds = [(part["type"], sorted(set(part) - {"type"})) for part in found["input"][0]["content"]]
    assert kinds == [
        ("input_text", ["text"]), ("input_image", ["detail", "image_url"]), ("input_image", ["detail", "image_url"]),
        ("input_file", ["file_data", "filename"]), ("input_file", ["file_url"]),
    ]  # fmt: skip
    assert [part["type"] for part in found["input"][2]["output"]] == ["input_text", "input_image"]
    with pytest.raises(Unsupported, match='"api", "chat"'):
        body(Message.user([File(data=b"RIFF", media_type="audio/wav")]))


def test_functions_as_chat_completions_nests_them_are_taken():
    """A tool's dict that holds words of OpenAI's own is kept as it is, and must not lose its name on the way."""
    nested = Tool(
        name="f",
        vendor="openai",
        raw='{"type":"function","defer_loading":true,"function":{"name":"f","strict":true,"parameters":{"type":"object"}}}',
    )
    (tool,) = body(tools=(nested,))["tools"]
    assert tool == {"type": "function", "defer_loading": True, "name": "f", "strict": True, "parameters": {"type": "object"}}


# A turn and the next


def test_an_answers_items_go_back_in_their_place():
    """Thoughts before what they led to, searches and messages with their ids; what another vendor said is left out and told."""
    reply = read(
        THOUGHTS,
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
        said(
            text("Found.", {"type": "url_citation", "url": "https://e", "title": "E", "start_index": 0, "end_index": 5}), phase="commentary"
        ),
        {**THOUGHTS, "id": "rs_2"},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": '{"city":"x"}', "status": "completed"},
    )
    left_out: list[str] = []
    foreign = Message.assistant([Reasoning(text="t", signature="s", vendor="anthropic"), Text("old")])
    found = body("q", foreign, "go on", reply.message, Message.tool("22", tool_call_id="call_1"), left_out=left_out)["input"]
    assert found[3:] == [
        THOUGHTS,
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
        {
            "type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "phase": "commentary",
            "content": [text("Found.", {"type": "url_citation", "url": "https://e", "title": "E", "start_index": 0, "end_index": 5})],
        },
        {**THOUGHTS, "id": "rs_2"},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": '{"city":"x"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "22"},
    ]  # fmt: skip
    assert found[1] == {"role": "assistant", "content": "old"}
    assert left_out == ["reasoning of anthropic"]


def test_thoughts_without_their_encrypted_content_stay_behind():
    """A server that has kept nothing answers their id with a 404."""
    plain = {name: value for name, value in THOUGHTS.items() if name != "encrypted_content"}
    reply = read(plain, said(text("x")))
    assert reply.reasoning == "Hm."
    assert [item.get("type", "message") for item in body("q", reply.message, "more")["input"]] == ["message"] * 3


def test_what_was_said_there_is_no_other_servers():
    """Nor another host's of the same API: it could not read what is encrypted."""
    other = Message.assistant(
        [Opaque.of(f"{RESPONSES}/127.0.0.1:9", THOUGHTS), Text("x", extra='{"id":"msg_1"}', vendor=f"{RESPONSES}/127.0.0.1:9")]
    )
    left_out: list[str] = []
    assert body("q", other, "more", left_out=left_out)["input"][1] == {"role": "assistant", "content": "x"}
    assert left_out == [f"reasoning of {RESPONSES}/127.0.0.1:9", f"id of {RESPONSES}/127.0.0.1:9"]


@pytest.mark.parametrize("lane", ["sdk", "direct"])
@pytest.mark.parametrize("stream", [False, True])
def test_two_turns_with_thoughts_before_a_server_that_wants_them_back(lane, stream):
    """It refuses a call without the thoughts that led to it, thoughts of nobody's, and ids of what it has not kept."""
    with OpenAISim() as sim:
        target = Target("openai:gpt-5.6", base_url=f"{sim.url}/v1", api_key=KEY, lane=lane, options=FORCED)
        chat = ChatModel(target, policy=ONCE)
        conversation = [Message.user("call weather('Paris')")]
        for turn in range(3):
            fields: dict[str, Any] = {"tools": [WEATHER, SEARCH], "reasoning_effort": "low", "extra": {"reasoning": {"summary": "auto"}}}
            if stream:
                answer = chat.stream(conversation, **fields)
                list(answer)
                reply = answer.reply
            else:
                reply = chat.invoke(conversation, **fields)
            assert [part.kind for part in reply.parts if isinstance(part, Opaque)] == ["reasoning", "web_search_call"]
            assert reply.reasoning
            assert reply.usage.reasoning_tokens == 32
            assert reply.raw["id"] == reply.response_id == f"resp_{turn:012x}"
            conversation.append(reply.message)
            if reply.tool_calls:
                assert [call.name for call in reply.tool_calls] == ["weather"]  # a search of the server's is none of the caller's
                conversation.append(Message.tool("22 °C", tool_call_id=reply.tool_calls[0].id))
            else:
                conversation.append(Message.user("and then?"))
        assert "22 °C" in conversation[-4].text
        without = [Message.user("x"), Message.assistant("", tool_calls=[ToolCall(id="call_1_rs_0", name="weather")])]
        with pytest.raises(BadRequest, match="without its required 'reasoning' item"):
            chat.invoke([*without, Message.tool("22", tool_call_id="call_1_rs_0")])


def test_a_tool_of_free_text_is_called_and_answered():
    """Its text stands in one argument, so that every framework can run it, and goes back as text."""
    run = Tool(name="run", parameters="", vendor="openai", raw='{"type":"custom","name":"run","description":"Runs code"}')
    with OpenAISim(answer=lambda ask: PlainAnswer(calls=(PlainToolCall("run", "print(1)"),)) if len(ask.turns) == 1 else None) as sim:
        chat = ChatModel(Target("openai:gpt-5.6", base_url=f"{sim.url}/v1", api_key=KEY, options=FORCED), policy=ONCE)
        for stream in (False, True):
            answer = chat.stream("go", tools=[run], tool_choice="run") if stream else None
            reply = chat.invoke("go", tools=[run], tool_choice="run") if answer is None else (list(answer), answer.reply)[1]
            (call,) = reply.tool_calls
            assert call.parsed() == {"input": "print(1)"}
            chat.invoke([Message.user("go"), reply.message, Message.tool("1", tool_call_id=call.id)], tools=[run])
            items = sim.requests[-1].json["input"]
            assert [item.get("type") for item in items] == [None, "custom_tool_call", "custom_tool_call_output"]
            assert items[1]["input"] == "print(1)"
        assert sim.requests[0].json["tool_choice"] == {"type": "custom", "name": "run"}


# What is read


def test_what_an_answer_says_beside_its_text():
    """Sources with their place in the whole text, probabilities, pictures, usage with its details."""
    reply = read(
        said(text("One. ")),
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": b64encode(PNG).decode(), "output_format": "webp"},
        said(
            text("Two.", {"type": "url_citation", "url": "https://e", "title": "E", "start_index": 0, "end_index": 3},
                 {"type": "file_citation", "file_id": "file-1", "filename": "a.pdf", "index": 3},
                 logprobs=[{"token": "Two", "logprob": -0.1, "top_logprobs": [{"token": "Due", "logprob": -2.0}]}]),
            id="msg_2",
        ),
        usage={
            "input_tokens": 9, "output_tokens": 8, "total_tokens": 17, "output_tokens_details": {"reasoning_tokens": 3},
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        },
    )  # fmt: skip
    assert reply.text == "One. Two."
    assert [(one.url, one.source, one.title, one.start, one.end) for one in reply.citations] == [
        ("https://e", "", "E", 5, 8), ("", "file-1", "a.pdf", None, None),
    ]  # fmt: skip
    assert [(one.token, one.top) for one in reply.logprobs] == [("Two", (("Due", -2.0),))]
    assert [(one.data, one.media_type) for one in reply.images] == [(PNG, "image/webp")]
    assert (reply.usage.cached_tokens, reply.usage.cache_write_tokens, reply.usage.reasoning_tokens) == (4, 2, 3)
    again = body("q", reply.message, "more")["input"][2]
    assert again == {
        "type": "image_generation_call", "result": b64encode(PNG).decode(), "id": "ig_1", "status": "completed", "output_format": "webp",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("why", "finish"),
    [("max_output_tokens", "length"), ("max_messages", "length"), ("content_filter", "content_filter"), ("steered", "other")],
)
def test_a_cut_answers_call_is_never_run(why, finish):
    """Whatever cut it, and however whole its arguments look."""
    call = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "pay", "arguments": "{}", "status": "completed"}
    reply = read(call, status="incomplete", incomplete_details={"reason": why})
    assert reply.finish_reason == finish
    assert [one.error != "" for one in reply.tool_calls] == [True]
    whole: Any = {"id": "r", "status": "incomplete", "incomplete_details": {"reason": why}, "output": [call]}
    done = {"type": "response.output_item.done", "output_index": 0, "item": call}
    again, _ = streamed(done, {"type": "response.incomplete", "response": whole})
    assert again.finish_reason == finish
    assert [one.error != "" for one in again.tool_calls] == [True]


def test_a_call_that_is_cut_by_itself_is_not_run():
    """The item says so, whatever the answer says."""
    (call,) = read({"type": "function_call", "call_id": "c", "name": "pay", "arguments": "{}", "status": "incomplete"}).tool_calls
    assert call.error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "rate_limit_exceeded", "message": "slow down"}, RateLimited),
        ({"code": "server_error", "message": "oops"}, Overloaded),
        ({"code": "invalid_prompt", "message": "flagged as potentially violating our usage policy"}, ContentRefused),
        ({"code": "image_content_policy_violation", "message": "no"}, ContentRefused),
        ({"code": "invalid_image_url", "message": "no such picture"}, BadRequest),
        ({"code": "bio_policy", "message": "no"}, ContentRefused),
    ],
)
def test_a_failed_answer_is_the_error_that_it_holds(error, kind):
    """In a 200, in the event that ends a stream, and in an event of its own."""
    with pytest.raises(kind):
        read(status="failed", error=error)
    with pytest.raises(kind):
        streamed({"type": "response.failed", "response": {"id": "r", "status": "failed", "error": error, "output": []}})
    with pytest.raises(kind):
        streamed({"type": "error", "sequence_number": 1, "param": None, **error})


def test_a_refusal_is_no_answer():
    """Whole or in pieces."""
    item = said({"type": "refusal", "refusal": "I will not."})
    with pytest.raises(ContentRefused, match="I will not"):
        read(item)
    with pytest.raises(ContentRefused, match="I will not"):
        streamed(
            {"type": "response.refusal.delta", "output_index": 0, "delta": "I will not."},
            {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [item]}},
        )
    assert read(said(text("Partly. "), {"type": "refusal", "refusal": "No more."})).finish_reason == "refusal"


@pytest.mark.parametrize("repeats", [True, False])
def test_a_servers_last_event_may_say_all_or_nothing(repeats):
    """Some repeat the items there, some do not; some stream no pieces at all."""
    call = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "weather", "arguments": '{"city":"x"}'}
    items = [THOUGHTS, said(text("Hello")), call]
    end = {"type": "response.completed", "response": {"id": "r", "status": "completed", "model": "m", "output": items if repeats else []}}
    done = [{"type": "response.output_item.done", "output_index": at, "item": item} for at, item in enumerate(items)]
    pieces = [
        {"type": "response.output_text.delta", "output_index": 1, "delta": "Hel"},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "lo"},
    ]
    reply, _ = streamed(done[0], *pieces, *done[1:], end)
    whole = read(*items)
    for field in ("text", "tool_calls", "content", "finish_reason"):
        assert getattr(reply, field) == getattr(whole, field), field
    if repeats:
        reply, _ = streamed(end)
        assert (reply.text, [one.arguments for one in reply.tool_calls]) == ("Hello", ['{"city":"x"}'])


def test_what_a_server_did_on_its_own_is_told_while_it_streams():
    """A search is a part of its own in the stream, in its place, and no tool call."""
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    reply, deltas = streamed(
        {"type": "response.output_item.added", "output_index": 0, "item": {**search, "status": "in_progress"}},
        {"type": "response.web_search_call.searching", "output_index": 0, "item_id": "ws_1"},
        {"type": "response.output_item.done", "output_index": 0, "item": search},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "Found."},
        {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [search, said(text("Found."))]}},
    )
    assert [[part.kind for part in delta.parts] for delta in deltas if delta.parts] == [["web_search_call"]]
    assert reply.tool_calls == ()
    assert [type(part) for part in reply.parts] == [Opaque, Text]


def test_thoughts_and_searches_that_have_begun_are_life():
    """Minutes of them are no silence: what has begun is told, though nothing of it is to be read yet."""
    for item in (THOUGHTS, {"type": "web_search_call", "id": "ws_1"}):
        _, deltas = streamed(
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.output_text.delta", "output_index": 1, "delta": "x"},
            {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [item, said(text("x"))]}},
        )
        assert deltas[0].is_thinking
        assert not deltas[0].is_content


def test_a_stream_cut_anywhere_never_ends():
    """At every byte: without the event that ends it an answer has no end, and is told as broken off."""
    with OpenAISim(answer=lambda _: PlainAnswer(text="Let me look. 🫖", calls=(PlainToolCall("weather", '{"city":"İzmir"}'),))) as sim:
        asking = {"model": "gpt-5.6", "input": "hi", "stream": True, "reasoning": {"effort": "low"}, "tools": []}
        head = b"POST /v1/responses HTTP/1.1\r\nauthorization: Bearer k"
        whole = b"".join(sim.serve(WireRequest(head, json.dumps(asking).encode(), at_s=0.0)).chunks or ())
    last = whole.index(b"event: response.completed")
    ends = {}
    for at in range(len(whole) + 1):
        parser, reader, out = EventParser(), ResponsesReader(asked()), []
        for data in [*parser.feed(whole[:at]), *parser.close()]:
            if type(data) is bytes:
                reader.read(data, out)
        reader.end(out)
        ends[at] = any(delta.finish_reason for delta in out)
    assert ends[len(whole)]
    assert not any(ended for at, ended in ends.items() if at < last)
    assert sum(ends.values()) <= 3  # the whole, and without its last line ends


def test_what_was_left_out_is_told_once():
    """As for Chat Completions, an event and a line in the log."""
    told: list[LeftOut] = []
    with OpenAISim() as sim:
        chat = ChatModel(Target("openai:gpt-4.1", base_url=f"{sim.url}/v1", api_key=KEY, options=FORCED), policy=ONCE)
        chat.subscribe(lambda event: told.append(event) if isinstance(event, LeftOut) else None, inline=True)
        for _ in range(2):
            chat.invoke("hi", stop=["x"], seed=1)
    assert [sorted(event.parameters) for event in told] == [["seed", "stop"]]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (fault("status_404").but(message="This model is only supported in v1/responses and not in v1/chat/completions."), NotFound),
        (fault("status_400").but(message="Function tools with reasoning_effort are not supported; use /v1/responses."), BadRequest),
    ],
)
def test_a_proxy_that_wants_the_other_api_is_told_of_with_the_remedy(row, kind):
    """Whose models are behind an address of one's own nobody can tell; the error says what to type."""
    with OpenAISim() as sim:
        chat = ChatModel(Target("openai:gpt-5-pro", base_url=f"{sim.url}/v1", api_key=KEY), policy=ONCE)
        sim.script(row)
        with pytest.raises(kind, match=r'options=\(\("api", "responses"\),\)'):
            chat.invoke("hi")
