"""A conversation that more than one vendor took part in: what goes to which, and tool-call ids as the next one takes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import blake2b

from msgspec import Raw
from msgspec.structs import replace

from surefoot.providers._parameters import note
from surefoot.providers.http.body import fields, raw
from surefoot.types import ChatRequest, File, Image, Message, Opaque, Reasoning, Text, is_for

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

SIGNATURE = "thoughtSignature of google"  # on a tool call; no other vendor has one there


def own(part: Opaque, dialect: str, host: str, left_out: list[str] | None) -> Raw | None:
    """The part's JSON, if it is this server's; else None, and it is told."""
    if is_for(part.vendor, dialect, host):
        return raw(part.data, f"an opaque part {part.kind!r}")
    note(left_out, f"{part.kind} of {part.vendor}")
    return None


def own_fields(part: Text | Image | File, dialect: str, host: str, left_out: list[str] | None) -> dict[str, Raw]:
    """The vendor's own fields of a part, if they are this server's; else none, and it is told."""
    if not part.extra:
        return {}
    if is_for(part.vendor, dialect, host):
        return fields(part.extra)
    for name in fields(part.extra):
        note(left_out, f"{name} of {part.vendor}")
    return {}


def tell_thoughts(part: Reasoning, left_out: list[str] | None) -> None:
    """Note thoughts that were meant to go back, and belong to another vendor; those that were only shown are left out in silence."""
    if part.vendor or part.signature:
        note(left_out, f"{part.kind or 'reasoning'} of {part.vendor or 'another vendor'}")


def with_ids(request: ChatRequest, *, fits: re.Pattern[str], make: Callable[[str], str]) -> ChatRequest:
    """`request` with tool-call ids that match `fits` and differ from each other; those that do already stay as they are.

    A result goes with the latest call of its id: some servers number the calls of each answer anew.
    """
    if not any(message.tool_calls for message in request.messages):
        return request
    used: set[str] = set()
    latest: dict[str, str] = {}
    messages: list[Message] = []
    for message in request.messages:
        changed = message
        if message.tool_calls:
            calls = tuple(replace(call, id=_fitting(call.id, used, latest, fits, make)) for call in message.tool_calls)
            if calls != message.tool_calls:
                changed = replace(message, tool_calls=calls)
        elif message.role == "tool" and latest.get(message.tool_call_id, message.tool_call_id) != message.tool_call_id:
            changed = replace(message, tool_call_id=latest[message.tool_call_id])
        messages.append(changed)
    return (
        replace(request, messages=tuple(messages)) if any(a is not b for a, b in zip(messages, request.messages, strict=True)) else request
    )


def _fitting(given: str, used: set[str], latest: dict[str, str], fits: re.Pattern[str], make: Callable[[str], str]) -> str:
    new, tries = given, 0
    while not fits.fullmatch(new) or new in used:
        new, tries = make(f"{given}/{len(used) if new in used else 0}/{tries}"), tries + 1
    used.add(new)
    latest[given] = new
    return new


def short_id(seed: str) -> str:
    """Nine letters and digits out of `seed`, the same each time: what Mistral takes as a call's id."""
    number = int.from_bytes(blake2b(seed.encode(), digest_size=8).digest())
    return "".join(ALPHABET[number // 62**place % 62] for place in range(9))


def long_id(seed: str) -> str:
    """An id of letters, digits and an underscore, 21 characters, the same each time for `seed`: what all others take."""
    return f"call_{blake2b(seed.encode(), digest_size=8).hexdigest()}"
