"""The golden corpus: exchanges with vendors and compatible servers, written after their documents, and what to make of each.

`golden/DIALECT/*.json` hold exchanges by name. What stands under "_" in a file holds for all of its exchanges:

* `model`, `address`, `options`: the target; `path` and `path_streamed`: what the request line says.
* `streams`: what a body has more where a stream is asked for; `each`: what every event has.

An exchange says:

* `request`: a ChatRequest as JSON; schemas, `extra`, `raw` and `data` as JSON, too. A message {"reply_of": NAME} is the answer of that
  exchange, given back; HOST of it is the address's.
* `body`, `body_streamed`: the body that must be sent; the second changes the first (RFC 7396: null takes a field out).
* `left_out`: what is told to have been left out.
* `answer`: the body that comes back; `events`: the same as a stream. An event is an object; a text is a line as it is ("[DONE]" is one of
  data); {"delta": ...} alone is a chunk of Chat Completions; "$answer" is the whole answer. `sse` is a stream as text, byte for byte.
* `reply`: the reply that must be made of either, all that differs from an empty one; `reply_streamed` changes it for the stream.
* "*1" for an id that we make.
* `raw`: values in `reply.raw`, by path. `error` in place of `reply`: the class and fields of the error that must be raised.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from surefoot.types import ChatReply, ChatRequest, Message

FOLDER = Path(__file__).parent / "golden"
AS_TEXT = {"parameters", "schema", "extra", "raw", "data"}  # fields of our records that hold JSON as text
OURS = {"trail", "raw_json", "cost_usd", "attempts", "cached", "target", "content"}  # of a reply: not the vendor's, or told another way

MADE = re.compile(r"\*\d")


class GoldenExchange(Struct, frozen=True):
    """One exchange, its file's common part already in it."""

    dialect: str
    name: str
    told: dict[str, Any]

    @property
    def id(self) -> str:
        """Its name in reports of tests."""
        return f"{self.dialect}-{self.name.replace(' ', '_')}"

    @property
    def forms(self) -> list[bool]:
        """Whether it is asked whole (False) and streamed (True)."""
        found = [False] if "answer" in self.told else []
        return [*found, True] if self.has_stream else found

    @property
    def has_stream(self) -> bool:
        """Whether it is asked as a stream, too."""
        return "events" in self.told or "sse" in self.told

    def request(self, replies: Any = None) -> ChatRequest:
        """What is asked; `replies(name)` gives the message that an earlier exchange ended with."""
        given = dict(self.told["request"])
        messages = [
            replies(one["reply_of"]) if "reply_of" in one else msgspec.convert(_as_text(one), Message) for one in given.pop("messages")
        ]
        if isinstance(given.get("schema"), dict):
            given["schema"] = _as_text(given["schema"])
        given["tools"] = [_as_text(one) for one in given.get("tools", ())]
        if "extra" in given:
            given["extra"] = json.dumps(given["extra"])
        return msgspec.structs.replace(msgspec.convert({"messages": [], **given}, ChatRequest), messages=tuple(messages))

    def body(self, *, stream: bool) -> Any:
        """What must be sent."""
        if not stream:
            return self.told["body"]
        return patched(patched(self.told["body"], self.told.get("streams", {})), self.told.get("body_streamed", {}))

    def reply(self, *, stream: bool) -> Any:
        """What must be read."""
        return patched(self.told["reply"], self.told.get("reply_streamed", {})) if stream else self.told["reply"]

    def answer(self) -> bytes:
        """The whole answer's bytes."""
        answer = self.told["answer"]
        return answer.encode() if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False).encode()

    def stream(self) -> bytes:
        """The stream's bytes."""
        if "sse" in self.told:
            return self.told["sse"].encode()
        return b"".join(_framed(self.event(one), self.told.get("framing", "data")) for one in self.told["events"])

    def event(self, event: Any) -> Any:
        """An event as it is sent."""
        if isinstance(event, str):
            return event
        if "delta" in event and "type" not in event:
            choice = {"index": 0, "finish_reason": None} | event
            others = {name: choice.pop(name) for name in [*choice] if name not in CHOICE}
            event = {"choices": [choice], **others}
        if event.get("response") == "$answer":
            event = {**event, "response": self.told["answer"]}
        return {**self.told.get("each", {}), **event}


CHOICE = {"index", "delta", "finish_reason", "logprobs", "native_finish_reason"}


def _framed(event: Any, framing: str) -> bytes:
    end = b"\r\n\r\n" if framing == "crlf" else b"\n\n"
    if isinstance(event, str):
        return (b"data: " if event == "[DONE]" else b"") + event.encode() + end
    head = f"event: {event['type']}\n".encode() if framing == "named" else b""
    return head + b"data: " + json.dumps(event, ensure_ascii=False).encode() + end


def _as_text(value: Any, name: str = "") -> Any:
    """Fields that hold JSON as text, written as JSON in the corpus."""
    if isinstance(value, list):
        return [_as_text(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: json.dumps(one) if key in AS_TEXT and not isinstance(one, str) else _as_text(one, key) for key, one in value.items()}


def patched(value: Any, patch: Any) -> Any:
    """`value` changed by `patch`: a merge patch as RFC 7396 has it."""
    if not isinstance(patch, dict):
        return patch
    found = dict(value) if isinstance(value, dict) else {}
    for name, one in patch.items():
        if one is None:
            found.pop(name, None)
        else:
            found[name] = patched(found.get(name), one)
    return found


@cache
def exchanges() -> tuple[GoldenExchange, ...]:
    """All of them, dialect by dialect."""
    found = []
    for path in sorted(FOLDER.glob("*/*.json")):
        held = json.loads(path.read_text(encoding="utf-8"))
        common = held.pop("_")
        found += [GoldenExchange(path.parent.name, name, {**common, **told}) for name, told in held.items()]
    return tuple(found)


def told_of(reply: ChatReply) -> dict[str, Any]:
    """A reply as the corpus says it: what differs from an empty one, JSON in text decoded."""
    found: dict[str, Any] = {
        name: value for name, value in json.loads(msgspec.json.encode(reply)).items() if name not in OURS and value not in ("", [], {})
    }
    found["finish_reason"] = reply.finish_reason
    if reply.usage.estimated and reply.usage.input_tokens and reply.usage.output_tokens:
        found["usage"] = {"estimated": True}  # how many, other tests say
    if reply.content:
        found["parts"] = [_part(msgspec.to_builtins(part)) for part in reply.content]
    if reply.tool_calls:
        found["tool_calls"] = [_call(msgspec.to_builtins(call)) for call in reply.tool_calls]
    return found


def _part(part: dict[str, Any]) -> dict[str, Any]:
    return {
        name: json.loads(value) if name == "extra" or (name == "data" and part["type"] == "opaque") else value
        for name, value in part.items()
    }


def _call(call: dict[str, Any]) -> dict[str, Any]:
    found = {name: json.loads(value) if name == "extra" else value for name, value in call.items()}
    found["arguments"] = call.get("arguments", "{}")
    if "error" in found:
        found["error"] = True
    else:
        found["arguments"] = json.loads(found["arguments"])
    return found


def with_made(wanted: Any, found: Any, made: dict[str, Any] | None = None) -> Any:
    """`wanted` with what `found` has for "*1", "*2", ...: ids that we make. One mark is one text wherever it stands, two marks are two."""
    made = {} if made is None else made
    if isinstance(wanted, str) and MADE.fullmatch(wanted) and isinstance(found, str) and found:
        if wanted not in made and found not in made.values():
            made[wanted] = found
        return made.get(wanted, wanted)
    if isinstance(wanted, dict) and isinstance(found, dict):
        return {name: with_made(one, found.get(name), made) for name, one in wanted.items()}
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        return [with_made(one, other, made) for one, other in zip(wanted, found, strict=True)]
    return wanted


def at_path(value: Any, path: str) -> Any:
    """What stands in `value` under "a.0.b"."""
    for name in path.split("."):
        value = value[int(name)] if isinstance(value, list) else value[name]
    return value
