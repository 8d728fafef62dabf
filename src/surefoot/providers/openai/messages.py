"""The OpenAI protocol's messages out of ours: text, pictures, sounds, calls and results, and what the server said and wants back."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from surefoot.errors import Unsupported
from surefoot.providers._foreign import SIGNATURE, long_id, own, own_fields, short_id, tell_thoughts, with_ids
from surefoot.providers._parameters import note
from surefoot.providers.http.body import Fields, base64_text, fields, image_type, merge
from surefoot.types import ChatRequest, File, Image, Message, Opaque, Part, Reasoning, Text, ToolCall, clean, is_for

SOUNDS = {
    "audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/vnd.wave": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3",
}  # fmt: skip
SPOKEN = frozenset({"system", "user"})
MARKED = ("openrouter.ai", "openrouter")  # hosts that pass Anthropic's cache_control on, in parts of this protocol
FORGETFUL = ("deepseek.com", "deepseek")  # wants the thoughts of the round of calls under way; earlier ones it once answered with a 400
STRICT = {("groq.com", "groq"): frozenset({"reasoning"})}  # hosts that answer a field of a message that they do not take with a 400
MISTRALS = ("mistral.ai", "mistral")
MOVED, SEE_NEXT = "From the result of {tool}:", "The result is in the next message."
NINE = re.compile(r"[a-zA-Z0-9]{9}")  # what Mistral takes as a call's id, on its own host and in its chat template
MISTRAL = re.compile(r"(?:mi[ns]tral|mixtral|magistral|codestral|devstral|pixtral|voxtral)", re.IGNORECASE)
AT_MOST_40 = re.compile(r"(?s:.{1,40})")  # what OpenAI takes


def is_of(host: str, house: str, names: tuple[str, ...]) -> bool:
    """Whether the server at `host` (perhaps with a port), named as the provider `house`, is one of `names`, or lies below one."""
    bare = host.partition(":")[0]
    return house in names or bare.endswith(tuple(f".{name}" for name in names)) or bare in names


def messages_of(
    request: ChatRequest, *, host: str, house: str = "", model: str, target: str, is_openai: bool, left_out: list[str] | None
) -> list[Fields]:  # fmt: skip
    """The conversation as the server at `host` takes it. What is another vendor's is left out, and noted in `left_out`."""
    said: list[Fields] = [
        {"role": message.role, "content": message.content}
        for message in request.messages
        if type(message.content) is str and message.role in SPOKEN and not message.name and not message.cache
    ]
    if len(said) < len(request.messages):  # there is more than text, which is rare
        said = _said(request, host, house, model, target, is_openai=is_openai, left_out=left_out)
    if said and said[-1]["role"] == "system" and is_of(host, house, MISTRALS):
        said[-1]["role"] = "user"  # it wants somebody to speak last
    return said


def _said(
    request: ChatRequest, host: str, house: str, model: str, target: str, *, is_openai: bool, left_out: list[str] | None
) -> list[Fields]:  # fmt: skip
    if is_openai:
        request = with_ids(request, fits=AT_MOST_40, make=long_id)
    elif is_of(host, house, MISTRALS) or (MISTRAL.search(model) and not is_of(host, house, MARKED)):
        request = with_ids(request, fits=NINE, make=short_id)
    writer = _MessageWriter(host, target, left_out, takes_marks=is_of(host, house, MARKED))
    writer.takes = next((fields for names, fields in STRICT.items() if is_of(host, house, names)), None)
    spoke = -1
    if is_of(host, house, FORGETFUL):
        spoke = max((at for at, message in enumerate(request.messages) if message.role == "user"), default=-1)
    found: list[Fields] = []
    for at, message in enumerate(request.messages):
        if writer.moved and message.role != "tool":
            found.append(writer.files())
        found.append(writer.message(message, is_past=at < spoke))
    return [*found, writer.files()] if writer.moved else found


class _MessageWriter:
    """Writes the messages of one request to the server at `host`."""

    __slots__ = ("_host", "_left_out", "_takes_marks", "_target", "moved", "takes")

    def __init__(self, host: str, target: str, left_out: list[str] | None, *, takes_marks: bool) -> None:
        self.moved: list[Any] = []  # what stood in tools' results, where this protocol has text alone: said by the user after them
        self.takes: frozenset[str] | None = None  # fields of a message that the server takes beside the protocol's; None: any
        self._takes_marks = takes_marks
        self._host = host
        self._target = target
        self._left_out = left_out

    def message(self, message: Message, *, is_past: bool = False) -> Fields:
        role, content = message.role, message.content
        said: Fields
        if role == "tool":
            return {"role": "tool", "tool_call_id": message.tool_call_id, "content": self._result(message)}
        if role == "assistant":
            said = self._assistant(message, is_past=is_past)
        elif isinstance(content, str) and not (message.cache and self._takes_marks):
            said = {"role": role, "content": content}
        else:
            said = {"role": role}
            said["content"] = self._parts((Text(content),) if isinstance(content, str) else content, said)
            if message.cache and said["content"] and self._takes_marks:
                said["content"][-1].setdefault("cache_control", {"type": "ephemeral"})
        if message.name:
            said["name"] = message.name
        return said

    def _parts(self, content: tuple[Part, ...], said: Fields) -> list[Any]:
        """The content's blocks; values of fields of the message go into `said`."""
        found: list[Any] = []
        for part in content:
            if isinstance(part, Opaque):
                self._own(part, found, said)
            elif not isinstance(part, Reasoning):
                found.append(_part(part, self._target) | self._extra(part))
        return found

    def _own(self, part: Opaque, blocks: list[Any], said: Fields) -> None:
        value = own(part, "openai", self._host, self._left_out)
        if value is None:
            return
        if part.is_block:
            blocks.append(value)
        elif self.takes is None or part.kind in self.takes:
            said[part.kind] = value
        else:
            note(self._left_out, f"{part.kind} of {part.vendor}")

    def _extra(self, part: Text | Image | File) -> dict[str, Raw]:
        if part.extra and part.vendor == "anthropic" and self._takes_marks:
            return {name: value for name, value in fields(part.extra).items() if name == "cache_control"}
        return own_fields(part, "openai", self._host, self._left_out)

    def _assistant(self, message: Message, *, is_past: bool) -> Fields:
        """The model's own turn. A call's raw arguments go back also when they are no JSON."""
        content = message.content
        said: Fields = {"role": "assistant", "content": content}
        if not isinstance(content, str):
            self._said(content, said, is_past=is_past)
        if not said["content"]:
            said["content"] = None if message.tool_calls or "audio" in said else ""
        if message.tool_calls:
            said["tool_calls"] = [self._call(call) for call in message.tool_calls]
        return said

    def _said(self, content: tuple[Part, ...], said: Fields, *, is_past: bool) -> None:
        blocks: list[Any] = []
        pictures: list[Fields] = []
        spoken = ""
        for part in content:
            if isinstance(part, Text):
                if not spoken or part.text != spoken:
                    blocks.append({"type": "text", "text": clean(part.text)} | self._extra(part))
            elif isinstance(part, Reasoning):
                self._thoughts(part, said, is_past=is_past)
            elif isinstance(part, Opaque):
                self._own(part, blocks, said)
            elif not is_for(part.vendor, "openai", self._host):
                note(self._left_out, f"a {'picture' if isinstance(part, Image) else 'file'} of an answer")
            elif isinstance(part, Image):
                pictures.append(_part(part, self._target))
            else:
                own_audio = msgspec.json.decode(part.extra or "{}")
                said["audio"], spoken = {"id": own_audio.get("id")}, own_audio.get("transcript") or ""
        if pictures:
            said["images"] = pictures
        is_plain = all(isinstance(block, dict) and len(block) == 2 and "text" in block for block in blocks)
        said["content"] = "".join([block["text"] for block in blocks]) if is_plain else blocks

    def _thoughts(self, part: Reasoning, said: Fields, *, is_past: bool) -> None:
        """Thoughts in the field that they came in, to the server that they came from: some refuse a round of calls without them."""
        if not (part.kind and is_for(part.vendor, "openai", self._host)):
            tell_thoughts(part, self._left_out)
        elif not is_past:
            said[part.kind] = said.get(part.kind, "") + clean(part.text)

    def _call(self, call: ToolCall) -> Fields:
        told: Fields = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": clean(call.arguments)}}
        if call.signature:
            note(self._left_out, SIGNATURE)
        if call.extra:
            if is_for(call.vendor, "openai", self._host):
                merge(told, fields(call.extra))
            else:
                note(self._left_out, f"{', '.join(fields(call.extra))} of {call.vendor}")
        return told

    def files(self) -> Fields:
        """The user's message with the pictures and files that the tools before it gave."""
        content, self.moved = self.moved, []
        return {"role": "user", "content": content}

    def _result(self, message: Message) -> Any:
        """A tool's result; the protocol has no flag for a failed one, so its text says so."""
        content = message.content
        if isinstance(content, tuple):
            files = [part for part in content if isinstance(part, Image | File)]
            if files:
                told = message.name or message.tool_call_id
                self.moved.append({"type": "text", "text": MOVED.format(tool=told)})
                self.moved += [_part(part, self._target) | self._extra(part) for part in files]
                message = replace(message, content=tuple(part for part in content if part not in files) or SEE_NEXT)
                return self._result(message)
            if any(isinstance(part, Opaque) or (isinstance(part, Text) and part.extra) for part in content):
                return self._parts(content, {}) or clean(message.text)
        text = clean(message.text)
        return f"Error: {text}" if message.is_error and not text.lower().startswith("error") else text


def _part(part: Text | Image | File, target: str) -> Fields:
    if isinstance(part, Text):
        return {"type": "text", "text": clean(part.text)}
    if isinstance(part, Image):
        picture = {"url": part.url or data_url(part.data, part.media_type or image_type(part.data, target))}
        if part.detail:
            picture["detail"] = part.detail
        return {"type": "image_url", "image_url": picture}
    if part.media_type.startswith("text/") and not part.url:  # the protocol's files are PDF
        return {"type": "text", "text": part.data.decode("utf-8", "replace")}
    if part.url:
        raise Unsupported(f"{target}: a file's address cannot be sent here, only its bytes: give data=; nothing was sent")
    if part.media_type.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": data_url(part.data, part.media_type)}}
    if part.media_type.startswith("audio/"):
        return sound(part, target)
    if part.media_type.startswith("video/"):
        raise Unsupported(f"{target}: {part.media_type} cannot be sent to a chat model here; send pictures of it, or a transcript")
    return {"type": "file", "file": {"filename": part.name or "document.pdf", "file_data": data_url(part.data, part.media_type)}}


def sound(part: File, target: str) -> Fields:
    """A recording; the protocol knows two formats. Models that cannot hear answer it with a 400."""
    form = SOUNDS.get(part.media_type.partition(";")[0])
    if form is None:
        raise Unsupported(f"{target}: {part.media_type} cannot be sent here; sounds go as audio/wav or audio/mpeg, or as a transcript")
    return {"type": "input_audio", "input_audio": {"data": base64_text(part.data), "format": form}}


def data_url(data: bytes, media_type: str) -> str:
    """`data` as a URL that carries it."""
    return f"data:{media_type};base64,{base64_text(data)}"
