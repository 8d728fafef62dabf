"""Text as the frameworks and data libraries have it: LangChain's TextAccessor, StrEnum, columns of a table."""

from __future__ import annotations

import enum
import json

import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from llama_index.core.base.llms.types import ChatMessage, TextBlock, ToolCallBlock
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.schema import TextNode

from langchain_surefoot import ChatSurefoot, SurefootChatHistory, SurefootEmbeddings
from llama_index.embeddings.surefoot import SurefootEmbedding
from llama_index.llms.surefoot import Surefoot
from surefoot.errors import BadRequest
from surefoot.history import History


class Colour(str, enum.Enum):  # noqa: UP042 - str() of it is "Colour.RED", which nobody means
    RED = "red"


TEXTS = [AIMessage("red").text, Colour.RED, np.str_("red")]


def fields(sim, model="gpt-5-mini"):
    return {"model": f"openai:{model}", "base_url": f"{sim.url}/v1", "api_key": "k", "attempts": 1}


def bodies(sim):
    return [json.loads(request.body) for request in sim.requests]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: type(text).__name__)
def test_langchain_sends_what_it_would_for_plain_text(sim, text):
    """In every place where a message or a call holds text: the body is the one of the plain text."""
    for kind in (lambda plain: plain, lambda plain: text if plain == "red" else plain):
        llm = ChatSurefoot(**fields(sim), temperature=0)
        word = kind("red")
        call = AIMessage("", tool_calls=[{"id": "1", "name": "red", "args": {"q": word, "n": np.int64(2)}}])
        chat = [SystemMessage([{"type": "text", "text": word}]), HumanMessage([word, {"type": "text", "text": word}]), call]
        chat += [ToolMessage([{"type": "text", "text": word}], tool_call_id="1")]
        tools = [{"type": "function", "function": {"name": word, "description": word, "parameters": {"type": "object", "properties": {}}}}]
        llm.bind(stop=[word], tools=tools, tool_choice=word, user=word, extra={"metadata": {"k": word}}).invoke(chat)
        native = {"name": word, "description": word, "input_schema": {"type": "object", "properties": {}}}
        llm.bind_tools([native, {"type": word}], tool_choice=word).invoke([HumanMessage("hi")])
        (llm | StrOutputParser() | llm).invoke([HumanMessage([{"type": "text", "text": word}])])
    sent = bodies(sim)
    assert len(sent) == 8
    assert sent[:4] == sent[4:]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: type(text).__name__)
def test_llama_index_sends_what_it_would_for_plain_text(sim, text):
    """Blocks, tool arguments as dicts and in older keywords, and what is said per call."""
    for word in ("red", text):
        llm = Surefoot(**fields(sim))
        block = TextBlock.model_construct(block_type="text", text=word)
        called = ToolCallBlock(tool_call_id="1", tool_name="f", tool_kwargs={"q": word})
        older = {"tool_calls": [ToolSelection(tool_id="2", tool_name="f", tool_kwargs={"q": word})]}
        chat = [
            ChatMessage(role="user", blocks=[block]),
            ChatMessage(role="assistant", blocks=[called]),
            ChatMessage(role="tool", blocks=[block], additional_kwargs={"tool_call_id": "1"}),
            ChatMessage(role="assistant", content="", additional_kwargs=older),
            ChatMessage(role="tool", blocks=[block], additional_kwargs={"tool_call_id": "2", "name": word}),
        ]
        tools = [{"type": "function", "function": {"name": word, "description": word, "parameters": {"type": "object", "properties": {}}}}]
        llm.chat(chat, stop=[word], user=word, tools=tools, tool_choice=word, temperature=np.float64(0))
        llm.complete(word)
    sent = bodies(sim)
    assert len(sent) == 4
    assert sent[:2] == sent[2:]


def test_columns_of_a_table_are_embedded(sim):
    """An array of texts has no truth of its own, and its rows are numpy.str_."""
    column = np.array(["red", "blue"])
    ours = SurefootEmbeddings(**fields(sim, "text-embedding-3-small"))
    theirs = SurefootEmbedding(**fields(sim, "text-embedding-3-small"))
    plain = ours.embed_documents(["red", "blue"])
    assert ours.embed_documents(column) == plain
    assert ours.embed_documents(np.array([], dtype=str)) == []
    assert theirs.get_text_embedding_batch(column) == plain
    assert [ours.embed_query(text) for text in TEXTS] == [ours.embed_query("red")] * 3
    assert [theirs.get_query_embedding(text) for text in TEXTS] == [theirs.get_query_embedding("red")] * 3
    assert theirs([TextNode(text=np.str_("red"))])[0].embedding == plain[0]


def test_a_history_keeps_any_text(tmp_path):
    """On disk and back, under a session named by any class of text."""
    history = History(tmp_path / "h.db")
    for text in TEXTS:
        SurefootChatHistory(text, history).add_messages([HumanMessage([{"type": "text", "text": text}])])
    assert [message.content for message in SurefootChatHistory("red", History(tmp_path / "h.db")).messages] == ["red"] * 3


def test_what_is_no_json_is_refused_before_anything_is_sent(sim):
    """In both frameworks, by our own error."""
    with pytest.raises(BadRequest, match="extra cannot be written as JSON"):
        ChatSurefoot(**fields(sim)).bind(extra={"k": object()}).invoke("hi")
    block = ToolCallBlock(tool_call_id="1", tool_name="f", tool_kwargs={"q": object()})
    with pytest.raises(BadRequest, match="call of 'f': its arguments are no JSON"):
        Surefoot(**fields(sim)).chat([ChatMessage(role="assistant", blocks=[block])])
    assert not sim.requests
