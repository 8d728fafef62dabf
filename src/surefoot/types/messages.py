"""What a conversation is made of: messages and their parts, tools, the shape of an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from surefoot.text import TextRecord, clean, clean_fields, json_text, text_of

Role = Literal["system", "user", "assistant", "tool"]


class Text(TextRecord, frozen=True, tag="text", omit_defaults=True, gc=False):
    """A run of text inside a message of several parts."""

    text: str
    """The words."""
    extra: str = ""
    """Fields of `vendor`'s own beside the text, as JSON object text (`cache_control`, `citations`): sent to that vendor, left out for all
    others. Empty: none.
    """
    vendor: str = ""
    """Whose fields `extra` holds; see `Opaque.vendor`. Empty: there are none."""

    def __post_init__(self) -> None:
        """Convert the text; most have nothing else."""
        if self.extra or self.vendor or type(self.text) is not str or not self.text.isascii():
            clean_fields(self)


class Image(TextRecord, frozen=True, kw_only=True, tag="image", omit_defaults=True, gc=False):
    """A picture: its bytes with their media type, or an address the provider fetches itself."""

    data: bytes = b""
    """The picture's bytes; empty where `url` says where it is."""
    media_type: str = ""
    """Such as "image/png"; left out, it is recognised by the first bytes."""
    url: str = ""
    """An address that the provider fetches itself, or a `data:` URL. Empty where `data` holds the bytes."""
    detail: str = ""
    """OpenAI's resolution hint: "low", "high" or "auto". Empty: not sent, so the vendor decides; other vendors have none."""
    extra: str = ""
    """Fields of `vendor`'s own, as JSON object text (`cache_control`, `thoughtSignature`); see `Text.extra`. Empty: none."""
    vendor: str = ""
    """Whose fields `extra` holds; see `Opaque.vendor`. Empty: there are none."""


class File(TextRecord, frozen=True, kw_only=True, tag="file", omit_defaults=True, gc=False):
    """A document such as a PDF, a sound or a film: its bytes with media type and name, or an address the provider fetches itself."""

    data: bytes = b""
    """The document's bytes; empty where `url` says where it is."""
    media_type: str = "application/pdf"
    """PDF by default, the one kind of document that all vendors read; a sound is "audio/wav" or "audio/mpeg"."""
    name: str = ""
    """The file name the model may see; empty: none is said, or a neutral one where the vendor demands a name."""
    url: str = ""
    """An address that the provider fetches itself (Anthropic, Gemini). Empty where `data` holds the bytes."""
    extra: str = ""
    """Fields of `vendor`'s own, as JSON object text (`cache_control`, `citations`, a sound's `id`); see `Text.extra`. Empty: none."""
    vendor: str = ""
    """Whose fields `extra` holds; see `Opaque.vendor`. Empty: there are none."""


class Reasoning(TextRecord, frozen=True, kw_only=True, tag="reasoning", omit_defaults=True, gc=False):
    """What the model thought; `signature` is the vendor's own seal, sent back untouched."""

    text: str = ""
    """The thoughts as text, where the vendor shows them; empty where it shows only the signature."""
    signature: str = ""
    """The vendor's proof that the thoughts are its own, sent back unchanged to that vendor; empty: it gave none."""
    kind: str = ""
    """The vendor's word for the field that the thoughts came in, where there are several ("reasoning_content", "reasoning"). Empty: it has
    one place for them.
    """
    vendor: str = ""
    """Whose thoughts they are; see `Opaque.vendor`. Empty: not said, and then a signature alone tells."""


class Opaque(TextRecord, frozen=True, kw_only=True, tag="opaque", gc=False):
    """What a vendor said that surefoot does not translate: carried in its place, given back to that vendor, left out for all others.

    A search the vendor's server made, its results, encrypted thoughts, whatever a server adds to its protocol. `Opaque.of` builds one,
    `value()` reads it.
    """

    vendor: str
    """Whose it is: "openai", "anthropic" or "google" (any server of that protocol), or one server of it alone, by its host:
    "openai/api.deepseek.com".
    """
    kind: str
    """The vendor's own word for it: a block's type ("server_tool_use"), or the name of a field of the message ("reasoning_details")."""
    data: str
    """The vendor's JSON as text, unchanged. An object whose `type` is `kind` is a block among the content; anything else is the value of
    the field `kind` of the message.
    """

    @classmethod
    def of(cls, vendor: str, value: Any, *, kind: str = "") -> Opaque:
        """Build from a value; a block's `type` is its kind. Raises ValueError where neither says what it is."""
        kind = kind or (text_of(value.get("type") or "") if isinstance(value, Mapping) else "")
        if not kind:
            raise ValueError("an opaque part needs a kind: the block's type, or the name of the message's field")
        return cls(vendor=vendor, kind=kind, data=json_text(value))

    def value(self) -> Any:
        """The vendor's JSON, decoded."""
        return msgspec.json.decode(self.data)

    @property
    def is_block(self) -> bool:
        """Whether it is a block among the content, not the value of a field of the message."""
        if self.data.lstrip()[:1] != "{":
            return False
        kind = msgspec.json.decode(self.data, type=dict[str, msgspec.Raw]).get("type")
        return kind is not None and bytes(kind) == msgspec.json.encode(self.kind)


Part: TypeAlias = Text | Image | File | Reasoning | Opaque


def is_for(vendor: str, dialect: str, host: str = "") -> bool:
    """Whether what is `vendor`'s goes to a server of the protocol `dialect`, known by its `host`; see `Opaque.vendor`."""
    return vendor in {dialect, f"{dialect}/{host}"}


class ToolCall(TextRecord, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A call the model wants made; `arguments` is the JSON text as it came. `error` is set when it is not valid JSON."""

    id: str
    """The vendor's id of this call; the result names it as `Message.tool_call_id`."""
    name: str
    """The tool's name, as the request gave it."""
    arguments: str = "{}"
    """JSON text exactly as it came, so that nothing is lost where it is broken; `parsed()` decodes it. Default: no arguments."""
    error: str = ""
    """Why the call must not be run (broken JSON, an answer that was cut off); empty: it may be run."""
    signature: str = ""
    """The vendor's proof for the thoughts before this call (Gemini), sent back unchanged; empty: it gave none."""
    extra: str = ""
    """Fields of `vendor`'s own beside these, as JSON object text (`extra_content` with a signature): given back to that vendor, left out
    for all others. Empty: none.
    """
    vendor: str = ""
    """Whose fields `extra` holds; see `Opaque.vendor`. Empty: there are none."""
    after: int | None = None
    """How many parts of the message's content stand before this call, where the vendor mixes them (Claude thinks between calls). None: all.
    """

    def parsed(self) -> dict[str, Any]:
        """The arguments as a dict; raises ValueError if they are not a JSON object."""
        value = msgspec.json.decode(self.arguments or "{}")
        if not isinstance(value, dict):
            raise ValueError(f"tool {self.name}: arguments are {type(value).__name__}, not an object")
        return value


class Message(TextRecord, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One turn of a conversation."""

    role: Role
    """Who speaks: "system" (standing instructions), "user", "assistant" (the model) or "tool" (a tool's result)."""
    content: str | tuple[Part, ...] = ""
    """Text, or parts in order. Empty is usual for an assistant that only calls tools."""
    name: str = ""
    """Who speaks, where several do; sent to OpenAI. Of a tool's result: the tool's name, which Gemini wants. Empty: not said."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The calls an assistant's message makes; empty for all other roles."""
    tool_call_id: str = ""
    """Of a tool's result: the `ToolCall.id` it answers; empty for all other roles."""
    is_error: bool = False
    """Of a tool's result: true if the tool failed, which the model is told in its vendor's form."""
    cache: bool = False
    """The vendor may cache the prompt up to and including this message (Anthropic's `cache_control`). Off, because Anthropic charges for
    writing; the others cache by themselves.
    """

    def __post_init__(self) -> None:
        """Convert the text; the usual message has one field to look at."""
        content = self.content
        if not (type(self.role) is type(self.name) is type(self.tool_call_id) is str) or type(content) not in {str, tuple}:
            clean_fields(self)
        elif type(content) is str and not content.isascii():
            msgspec.structs.force_setattr(self, "content", clean(content))

    @classmethod
    def system(cls, text: str) -> Message:
        """Standing instructions."""
        return cls(role="system", content=text)

    @classmethod
    def user(cls, content: str | Sequence[Part | str], *, name: str = "") -> Message:
        """What the person says: text, or parts (strings among them are text)."""
        return cls(role="user", content=_content(content), name=name)

    @classmethod
    def assistant(cls, content: str | Sequence[Part | str] = "", *, tool_calls: Sequence[ToolCall] = ()) -> Message:
        """What the model said."""
        return cls(role="assistant", content=_content(content), tool_calls=tuple(tool_calls))

    @classmethod
    def tool(cls, content: str | Sequence[Part | str], *, tool_call_id: str, name: str = "", is_error: bool = False) -> Message:
        """The result of one tool call."""
        return cls(role="tool", content=_content(content), tool_call_id=tool_call_id, name=name, is_error=is_error)

    @property
    def text(self) -> str:
        """The text of all text parts, joined."""
        content = self.content
        return content if isinstance(content, str) else "".join(part.text for part in content if isinstance(part, Text))

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as parts, also when it is plain text."""
        if isinstance(self.content, str):
            return (Text(self.content),) if self.content else ()
        return self.content


def _content(content: str | Sequence[Part | str]) -> str | tuple[Part, ...]:
    return content if isinstance(content, str) else tuple(Text(part) if isinstance(part, str) else part for part in content)


class Tool(TextRecord, frozen=True, kw_only=True, gc=False):
    """A tool the model may call; `parameters` is its JSON Schema as text, key order kept as given."""

    name: str
    """What the model calls it by: letters, digits, `_` and `-`, at most 64, which all vendors accept."""
    description: str = ""
    """What it does and when to use it; the model decides by this. Empty: not sent."""
    parameters: str = '{"type":"object","properties":{}}'
    """JSON Schema of the arguments, as text with its key order kept. Default: an object without properties."""
    strict: bool | None = None
    """Whether the vendor must hold the arguments to the schema (OpenAI, Anthropic). None: not sent, so the vendor's default holds."""
    vendor: str = ""
    """Whose JSON `raw` is: "openai", "anthropic" or "google"; empty for a function of your own, which every vendor takes."""
    raw: str = ""
    """A vendor's own tool as JSON text, sent to `vendor` as it is; without `parameters` all other vendors refuse it."""

    @classmethod
    def of(cls, name: str, description: str, parameters: Mapping[str, Any], *, strict: bool | None = None) -> Tool:
        """Build from a schema given as a mapping."""
        return cls(name=name, description=description, parameters=json_text(parameters), strict=strict)


class Schema(TextRecord, frozen=True, kw_only=True, gc=False):
    """The shape the answer must have; `schema` is JSON Schema text, or empty for any JSON object (JSON mode)."""

    name: str = "answer"
    """What the vendor is told the shape is called; some demand a name."""
    schema: str = ""
    """JSON Schema as text; empty means any JSON object (JSON mode)."""
    strict: bool | None = None
    """Whether the vendor must hold the answer to the schema. None: not sent, so the vendor's default holds."""

    @classmethod
    def of(cls, name: str, schema: Mapping[str, Any], *, strict: bool | None = None) -> Schema:
        """Build from a schema given as a mapping."""
        return cls(name=name, schema=json_text(schema), strict=strict)
