"""Claude's blocks in their order: thoughts between calls, its servers' tools, sources, cache marks; kept, and given back as they came."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from surefoot.core.deltas import from_deltas
from surefoot.core.tool_dicts import tool_of
from surefoot.errors import SurefootError, Unsupported
from surefoot.providers.anthropic.messages import vendor_of
from surefoot.providers.anthropic.requests import AnthropicDialect, chat_body
from surefoot.providers.anthropic.responses import AnthropicContext, chat_reply
from surefoot.providers.anthropic.stream import AnthropicChatReader
from surefoot.types import ChatReply, ChatRequest, CitedSource, Delta, File, Image, Message, Opaque, Reasoning, Text, Tool, ToolCall

THINK = {"type": "thinking", "thinking": "hm", "signature": "S1"}
AGAIN = {"type": "thinking", "thinking": "and so", "signature": "S2"}
HIDDEN = {"type": "redacted_thinking", "data": "ZZ"}
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "harbour"}}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [{"type": "web_search_result", "url": "https://a.example"}],
}
SOURCE = {"type": "web_search_result_location", "url": "https://a.example", "title": "A", "cited_text": "8:15", "encrypted_index": "E"}
CITED = {"type": "text", "text": "At 8:15.", "citations": [SOURCE]}
PLAIN = {"type": "text", "text": "I looked. "}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bergen"}}
OTHER = {"type": "tool_use", "id": "toolu_2", "name": "clock", "input": {}}
BY_CODE = CALL | {"caller": {"type": "code_execution_20250825", "tool_id": "srvtoolu_1"}}
NEW = {"type": "compaction", "content": "so far", "depth": 2}

SAID: dict[str, list[dict[str, Any]]] = {
    "thoughts between calls": [THINK, CALL, AGAIN, OTHER],
    "hidden thoughts": [THINK, HIDDEN, AGAIN, CALL],
    "search, sources": [THINK, SEARCH, FOUND, PLAIN, CITED],
    "search beside a call": [SEARCH, FOUND, CALL],
    "a call that code made": [SEARCH, BY_CODE],
    "never heard of": [NEW, PLAIN],
    "two texts": [PLAIN, {"type": "text", "text": "It rains."}],
}


def context(vendor: str = "anthropic") -> AnthropicContext:
    request = ChatRequest(messages=(Message.user("?"),))
    return AnthropicContext("t", "r", request, "", lambda _: SurefootError("told"), vendor)


def stop_of(blocks: list[dict[str, Any]]) -> str:
    return "tool_use" if any(block["type"] == "tool_use" for block in blocks) else "end_turn"


def whole(blocks: list[dict[str, Any]], *, stop: str = "", vendor: str = "anthropic", **fields: Any) -> ChatReply:
    body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": blocks, "stop_reason": stop or stop_of(blocks)}
    body |= {"usage": {"input_tokens": 1, "output_tokens": 2}, **fields}
    return chat_reply(msgspec.json.encode(body), "application/json", context(vendor))


def events_of(blocks: list[dict[str, Any]], stop: str) -> list[dict[str, Any]]:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": {"input_tokens": 1}}
    found: list[dict[str, Any]] = [{"type": "message_start", "message": head}]
    for index, block in enumerate(blocks):
        begun, pieces = dict(block), []
        if block["type"] == "text":
            begun |= {"text": ""}
            begun.pop("citations", None)
            pieces = [{"type": "text_delta", "text": piece} for piece in (block["text"][:3], block["text"][3:])]
            pieces += [{"type": "citations_delta", "citation": one} for one in block.get("citations", ())]
        elif block["type"] == "thinking":
            begun |= {"thinking": "", "signature": ""}
            pieces = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        elif "input" in block:
            begun |= {"input": {}}
            text = msgspec.json.encode(block["input"]).decode()
            pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", text[:5], text[5:])]
        elif block["type"] == "compaction":
            begun |= {"content": "so"}
            pieces = [{"type": "compaction_delta", "content": " far"}]
        found.append({"type": "content_block_start", "index": index, "content_block": begun})
        found += [{"type": "content_block_delta", "index": index, "delta": piece} for piece in pieces]
        found.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": stop, "stop_sequence": None}
    return [*found, {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 2}}, {"type": "message_stop"}]


def deltas_of(blocks: list[dict[str, Any]], stop: str = "") -> list[Delta]:
    reader, out = AnthropicChatReader(context()), []
    for event in events_of(blocks, stop or stop_of(blocks)):
        reader.read(msgspec.json.encode(event), out)
    reader.end(out)
    return out


def sent(*messages: Message, host: str = "api.anthropic.com", left_out: list[str] | None = None, **fields: Any) -> dict[str, Any]:
    dialect = AnthropicDialect(target="t", host=host)
    body = chat_body(ChatRequest(messages=messages, **fields), "claude-opus-4-6", stream=False, dialect=dialect, left_out=left_out)
    return msgspec.json.decode(body.data)


@pytest.mark.parametrize("name", SAID)
def test_streams_bring_the_same_as_whole_answers(name):
    """Who streams must not lose what the next turn needs."""
    one, other = whole(SAID[name]), from_deltas(deltas_of(SAID[name]))
    for field in ("text", "reasoning", "signature", "content", "tool_calls", "citations", "response_id", "finish_reason"):
        assert getattr(one, field) == getattr(other, field), field
    assert one.raw["content"] == other.raw["content"] == SAID[name]
    assert other.raw["usage"] == {"input_tokens": 1, "output_tokens": 2}


@pytest.mark.parametrize("mode", ["whole", "stream"])
@pytest.mark.parametrize("name", SAID)
def test_claude_gets_back_what_it_said_in_its_own_order(name, mode):
    """A thought that is moved, lost or joined with another is refused; an unknown field may be what the server goes by."""
    reply = whole(SAID[name]) if mode == "whole" else from_deltas(deltas_of(SAID[name]))
    results = [Message.tool("ok", tool_call_id=call.id) for call in reply.tool_calls] or [Message.user("and?")]
    left_out: list[str] = []
    back = sent(Message.user("?"), reply.message, *results, left_out=left_out)["messages"][1]
    assert back == {"role": "assistant", "content": SAID[name]}
    assert left_out == []


def test_calls_of_claudes_own_tools_are_never_the_callers():
    """Their input comes in the same events; they are shown when they are whole."""
    deltas = deltas_of(SAID["search beside a call"])
    reply = from_deltas(deltas)
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("weather", '{"city":"Bergen"}')]
    assert [part.value() for delta in deltas for part in delta.parts] == [SEARCH, FOUND]
    assert reply.tool_calls[0].after is None


def test_sources_have_a_common_shape():
    """Pages and documents alike; with the place in the answer that they stand for."""
    reply = whole(SAID["search, sources"])
    assert reply.citations == (CitedSource(url="https://a.example", title="A", text="8:15", start=10, end=18),)
    page = {"type": "page_location", "cited_text": "blue", "document_index": 0, "document_title": "Sky", "start_page_number": 1}
    hit = {"type": "search_result_location", "source": "shelf 3", "title": "B", "cited_text": "x"}
    both = whole([{"type": "text", "text": "sky", "citations": [page, hit]}])
    assert [(one.source, one.title, one.end) for one in both.citations] == [("0", "Sky", 3), ("shelf 3", "B", 3)]


def test_a_turn_that_pauses_is_an_answer():
    """Claude's servers stop in the middle of a long search, and go on when they get back what they said."""
    for reply in (whole([SEARCH], stop="pause_turn"), from_deltas(deltas_of([SEARCH], "pause_turn"))):
        assert (reply.finish_reason, reply.text, len(reply.content)) == ("paused", "", 1)
    assert sent(Message.user("?"), reply.message, Message.user("go on"))["messages"][1]["content"] == [SEARCH]


def test_thoughts_that_begin_are_a_sign_of_life():
    """Newer models show none of them unless asked; minutes pass without anything to read."""
    assert [delta.marker for delta in deltas_of([HIDDEN, {"type": "text", "text": "so"}])][:2] == ["thinking", ""]


def test_another_vendor_gets_what_all_vendors_know():
    """And that something was left out is told."""
    left_out: list[str] = []
    foreign = [
        Reasoning(text="hm", kind="reasoning_content", vendor="openai/api.deepseek.com"),
        Opaque.of("google", {"executableCode": {"code": "1"}}, kind="executableCode"),
        Text("sunny", '{"annotations":[]}', "openai/h"),
        Image(data=b"\x89PNG", vendor="google"),
    ]
    call = ToolCall(id="call:1", name="f", extra='{"extra_content":{}}', vendor="openai/h")
    back = sent(
        Message.user("?"), Message.assistant(foreign, tool_calls=[call]), Message.tool("ok", tool_call_id="call:1"), left_out=left_out
    )
    said, result = back["messages"][1:]
    assert said["content"][0] == {"type": "text", "text": "sunny"}
    assert said["content"][1].keys() == {"type", "id", "name", "input"}
    assert said["content"][1]["id"] == result["content"][0]["tool_use_id"] != "call:1"
    assert left_out == [
        "reasoning_content of openai/api.deepseek.com", "executableCode of google", "annotations of openai/h", "a picture of an answer",
        "extra_content of openai/h",
    ]  # fmt: skip


def test_thoughts_of_a_compatible_server_go_back_to_it_alone():
    """Its seals mean nothing to Claude, which would refuse them; some seal nothing and want their thoughts all the same."""
    host = "api.moonshot.ai"
    unsealed = {"type": "thinking", "thinking": "hm", "signature": ""}
    reply = whole([unsealed, CALL], vendor=vendor_of("kimi-k3", host))
    turn = (Message.user("?"), reply.message, Message.tool("ok", tool_call_id="toolu_1"))
    assert sent(*turn, host=host)["messages"][1]["content"] == [unsealed, CALL]
    left_out: list[str] = []
    assert sent(*turn, left_out=left_out)["messages"][1]["content"] == [CALL]
    assert left_out == ["reasoning of anthropic/api.moonshot.ai"]
    assert vendor_of("anthropic.claude-sonnet-5-v1:0", "bedrock-runtime.eu.amazonaws.com") == "anthropic"


HOUR = '{"cache_control":{"type":"ephemeral","ttl":"1h"}}'


def marks(value: Any) -> list[Any]:
    """All cache marks, in order."""
    if isinstance(value, list):
        return [mark for one in value for mark in marks(one)]
    if isinstance(value, dict):
        return [value["cache_control"]] if "cache_control" in value else [mark for one in value.values() for mark in marks(one)]
    return []


def test_cache_marks_stand_where_the_caller_set_them():
    """A mark that moves to the block that changes is paid for and never read."""
    body = sent(
        Message(role="system", content=(Text("rules", HOUR, "anthropic"), Text("now: 09:31"))),
        Message.user([Image(data=b"\x89PNG", extra=HOUR, vendor="anthropic"), File(data=b"%PDF", extra=HOUR, vendor="anthropic"), "what?"]),
    )
    hour = {"type": "ephemeral", "ttl": "1h"}
    assert [block.get("cache_control") for block in body["system"]] == [hour, None]
    assert [block["text"] for block in body["system"]] == ["rules", "now: 09:31"]
    assert [block.get("cache_control") for block in body["messages"][0]["content"]] == [hour, hour, None]


def test_no_more_marks_are_added_than_the_api_takes():
    """Four a request: the caller's own first, then the latest messages that say cache."""
    own = Message(role="system", content=(Text("rules", HOUR, "anthropic"),))
    turns = [Message(role=role, content=str(at), cache=True) for at, role in enumerate(("user", "assistant") * 3)]
    body = sent(own, *turns, Message.user("?"))
    assert len(marks(body)) == 4
    assert [bool(marks(turn)) for turn in body["messages"]] == [False, False, False, True, True, True, False]


CONVERSATION = (
    Message.system("Be brief."),
    Message.user("a"),
    Message.assistant("b"),
    Message.user([Text("c"), Text("d")]),
)
LATER = Tool(name="later", vendor="anthropic", raw='{"name":"later","input_schema":{"type":"object"},"defer_loading":true}')
OWN = Tool(name="own", vendor="anthropic", raw='{"name":"own","input_schema":{"type":"object"},"cache_control":{"type":"ephemeral"}}')


@pytest.mark.parametrize(("lifetime", "mark"), [("auto", {"type": "ephemeral"}), ("1h", {"type": "ephemeral", "ttl": "1h"})])
def test_a_prompt_cache_marks_what_stays_the_same(lifetime, mark):
    """The tools, the system text, where the last call ended, and where this one does; of blocks and tools the last."""
    tools = (Tool.of("f", "", {"type": "object"}), Tool.of("g", "", {"type": "object"}), LATER)
    body = sent(*CONVERSATION, tools=tools, prompt_cache=lifetime)
    assert [tool.get("cache_control") for tool in body["tools"]] == [None, mark, None]
    assert marks(body["system"]) == [mark]
    assert [[block.get("cache_control") for block in turn["content"]] for turn in body["messages"]] == [[mark], [None], [None, mark]]
    assert marks(sent(*CONVERSATION)) == []


def test_a_prompt_cache_leaves_the_callers_marks_where_they_are():
    """Four in all; what is left over goes to the conversation first."""
    own = Message(role="system", content=(Text("rules", HOUR, "anthropic"), Text("now: 09:31")))
    body = sent(own, *CONVERSATION[1:], tools=(OWN, OWN, Tool.of("g", "", {"type": "object"})), prompt_cache="5m")
    assert [bool(marks(tool)) for tool in body["tools"]] == [True, True, False]
    assert [bool(marks(block)) for block in body["system"]] == [True, False]
    assert [marks(turn) for turn in body["messages"]] == [[], [], [{"type": "ephemeral", "ttl": "5m"}]]
    body = sent(*CONVERSATION, prompt_cache="5m", extra='{"cache_control":{"type":"ephemeral"},"top_k":5}')
    assert len(marks(body["messages"])) + len(marks(body["system"])) == 3


def test_lifetimes_of_a_prompt_cache_never_grow_along_the_prompt():
    """The API refuses an hour after five minutes, whoever said which."""
    body = sent(*CONVERSATION, tools=(OWN,), prompt_cache="1h")
    assert {mark.get("ttl", "5m") for mark in marks(body["messages"])} == {"5m"}
    last = Message.user([Text("c", HOUR, "anthropic")])
    body = sent(*CONVERSATION[:3], last, tools=(Tool.of("g", "", {"type": "object"}),), prompt_cache="auto")
    assert {mark.get("ttl") for mark in marks(body)} == {"1h"}


def test_a_prompt_cache_marks_nothing_that_the_api_refuses():
    """Of a call that code made neither the call nor its result."""
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {}, "caller": {"type": "code_execution_20250825", "tool_id": "s"}}
    turns = (
        Message.user("a"),
        Message.assistant([Opaque.of("anthropic", call)]),
        Message(role="tool", content="r", tool_call_id="t1"),
    )
    body = sent(*turns, prompt_cache="auto")
    assert [len(marks(turn)) for turn in body["messages"]] == [1, 0, 0]


def test_a_tools_own_words_are_sent_whatever_its_spelling():
    """`cache_control` and the like on a function in OpenAI's spelling is Anthropic's all the same."""
    spelled = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}, "cache_control": {"type": "ephemeral"}}
    body = sent(Message.user("?"), tools=(tool_of(spelled), Tool.of("g", "", {"type": "object"})))
    assert [tool.get("cache_control") for tool in body["tools"]] == [{"type": "ephemeral"}, None]
    assert body["tools"][0]["input_schema"] == {"type": "object"}


def test_a_system_prompt_alone_is_what_is_asked():
    """The API wants a turn of the user's; what there is to say is said in it."""
    body = sent(Message.system("Write a poem."))
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Write a poem."}]}]
    assert "system" not in body


def test_documents_and_blocks_of_the_callers_own_go_out_as_they_are():
    """By address, with citations asked for, or as a kind that is not known here."""
    block = Opaque.of("anthropic", {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]})
    paper = File(url="https://a.example/p.pdf", name="P", extra='{"citations":{"enabled":true}}', vendor="anthropic")
    note = File(data=b"The sky is blue.", media_type="text/plain")
    content = sent(Message.user([block, paper, note, "what?"]))["messages"][0]["content"]
    assert content[0] == block.value()
    assert content[1] == {
        "type": "document", "source": {"type": "url", "url": "https://a.example/p.pdf"}, "title": "P", "citations": {"enabled": True},
    }  # fmt: skip
    assert content[2]["source"] == {"type": "text", "media_type": "text/plain", "data": "The sky is blue."}
    with pytest.raises(Unsupported, match="no field 'mood'"):
        sent(Message.user([Opaque.of("anthropic", 1, kind="mood")]))
