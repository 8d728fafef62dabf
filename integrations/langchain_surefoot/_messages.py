"""LangChain's messages as surefoot's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, FunctionMessage, HumanMessage, SystemMessage, ToolMessage
from msgspec.structs import replace

from surefoot.core.carried import KEY, restored
from surefoot.core.content import GEMINI_SEAL, PROVIDERS, marks_cache, parts, placed
from surefoot.errors import BadRequest
from surefoot.facts import protocol_of
from surefoot.text import json_text, plain
from surefoot.types import File, Image, Message, Part, Reasoning, Role, Text, ToolCall

REASONING, SIGNATURE, TOOL_SIGNATURES = "reasoning_content", "reasoning_signature", "tool_call_signatures"  # in additional_kwargs
GEMINI_SIGNATURES = "__gemini_function_call_thought_signatures__"  # where LangChain's Google class keeps them, by the calls' ids
ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant", "ai": "assistant", "tool": "tool",
}  # fmt: skip


def messages_in(messages: Sequence[BaseMessage], target: str = "") -> tuple[Message, ...]:
    """LangChain's messages as surefoot's, in order. Blocks that are not known here are the vendor's of `target`, "provider:model".

    Anthropic's tool_result blocks inside a human message become tool messages before it. Calls with broken arguments are kept only
    where a tool message answers them: a provider refuses a call without a result. Raises BadRequest for content nobody can send.
    """
    answered = {message.tool_call_id for message in messages if isinstance(message, ToolMessage)}
    own = protocol_of(target)
    found: list[Message] = []
    for message in messages:
        found.extend(_message(message, answered, own))
    return tuple(found)


def _message(message: BaseMessage, answered: set[str], own: str) -> Iterator[Message]:
    content: Any = message.content
    if isinstance(message, AIMessage):
        yield _assistant(message, answered, own)
    elif isinstance(message, ToolMessage):
        yield Message(
            role="tool",
            content=parts(content, own),
            tool_call_id=message.tool_call_id,
            name=message.name or "",
            is_error=message.status == "error",
            cache=marks_cache(content),
        )
    elif isinstance(message, FunctionMessage):
        yield Message(role="tool", content=parts(content, own), name=message.name, tool_call_id=message.name)
    elif isinstance(message, SystemMessage | HumanMessage | ChatMessage):
        role = message.role if isinstance(message, ChatMessage) else message.type
        if role not in ROLES:
            raise BadRequest(f"message with the role {role!r}: known are {', '.join(ROLES)}; nothing was sent")
        if not isinstance(content, str):
            results = [block for block in content if isinstance(block, Mapping) and block.get("type") == "tool_result"]
            yield from (_tool_result(block, own) for block in results)
            if results and len(results) == len(content):
                return
            content = [block for block in content if block not in results] if results else content
        yield Message(role=ROLES[role], content=parts(content, own), name=message.name or "", cache=marks_cache(content))
    else:
        raise BadRequest(f"a {type(message).__name__} cannot be sent to a model; nothing was sent")


def _tool_result(block: Mapping[str, Any], own: str) -> Message:
    content, is_error = parts(block.get("content") or "", own), bool(block.get("is_error"))
    is_marked = bool(block.get("cache_control"))
    return Message(role="tool", content=content, tool_call_id=block.get("tool_use_id", ""), is_error=is_error, cache=is_marked)


def _assistant(message: AIMessage, answered: set[str], own: str) -> Message:
    """The model's own earlier turn: what it said and thought, in its order, and the calls it made."""
    extra = message.additional_kwargs
    content: Any = message.content
    found, places = placed(content, PROVIDERS.get(message.response_metadata.get("model_provider") or "", own))
    calls = tuple(_calls(message, answered))
    media = [part for part in found if isinstance(part, Image | File)] if isinstance(found, tuple) else []
    kept, calls = restored(extra.get(KEY), str(message.text), media, calls)
    if kept is not None:
        found = kept
    else:
        found = _spoken(_sealed(found, extra), extra)
        if places and isinstance(found, tuple):
            calls = tuple(replace(call, after=places[call.id]) if places.get(call.id, len(found)) < len(found) else call for call in calls)
    return Message(role="assistant", content=found, name=message.name or "", tool_calls=calls, cache=marks_cache(content))


def _sealed(found: str | tuple[Part, ...], extra: Mapping[str, Any]) -> str | tuple[Part, ...]:
    """The content with the seal that an earlier release kept beside it."""
    if SIGNATURE not in extra or (isinstance(found, tuple) and any(isinstance(part, Reasoning) and part.signature for part in found)):
        return found
    sealed = Reasoning(text=extra.get(REASONING) or "", signature=extra[SIGNATURE])
    return (sealed, *(part for part in _parts_of(found) if not isinstance(part, Reasoning)))


def _spoken(found: str | tuple[Part, ...], extra: Mapping[str, Any]) -> str | tuple[Part, ...]:
    """The content with the sound that other classes keep beside it: OpenAI knows it by its id."""
    audio = extra.get("audio")
    if not (isinstance(audio, Mapping) and audio.get("id")):
        return found
    known = {name: value for name, value in audio.items() if name != "data"}
    spoken = str(audio.get("transcript") or "")
    said = _parts_of(found) or ((Text(spoken),) if spoken else ())
    return (File(media_type="audio/wav", extra=json_text(known), vendor="openai"), *said)


def _parts_of(found: str | tuple[Part, ...]) -> tuple[Part, ...]:
    return found if isinstance(found, tuple) else (Text(found),) if found else ()


def _calls(message: AIMessage, answered: set[str]) -> Iterator[ToolCall]:
    extra = message.additional_kwargs
    signatures: Mapping[str, str] = extra.get(TOOL_SIGNATURES) or {
        number: f"{GEMINI_SEAL}{seal}" for number, seal in (extra.get(GEMINI_SIGNATURES) or {}).items()
    }
    for call in message.tool_calls:
        arguments = _arguments(call["name"], call["args"])
        yield ToolCall(id=call["id"] or "", name=call["name"], arguments=arguments, signature=signatures.get(call["id"] or "", ""))
    for broken in message.invalid_tool_calls:
        if broken["id"] in answered:
            error = broken["error"] or "not valid JSON"
            yield ToolCall(id=broken["id"] or "", name=broken["name"] or "", arguments=broken["args"] or "", error=error)

    legacy = extra.get("function_call")
    if isinstance(legacy, Mapping) and not message.tool_calls:  # of before tools; its result is a FunctionMessage of that name
        yield ToolCall(id=legacy.get("name") or "", name=legacy.get("name") or "", arguments=legacy.get("arguments") or "{}")


def _arguments(name: str, values: Any) -> str:
    try:
        return json.dumps(values, ensure_ascii=False, default=plain)
    except (TypeError, ValueError) as wrong:
        raise BadRequest(f"call of {name!r}: its arguments are no JSON ({wrong}); nothing was sent") from wrong
