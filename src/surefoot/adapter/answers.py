"""What is said of an answer beside its text, as every framework's adapter gives it out; what it must bring back is in `core.carried`."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import Raw, Struct

from surefoot.core._tool_calls import checked_tool_call, is_runnable
from surefoot.errors import ContentRefused
from surefoot.types import ChatReply, ChatRequest


def withheld(refused: ContentRefused, *, raises: bool = False) -> ChatReply:
    """The answer that a filter or the model withheld, as one without text.

    Raises `refused` again where there was no answer at all, or `raises` says so.
    """
    if raises or refused.reply is None:
        raise refused
    reply: ChatReply = refused.reply
    return reply


class _Told(Struct):
    """What of a vendor's JSON is worth showing; its large fields unread."""

    system_fingerprint: Any = None
    service_tier: Any = None
    stop_reason: Any = None
    stop_sequence: Any = None
    choices: Raw = Raw()  # a union with None would refuse an object
    candidates: Raw = Raw()


_told = msgspec.json.Decoder(_Told)


def more_of(reply: ChatReply) -> dict[str, Any]:
    """Of the vendor's own JSON what people read in a message's metadata: fingerprint, service tier, stop reason, logprobs, safety."""
    try:
        told = _told.decode(reply.raw_json)
        found = {
            "system_fingerprint": told.system_fingerprint, "service_tier": told.service_tier, "stop_reason": told.stop_reason,
            "stop_sequence": told.stop_sequence,
        }  # fmt: skip
        if reply.logprobs and told.choices:
            found["logprobs"] = json.loads(bytes(told.choices))[0].get("logprobs")
        if told.candidates and b'"safetyRatings"' in reply.raw_json:
            found["safety_ratings"] = json.loads(bytes(told.candidates))[0].get("safetyRatings")
    except (ValueError, RecursionError, LookupError, AttributeError, TypeError):  # what our readers forgave
        return {}
    return {name: value for name, value in found.items() if value is not None}


def other_choices(reply: ChatReply, request: ChatRequest) -> list[ChatReply]:
    """The answers after the first, where `request` asked for several (`n`, Gemini's candidateCount); text and calls alone."""
    if '"n":' not in request.extra and "candidateCount" not in request.extra:
        return []
    raw = reply.raw
    choices = (raw.get("choices") or raw.get("candidates") or []) if isinstance(raw, dict) else []
    return [_choice(one, reply) for one in choices[1:] if isinstance(one, dict)]


def _choice(choice: dict[str, Any], first: ChatReply) -> ChatReply:
    from surefoot.providers.http.finish import FINISHES

    finish = FINISHES.get(str(choice.get("finish_reason") or choice.get("finishReason") or "").lower(), "other")
    message = choice.get("message") or {}
    parts = (choice.get("content") or {}).get("parts") or []
    is_cut = not is_runnable(finish)
    told = [(call.get("id"), call["function"]) for call in message.get("tool_calls") or () if isinstance(call.get("function"), dict)]
    told += [(call.get("id"), call) for part in parts if isinstance(call := part.get("functionCall"), dict)]
    calls = [
        checked_tool_call(id=number or "", name=call.get("name") or "", arguments=_arguments(call), is_cut=is_cut) for number, call in told
    ]
    text = message.get("content") or "".join(part.get("text") or "" for part in parts if not part.get("thought"))
    return ChatReply(
        text=text if isinstance(text, str) else "",
        tool_calls=tuple(calls),
        finish_reason="tool_calls" if calls and finish == "stop" else finish,
        model=first.model,
        target=first.target,
    )


def _arguments(call: dict[str, Any]) -> str:
    return call.get("arguments") or json.dumps(call.get("args") or {})
