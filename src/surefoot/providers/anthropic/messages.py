"""The Messages API's turns out of ours: blocks in their order, cache marks where the caller set them, Claude's own as it said it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw

from surefoot.errors import Unsupported
from surefoot.providers._foreign import SIGNATURE, long_id, own, own_fields, tell_thoughts, with_ids
from surefoot.providers._parameters import note
from surefoot.providers.anthropic.caching import EPHEMERAL, MARKS, WORD
from surefoot.providers.http.body import Fields, base64_text, fields, image_type
from surefoot.types import ChatRequest, File, Image, Message, Opaque, Part, Reasoning, Text, ToolCall, clean, is_for

FOREIGN_SEALS = ("google:",)  # how other providers of ours mark a thought's seal; theirs would be refused as a corrupt one
IDS = re.compile(r"[a-zA-Z0-9_-]+")  # what the API takes as a call's id


def vendor_of(model: str, host: str) -> str:
    """Whose an answer's own parts are: Claude's seals hold wherever it is served, those of other models at their host alone."""
    return "anthropic" if "claude" in model.lower() else f"anthropic/{host}"


def conversation(body: Fields, request: ChatRequest, *, host: str, target: str, left_out: list[str] | None) -> None:
    """Write `system` and `messages`: system texts apart, tool results as the user's, neighbours of one role as one turn.

    The API wants turns to alternate. What is another vendor's is left out, and noted in `left_out`.
    """
    request = with_ids(request, fits=IDS, make=long_id)
    writer = _BlockWriter(host, target, left_out)
    system: list[Fields] = []
    turns: list[Fields] = body["messages"]
    marked: list[Fields] = []
    for message in request.messages:
        blocks = writer.blocks(message)
        if not blocks:
            continue
        if message.cache and WORD not in blocks[-1]:
            marked.append(blocks[-1])
        role = "assistant" if message.role == "assistant" else "user"
        if message.role == "system":
            system += blocks
        elif turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    free = MARKS - writer.marks - sum(f'"{WORD}"' in tool.raw for tool in request.tools)
    for block in marked[-free:] if free > 0 else ():
        block[WORD] = EPHEMERAL
    if system and not turns:  # the API wants something said to it
        turns.append({"role": "user", "content": system})
    elif system:
        body["system"] = system
    if turns and turns[-1]["role"] == "assistant" and turns[-1]["content"][-1].get("type") == "text":
        last = turns[-1]["content"][-1]
        last["text"] = last["text"].rstrip()  # the beginning of an answer must not end in white space


class _BlockWriter:
    """Writes the blocks of one request's messages to the server at `host`."""

    __slots__ = ("_host", "_left_out", "_target", "marks")

    def __init__(self, host: str, target: str, left_out: list[str] | None) -> None:
        self._host = host
        self._target = target
        self._left_out = left_out
        self.marks = 0  # cache breakpoints that the caller set on blocks

    def blocks(self, message: Message) -> list[Fields]:
        if message.role == "tool":
            result: Fields = {"type": "tool_result", "tool_use_id": message.tool_call_id}
            inner = [block for part in message.parts for block in self._part(part)]
            if inner:
                result["content"] = inner
            if message.is_error:
                result["is_error"] = True
            return [result]
        if message.role != "assistant":
            found = [block for part in message.parts if not isinstance(part, Reasoning) for block in self._part(part)]
        else:
            found = self._said(message)
        return [block for block in found if block.get("type") != "text" or block["text"].strip()]  # blank texts are refused

    def _said(self, message: Message) -> list[Fields]:
        """The model's own turn, its calls where they stood."""
        found: list[Fields] = []
        calls = list(message.tool_calls)
        for place, part in enumerate(message.parts):
            while calls and calls[0].after is not None and calls[0].after <= place:
                found.append(self._called(calls.pop(0)))
            if isinstance(part, Image | File):
                note(self._left_out, f"a {'picture' if isinstance(part, Image) else 'file'} of an answer")
            else:
                found += self._part(part)
        return found + [self._called(call) for call in calls]

    def _called(self, call: ToolCall) -> Fields:
        """A call the model made. Arguments that are no JSON object cannot be sent as such: they go as the text they are."""
        told: Fields = {"type": "tool_use", "id": call.id, "name": call.name}
        try:
            call.parsed()
        except (ValueError, RecursionError):
            told["input"] = {"not_json": clean(call.arguments)}
        else:
            told["input"] = Raw((call.arguments or "{}").encode())
        if call.signature:
            note(self._left_out, SIGNATURE)
        if call.extra:
            if is_for(call.vendor, "anthropic", self._host):
                told |= fields(call.extra)
            else:
                note(self._left_out, f"{', '.join(fields(call.extra))} of {call.vendor}")
        return told

    def _part(self, part: Part) -> list[Fields]:
        if isinstance(part, Reasoning):
            return self._thoughts(part)
        if isinstance(part, Opaque):
            value = own(part, "anthropic", self._host, self._left_out)
            if value is None:
                return []
            if not part.is_block:
                raise Unsupported(f"{self._target}: a message here is made of blocks, and has no field {part.kind!r}; nothing was sent")
            block: Fields = msgspec.json.decode(value, type=dict[str, Raw])
            block["type"] = part.kind
        elif isinstance(part, Text):
            block = {"type": "text", "text": clean(part.text)}
        elif isinstance(part, Image):
            block = {"type": "image", "source": _picture(part, self._target)}
        else:
            block = _document(part, self._target)
        if not isinstance(part, Opaque) and part.extra:
            block |= own_fields(part, "anthropic", self._host, self._left_out)
        self.marks += WORD in block
        return [block]

    def _thoughts(self, part: Reasoning) -> list[Fields]:
        """Thinking blocks as they came. A thought without a seal, or with another vendor's, is refused by the API: it is left out."""
        seal = part.signature
        is_own = is_for(part.vendor, "anthropic", self._host)
        if is_own and part.vendor != "anthropic":  # a server that may seal nothing
            return [{"type": "thinking", "thinking": clean(part.text), "signature": seal}]
        if not seal or seal.startswith(FOREIGN_SEALS) or (part.vendor and not is_own):
            tell_thoughts(part, self._left_out)
            return []
        if not seal.startswith("["):
            return [{"type": "thinking", "thinking": part.text, "signature": seal}]
        try:
            blocks = msgspec.json.decode(seal, type=list[dict[str, Any]])  # several blocks, sealed one by one: see `blocks.sealed`
        except (ValueError, RecursionError):
            return []
        return blocks if all(block.get("type") in {"thinking", "redacted_thinking"} for block in blocks) else []


def _picture(part: Image, target: str) -> Fields:
    if not part.url:
        return _inline(base64_text(part.data), part.media_type or image_type(part.data, target))
    if not part.url.startswith("data:"):
        return {"type": "url", "url": part.url}
    head, _, data = part.url[5:].partition(",")
    return _inline(data, head.partition(";")[0])


def _document(part: File, target: str) -> Fields:
    if part.media_type.startswith("image/"):
        source = {"type": "url", "url": part.url} if part.url else _inline(base64_text(part.data), part.media_type)
        return {"type": "image", "source": source}
    if part.url:
        source = {"type": "url", "url": part.url}
    elif part.media_type == "application/pdf":
        source = _inline(base64_text(part.data), part.media_type)
    elif part.media_type.startswith("text/"):
        source = {"type": "text", "media_type": "text/plain", "data": part.data.decode("utf-8", "replace")}
    else:
        raise Unsupported(f"{target}: {part.media_type} cannot be sent to this model; it reads pictures, PDF and plain text")
    return {"type": "document", "source": source, **({"title": part.name} if part.name else {})}


def _inline(data: str, media_type: str) -> Fields:
    return {"type": "base64", "media_type": media_type, "data": data}
