"""A LangChain chat history that is whole on disk and never longer than a token window in the prompt."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import msgspec
from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import invalid_tool_call, tool_call

from langchain_surefoot._messages import TOOL_SIGNATURES, messages_in
from surefoot.core.carried import KEY, carried
from surefoot.core.content import KEPT
from surefoot.history import History
from surefoot.types import File, Image, Message, Opaque, Part, Reasoning, Text


class SurefootChatHistory(BaseChatMessageHistory):
    """One conversation of a `surefoot.history.History`, for `RunnableWithMessageHistory`.

    `RunnableWithMessageHistory(chain, lambda session: SurefootChatHistory(session, history), ...)`: `messages` are the newest whole turns
    that fit the history's `window_tokens` (a tool's result never without its call), `all_messages` everything ever said. Messages are
    kept as surefoot's own records: text, pictures, files, thoughts, tool calls and their results; ids and vendors' metadata are not.
    Leave room in the window for the question: it is not part of the history yet. Raises ContextTooLong, naming both numbers, when the
    newest turn alone does not fit.
    """

    def __init__(self, session_id: str, history: History) -> None:
        self.session_id = session_id
        self.history = history

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]  # the base declares an attribute and tells subclasses to make it a property
        """The newest whole turns that fit the window, oldest first."""
        return messages_out(self.history.window(self.session_id))

    @property
    def all_messages(self) -> list[BaseMessage]:
        """Everything ever said, in order (without a file: what memory still holds)."""
        return messages_out(self.history.all(self.session_id))

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Remember `messages`; on disk before this returns. Raises BadRequest for content no model takes."""
        self.history.add(self.session_id, *messages_in(messages))

    def clear(self) -> None:
        """Forget the conversation, in the file too."""
        self.history.forget(self.session_id)


def messages_out(messages: Sequence[Message]) -> list[BaseMessage]:
    """What surefoot remembers as LangChain's messages: what `messages_in` makes of them again is the same."""
    return [_message(message) for message in messages]


def _message(message: Message) -> BaseMessage:
    content: Any = message.content if isinstance(message.content, str) and not message.cache else [_block(part) for part in message.parts]
    if message.cache and content:
        content[-1]["cache_control"] = {"type": "ephemeral"}
    name = message.name or None
    if message.role == "system":
        return SystemMessage(content, name=name)
    if message.role == "user":
        return HumanMessage(content, name=name)
    if message.role == "tool":
        status = "error" if message.is_error else "success"
        return ToolMessage(content, tool_call_id=message.tool_call_id, name=name, status=status)
    sealed = {call.id: call.signature for call in message.tool_calls if call.signature}
    kept = carried((), message.tool_calls)
    return AIMessage(
        content,
        name=name,
        additional_kwargs=({TOOL_SIGNATURES: sealed} if sealed else {}) | ({KEY: kept} if kept else {}),
        tool_calls=[
            tool_call(name=call.name, args=json.loads(call.arguments or "{}"), id=call.id) for call in message.tool_calls if not call.error
        ],
        invalid_tool_calls=[
            invalid_tool_call(name=call.name, args=call.arguments, id=call.id, error=call.error)
            for call in message.tool_calls
            if call.error
        ],
    )


def _block(part: Part) -> dict[str, Any]:
    if isinstance(part, Opaque) or part.vendor or (isinstance(part, File) and part.url):  # of which LangChain's blocks know nothing
        return {"type": "non_standard", "value": {KEPT: msgspec.json.encode(part).decode()}}
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Reasoning):
        return {"type": "reasoning", "reasoning": part.text, "extras": {"signature": part.signature}}
    if isinstance(part, Image):
        detail = {"extras": {"detail": part.detail}} if part.detail else {}
        if part.url:
            return {"type": "image", "url": part.url, **detail}
        return {"type": "image", "base64": _coded(part.data), "mime_type": part.media_type, **detail}
    return _file(part)


def _file(part: File) -> dict[str, Any]:
    return {"type": "file", "base64": _coded(part.data), "mime_type": part.media_type, "filename": part.name}


def _coded(data: bytes) -> str:
    return base64.b64encode(data).decode()
