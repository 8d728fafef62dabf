"""Which model answers, said aloud: the one named, one whose key or server is found, or the offline reader."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from surefoot import ChatModel, Message, Schema
from surefoot.discovery import look_around
from surefoot.errors import InvalidOutput, Misconfigured, SurefootError

OFFLINE = "local:extractive"
FILE_BYTES = 1_000_000  # a page of text has 2,000; more than this was not meant


class Answerer(msgspec.Struct, frozen=True):
    """A chat model, and who that is.

    `can_write` is false for the offline reader, which quotes and composes nothing.
    """

    chat: ChatModel
    who: str
    can_write: bool

    def ask(self, system: str, user: str) -> str:
        """A text. Raises SurefootError."""
        return self.chat.invoke([Message.system(system), Message.user(user)]).text

    def fill(self, system: str, user: str, kind: type[Any]) -> Any:
        """An answer as a msgspec Struct, checked against it. Raises SurefootError."""
        schema = Schema.of(kind.__name__.lower(), _closed(kind))
        reply = self.chat.invoke([Message.system(system), Message.user(user)], schema=schema)
        try:
            return msgspec.json.decode(reply.text, type=kind)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise InvalidOutput(f"{reply.target}: the answer is no {kind.__name__}: {error}", partial=reply.text) from error


def _closed(kind: type[Any]) -> Mapping[str, Any]:
    """The JSON Schema of a Struct, every field required and no other allowed, which is what strict vendors take."""
    (root,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    for part in parts.values():
        part.update(additionalProperties=False, required=list(part["properties"]))
    name = root["$ref"].rpartition("/")[2]
    return {**parts.pop(name), **({"$defs": parts} if parts else {})}


def find(model: str | None = None, *, behind: Sequence[str] = ()) -> Answerer:
    """The model that answers, with fallbacks `behind` it. Raises Misconfigured for a name nobody knows or a key that is missing."""
    if model:
        return Answerer(ChatModel(model, *behind), f"{model}, as you asked", model != OFFLINE)
    around = look_around()
    for hint in around.hints:
        print(f"note: {hint}", file=sys.stderr)
    if around.found is None:
        return Answerer(
            ChatModel(OFFLINE), f"{OFFLINE}, a reader without weights (no key and no local model server found)", can_write=False
        )
    found = around.found
    behind_it = f", with {', '.join(behind)} behind it" if behind else ""
    return Answerer(ChatModel(found.target, *behind), f"{found.target.name} ({found.why}){behind_it}", can_write=True)


def read_text(path: Path) -> str:
    """A text file. Raises Misconfigured, in one sentence, for what cannot be read as one."""
    try:
        if path.stat().st_size > FILE_BYTES:
            raise Misconfigured(f"{path}: larger than {FILE_BYTES:,} bytes; give a smaller file")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise Misconfigured(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{path}: not UTF-8; convert it, such as with  iconv -f WINDOWS-1254 -t UTF-8") from error


def exit_code(run: Callable[[], int]) -> int:
    """Run a command: its exit code; 1 with one sentence on stderr for what surefoot refused, 130 for Ctrl-C."""
    try:
        return run()
    except SurefootError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read it has seen enough
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
