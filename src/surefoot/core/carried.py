"""What a framework's message carries beside its own fields, so that the next turn has all that the vendor wants back.

Frameworks know text, pictures and tool calls; a seal on a text, thoughts between calls or a search of the vendor's server have no place in
their messages, or another one in each. So an answer that has them is written down as text beside the message, and read when the message
comes back. Pictures and sounds stand in the message itself; here only their places are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from surefoot.types import File, Image, Part, Reasoning, Text, ToolCall

KEY = "surefoot"  # the field of a framework's message that holds the text


class _CarriedCall(Struct, frozen=True, omit_defaults=True):
    """What a tool call has beside id, name and arguments."""

    extra: str = ""
    vendor: str = ""
    after: int | None = None


class _Carried(Struct, frozen=True, omit_defaults=True):
    """An answer's parts in order, and what its calls have beside what frameworks know."""

    parts: tuple[Part, ...] = ()
    calls: dict[str, _CarriedCall] = {}  # by their ids


_decoder = msgspec.json.Decoder(_Carried)


def carried(parts: Sequence[Part], calls: Sequence[ToolCall]) -> str:
    """What a message must carry of an answer's `content` and calls, as text; empty where a framework's own fields hold it all."""
    kept = {call.id: _CarriedCall(call.extra, call.vendor, call.after) for call in calls if call.extra or call.after is not None}
    if not (parts or kept):
        return ""
    places = tuple(replace(part, data=b"") if isinstance(part, Image | File) else part for part in parts)
    return msgspec.json.encode(_Carried(places, kept)).decode()


def restored(
    kept: object, text: str, media: Sequence[Image | File], calls: Sequence[ToolCall]
) -> tuple[tuple[Part, ...] | None, tuple[ToolCall, ...]]:  # fmt: skip
    """The parts of a message of `text` and `media` that carried `kept`, and its calls as they were; None for the parts if it carried none.

    A message whose text was changed since keeps what is no text: the new text stands where the first one stood.
    """
    try:
        found = _decoder.decode(kept) if isinstance(kept, str) else None
    except (ValueError, RecursionError):
        found = None
    if found is None:
        return None, tuple(calls)
    told = tuple(_whole(call, found.calls.get(call.id)) for call in calls)
    if not found.parts:
        return None, told
    parts = _with_media(found.parts, media)
    if "".join(part.text for part in parts if isinstance(part, Text)) != text:
        parts = _with_text(parts, text)
    return tuple(parts), told


def _whole(call: ToolCall, kept: _CarriedCall | None) -> ToolCall:
    return call if kept is None else replace(call, extra=kept.extra, vendor=kept.vendor, after=kept.after)


def _with_media(parts: Sequence[Part], media: Sequence[Image | File]) -> list[Part]:
    """The parts with the bytes of pictures and sounds; without those that the message lacks."""
    rest = list(media)
    found: list[Part] = []
    for part in parts:
        if not isinstance(part, Image | File) or part.url:
            found.append(part)
        elif rest:
            found.append(replace(part, data=rest.pop(0).data))
        elif part.extra and isinstance(part, File):
            found.append(part)  # a sound that the vendor knows by its id
    return found


def _with_text(parts: Sequence[Part], text: str) -> list[Part]:
    """The parts with `text` in the place of all texts; without what belongs to the texts that were there."""
    place = next((at for at, part in enumerate(parts) if isinstance(part, Text)), None)
    new: list[Part] = [Text(text)] if text else []
    if place is None:
        thoughts = [part for part in parts if isinstance(part, Reasoning)]
        return [*thoughts, *new, *(part for part in parts if not isinstance(part, Reasoning))]
    return [*parts[:place], *new, *(part for part in parts[place:] if not isinstance(part, Text))]
