"""SurefootChatHistory: whole on disk, a window of whole turns in the prompt."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables.history import RunnableWithMessageHistory

from langchain_surefoot import ChatSurefoot, SurefootChatHistory
from langchain_surefoot._messages import messages_in
from langchain_surefoot.history import messages_out
from surefoot import ChatModel
from surefoot.errors import BadRequest, ContextTooLong
from surefoot.history import History
from surefoot.testing import Scripted
from surefoot.types import File, Image, Message, Reasoning, Text, ToolCall

CALL = ToolCall(id="c1", name="weather", arguments='{"city": "İzmir"}', signature="seal")
BROKEN = ToolCall(id="c2", name="weather", arguments='{"city": ', error="not valid JSON")
TALK = (
    Message.system("Be brief."),
    Message.user("Hava nasıl?", name="ayşe"),
    Message.user(
        (
            Text("and this?"),
            Image(data=b"png", media_type="image/png", detail="low"),
            Image(url="https://a/b.png"),
            File(data=b"%PDF", name="a.pdf"),
        )
    ),
    Message(role="assistant", content=(Reasoning(text="hmm", signature="s"), Text("Let me see.")), tool_calls=(CALL, BROKEN)),
    Message.tool("yağmur", tool_call_id="c1", name="weather"),
    Message.tool("no city", tool_call_id="c2", is_error=True),
    Message(role="assistant", content=(Text("It rains."), Text("Take an umbrella.")), cache=True),
)


def test_nothing_is_lost_on_the_way_out_and_in_again():
    """Every kind of part, calls with their seals, broken calls, failures, cache marks."""
    assert messages_in(messages_out(TALK)) == TALK


def test_a_conversation_outlives_the_process_and_stays_short_in_the_prompt(tmp_path):
    """A thousand turns are on disk; what is asked fits the window and begins with a person's words."""
    provider = Scripted("A short answer.")
    llm = ChatSurefoot(chat=ChatModel(provider))
    prompt = ChatPromptTemplate.from_messages([MessagesPlaceholder("history"), ("human", "{input}")])

    def chain(history):
        return RunnableWithMessageHistory(
            prompt | llm, lambda session: SurefootChatHistory(session, history), input_messages_key="input", history_messages_key="history"
        )

    path, config = tmp_path / "chat.db", {"configurable": {"session_id": "ayşe"}}
    for start in (0, 20):
        asking = chain(History(path, window_tokens=150))  # a new process finds what the last one left
        for number in range(start, start + 20):
            asking.invoke({"input": f"question number {number}, with some words around it"}, config=config)
    last = provider.requests[-1].messages
    assert len(last) < 20
    assert last[0].role == "user"
    assert last[-1].text.startswith("question number 39")
    kept = SurefootChatHistory("ayşe", History(path)).all_messages
    assert [message.text for message in kept[::2]] == [f"question number {number}, with some words around it" for number in range(40)]
    assert SurefootChatHistory("ali", History(path)).all_messages == []


async def test_tool_turns_leave_whole():
    """A result without its call is refused by every provider."""
    memory = SurefootChatHistory("s", History(window_tokens=70))
    call = {"name": "weather", "args": {"city": "Izmir"}, "id": "c1"}
    await memory.aadd_messages(
        [
            SystemMessage("Be brief."),
            HumanMessage("weather? " * 10),
            AIMessage("", tool_calls=[call]),
            ToolMessage("rain", tool_call_id="c1"),
        ]
    )
    await memory.aadd_messages([HumanMessage("and tomorrow? " * 10), AIMessage("sun")])
    assert [message.type for message in await memory.aget_messages()] == ["system", "human", "ai"]
    memory.clear()
    assert memory.messages == []


def test_what_cannot_be_kept_is_told():
    """Before anything is remembered; and a turn that fits no window names both numbers."""
    memory = SurefootChatHistory("s", History(window_tokens=50))
    with pytest.raises(BadRequest, match="hologram"):
        memory.add_messages([HumanMessage([{"type": "hologram"}])])
    assert memory.messages == []
    memory.add_messages([HumanMessage("long " * 500)])
    with pytest.raises(ContextTooLong, match="50"):
        _ = memory.messages
