"""Gemini's contents out of our messages: parts in their order, results of one round together, what Gemini said with the seals on it."""

from __future__ import annotations

from mimetypes import guess_type
from typing import Any

from msgspec import Raw

from surefoot.errors import BadRequest, Unsupported
from surefoot.providers._foreign import own, own_fields, tell_thoughts
from surefoot.providers._parameters import note
from surefoot.providers.google.facts import model_of
from surefoot.providers.google.parts import SEAL
from surefoot.providers.http.body import Fields, base64_text, fields, image_type, merge
from surefoot.types import File, Image, Message, Opaque, Part, Reasoning, Text, ToolCall, clean, is_for

UNSIGNED = "skip_thought_signature_validator"  # the documented word for a call Gemini did not make itself (another model's, a seeded one)


def contents(
    messages: tuple[Message, ...], model: str, target: str, left_out: list[str] | None = None
) -> tuple[list[Fields], list[Any]]:  # fmt: skip
    """The conversation, and the parts of the instructions that stand before it.

    Roles are user and model; results of one round of calls stand in one content, as Gemini wants them. Instructions alone are asked as the
    user's: the API wants something said to it. What is another vendor's is left out, and noted in `left_out`.
    """
    writer = _ContentWriter(model, target, left_out)
    found: list[Fields] = []
    standing: list[Any] = []
    spoke = max((at for at, message in enumerate(messages) if message.role == "user"), default=-1)
    for at, message in enumerate(messages):
        if message.role == "system":
            standing += writer.parts(message.parts)
        elif message.role == "tool":
            parts = writer.result(message)
            if found and found[-1].get("role") == "user" and at and messages[at - 1].role == "tool":
                found[-1]["parts"] += parts
            else:
                found.append({"role": "user", "parts": parts})
        elif message.role == "assistant":
            parts = writer.said(message, must_sign=at > spoke and not model_of(model).is_older)
            if parts:  # an empty turn of the model's is refused, and says nothing
                found.append({"role": "model", "parts": parts})
        else:
            found.append({"role": "user", "parts": writer.parts(message.parts) or [{"text": ""}]})
    if standing and not found:
        return [{"role": "user", "parts": standing}], []
    return found, standing


class _ContentWriter:
    """Writes the parts of one request's messages."""

    __slots__ = ("_called", "_left_out", "_model", "_target")

    def __init__(self, model: str, target: str, left_out: list[str] | None) -> None:
        self._called: dict[str, str] = {}  # id -> name of each call so far: a result must name its tool
        self._model = model
        self._target = target
        self._left_out = left_out

    def parts(self, parts: tuple[Part, ...]) -> list[Any]:
        """The parts of a user's or a system message."""
        return [told for part in parts if not isinstance(part, Reasoning) and (told := self._part(part)) is not None]

    def _part(self, part: Text | Image | File | Opaque) -> Any:
        if isinstance(part, Opaque):
            return own(part, "google", "", self._left_out)
        told = _part(part, self._target)
        return told | own_fields(part, "google", "", self._left_out) if part.extra else told

    def said(self, message: Message, *, must_sign: bool) -> list[Any]:
        """A turn of the model's. Thoughts are not sent back, their signatures are: on the part, or on the call that they came with.

        `must_sign`: Gemini 3 refuses the current round's first call without a signature.
        """
        self._called |= {call.id: call.name for call in message.tool_calls}
        found: list[Any] = []
        seal = ""
        calls = [self._call(call, must_sign=must_sign and not at) for at, call in enumerate(message.tool_calls)]
        places = [call.after for call in message.tool_calls]
        done = 0
        for place, part in enumerate(message.parts):
            while done < len(calls) and (after := places[done]) is not None and after <= place:
                found.append(calls[done])
                done += 1
            if isinstance(part, Reasoning):
                seal = part.signature.removeprefix(SEAL) if part.signature.startswith(SEAL) else ""
                if not seal:
                    tell_thoughts(part, self._left_out)
                continue
            if isinstance(part, Image | File) and part.vendor != "google":
                note(self._left_out, f"a {'picture' if isinstance(part, Image) else 'file'} of an answer")
                continue
            told = self._part(part)
            if told is None:
                continue
            if seal and isinstance(told, dict):
                told["thoughtSignature"], seal = seal, ""
            found.append(told)
        if seal:  # it came on an empty part
            found.append({"text": "", "thoughtSignature": seal})
        return found + calls[done:]

    def _call(self, call: ToolCall, *, must_sign: bool) -> Fields:
        told: Fields = {"functionCall": _function_call(call)}
        if call.signature.startswith(SEAL):
            told["thoughtSignature"] = call.signature.removeprefix(SEAL)
        elif must_sign:
            told["thoughtSignature"] = UNSIGNED
        if call.extra:
            if is_for(call.vendor, "google"):
                merge(told, fields(call.extra))
            else:
                note(self._left_out, f"{', '.join(fields(call.extra))} of {call.vendor}")
        return told

    def result(self, message: Message) -> list[Any]:
        """A tool's result, as text: in a JSON object of Gemini's, long integers would lose digits.

        Models before Gemini 3 take no pictures and files inside it: these stand before it in the same turn.
        """
        target = self._target
        name = message.name or self._called.get(message.tool_call_id, "")
        if not name:
            raise BadRequest(
                f"{target}: the result of call {message.tool_call_id!r} names no tool, and no such call was made", target=target
            )
        told: Fields = {"name": name, "response": {"error" if message.is_error else "output": clean(message.text)}}
        if message.tool_call_id:
            told["id"] = message.tool_call_id
        media = [part for part in message.parts if isinstance(part, Image | File | Opaque)]
        beside = self.parts(tuple(media))
        if beside and not model_of(self._model).is_older:
            told["parts"], beside = beside, []
        return [*beside, {"functionResponse": told}]


def _function_call(call: ToolCall) -> Fields:
    told: Fields = {"name": call.name}
    if call.id:
        told["id"] = call.id
    try:
        call.parsed()
    except (ValueError, RecursionError):
        told["args"] = {"invalid_json": clean(call.arguments)}  # the API takes objects only; the model shall see what it wrote
    else:
        told["args"] = Raw(call.arguments.encode()) if call.arguments else {}
    return told


def _part(part: Text | Image | File, target: str) -> Fields:
    if isinstance(part, Text):
        return {"text": clean(part.text)}
    if not part.url:
        media_type = part.media_type or image_type(part.data, target)
        return {"inlineData": {"mimeType": media_type, "data": base64_text(part.data)}}
    if part.url.startswith("data:"):
        head, _, data = part.url.removeprefix("data:").partition(",")
        media_type, _, coding = head.partition(";")
        if coding != "base64":
            raise Unsupported(f"{target}: a data URL must be in base64")
        return {"inlineData": {"mimeType": media_type, "data": data}}
    told: dict[str, Any] = {"fileUri": part.url}
    guessed = guess_type(part.url.partition("?")[0])[0] or ""
    media_type = guessed if isinstance(part, File) and guessed and part.media_type == File().media_type else part.media_type or guessed
    if media_type:
        told["mimeType"] = media_type
    return {"fileData": told}
