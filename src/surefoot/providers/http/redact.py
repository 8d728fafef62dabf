"""What may be shown of a foreign text: one line, short, without keys and without what the caller wrote."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable
from typing import Any

from surefoot.errors import SurefootError
from surefoot.secret import MASK, Secret, masked_address

LIMIT = 300  # characters of a vendor's message: enough for its point, too few for a page
SNIPPET = 120  # characters of a body that is no answer
SHORT = 40  # JSON up to this many bytes ({}, null, []) is shown whole
_PROBE = 16  # a run of 24 characters or more that the caller wrote always holds one of these, read at every eighth place
_STEP = 8

# Tokens that look like keys, and keys half masked by the vendor ("sk-abc***xyz"), whoever they belong to.
_KEYS = re.compile(
    r"\b(?:sk|pk|rk|gsk|hf|xai|key)[-_][\w\-*.]{8,200}|\bBearer [\w\-*.=~+/]{8,200}|\bAIza[\w-]{20,60}|[\w\-.]{0,60}\*{3,}[\w\-.*]{0,60}",
    re.IGNORECASE,
)


def shown(text: str, *, key: Secret | None = None, private: Iterable[str] = (), limit: int = LIMIT) -> str:
    """`text` as it may stand in a message: one printable line of at most `limit` characters, keys and echoes of `private` texts masked."""
    if not text:
        return ""
    line = _one_line(masked_address(without_key(text[: limit * 4], key)))
    if len(line) >= _PROBE:
        lines = [_one_line(said) for said in private]  # both in one line: an echo may be broken elsewhere
        before = ""
        while line != before:  # what one text masks brings further words into sight of the others
            before = line
            for said in lines:
                line = _without_echo(line, said, limit)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if line.isprintable() else " ".join("".join(letter if letter.isprintable() else " " for letter in line).split())


def without_key(text: str, key: Secret | None) -> str:
    """`text` with `key`, and whatever else looks like a key, masked."""
    if key:
        text = text.replace(key.reveal(), MASK)
    return _KEYS.sub(MASK, text)


def _without_echo(text: str, said: str, limit: int) -> str:
    """`text` with every run of 24 characters or more that also stands in `said`, and begins within `limit`, replaced by an ellipsis.

    What comes after `limit` is not shown: each look at a prompt of megabytes takes milliseconds of the background loop.
    """
    at = 0
    while at + _PROBE <= min(len(text), limit + 2 * _PROBE):
        found = said.find(text[at : at + _PROBE])
        if found < 0:
            at += _STEP
            continue
        start, end, left, right = at, at + _PROBE, found, found + _PROBE
        while start and left and text[start - 1] == said[left - 1]:
            start, left = start - 1, left - 1
        while end < len(text) and right < len(said) and text[end] == said[right]:
            end, right = end + 1, right + 1
        text = f"{text[:start]}…{text[end:]}"
        at = start + 1
    return text


def snippet(body: bytes, content_type: str = "", *, key: Secret | None = None) -> str:
    """What a body that is no answer looks like, for a message: its type, its size, its first 120 characters (of JSON none)."""
    start = body[:200].strip().lower()
    if not start and not body.strip():
        return "empty"
    if start.startswith((b"{", b"[")) and len(body) > SHORT:
        return f"JSON of {len(body)} bytes, cut off or of an unknown shape"
    head = shown(body[: SNIPPET * 4].decode("utf-8", "replace"), key=key, limit=SNIPPET)
    is_page = start.startswith((b"<!doctype", b"<html", b"<")) or "html" in content_type
    kind = "an HTML page" if is_page else content_type.partition(";")[0] or "no JSON"
    return f"{kind} of {len(body)} bytes: {head!r}"


def chain(error: BaseException, outer: BaseException | None = None) -> list[BaseException]:
    """`error` and what led to it, outermost first: up to `outer` (what was being handled before the foreign code ran) or an error of ours.

    What lies beyond belongs to somebody else: an earlier attempt, or the caller's own `except` block.
    """
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one is not outer and one not in found and not isinstance(one, SurefootError):
        found.append(one)
        one = one.__cause__ or one.__context__
    return found


def seal(errors: Iterable[BaseException], *, key: Secret | None) -> bool:
    """Empty the frames of foreign errors of their locals and mask `key` in their texts; False if it still shows in one."""
    sealed = True
    for one in errors:
        traceback.clear_frames(one.__traceback__)
        for name in ("request", "_request", "response"):  # httpx's and the SDKs': the signed request
            getattr(one, "__dict__", {}).pop(name, None)
        one.args = tuple(_masked(arg, key) for arg in one.args)
        info = getattr(one, "request_info", None)
        if info is not None:  # aiohttp's, and printed by its repr: the signed request
            one.request_info = _unsigned(info)  # type: ignore[attr-defined]
        if key:
            for name, value in list(getattr(one, "__dict__", {}).items()):
                if isinstance(value, str):
                    setattr(one, name, value.replace(key.reveal(), MASK))
            sealed = sealed and key.reveal() not in str(one) and key.reveal() not in repr(one)
    return sealed


def _masked(arg: object, key: Secret | None) -> object:
    """An exception's argument as it may be printed; objects among them are named only."""
    if isinstance(arg, str):
        return masked_address(arg.replace(key.reveal(), MASK) if key else arg)
    return arg if arg is None or isinstance(arg, int | float) else f"<{type(arg).__name__}>"


def _unsigned(info: Any) -> Any:
    """The record of a request as aiohttp keeps it, without its headers."""
    try:
        return type(info)(info.url, info.method, {}, info.real_url)
    except (AttributeError, TypeError):
        return None
