"""What a user of LangChain sees of messages and events: no ids, no moments."""

from __future__ import annotations

from typing import Any

DETAILS = {"cached": ("input_token_details", "cache_read"), "reasoning": ("output_token_details", "reasoning")}


def seen(message: Any) -> dict[str, Any]:
    """A message as its reader sees it."""
    whole: dict[str, Any] = {"kind": message.type.removesuffix("MessageChunk").lower(), "text": message.text, "name": message.name}
    if getattr(message, "tool_calls", None):
        whole["calls"] = [[one["name"], one["args"]] for one in message.tool_calls]
    if getattr(message, "invalid_tool_calls", None):
        whole["broken calls"] = [one["name"] for one in message.invalid_tool_calls]
    if getattr(message, "usage_metadata", None):
        whole["usage"] = used(message.usage_metadata)
    for name in ("status", "artifact"):
        if getattr(message, name, None) is not None:
            whole[name] = getattr(message, name)
    return whole


def used(usage: Any) -> dict[str, int]:
    """The tokens of an answer, in the words of `beside.billed`; a detail of 0 says the same as none."""
    details = {word: usage.get(side, {}).get(name, 0) for word, (side, name) in DETAILS.items()}
    counts = {"input": usage["input_tokens"], "output": usage["output_tokens"], "total": usage["total_tokens"]}
    return counts | {word: count for word, count in details.items() if count}
