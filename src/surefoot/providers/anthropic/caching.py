"""Cache breakpoints for `prompt_cache`: what stays the same from call to call is marked, so that the API reads it from its cache.

The prompt's order is tools, system, messages, and a breakpoint covers everything before it. The API takes four, refuses a lifetime of an
hour after one of five minutes, and refuses a mark on thoughts, on blank text, on tools that are loaded later and on what belongs to a call
that code made. A mark on fewer tokens than the model caches does nothing and costs nothing. Source: the API's page on prompt caching.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Raw

from surefoot.providers.http.body import Fields

MARKS = 4  # cache breakpoints of one request; the API refuses more
EPHEMERAL = {"type": "ephemeral"}
WORD = "cache_control"
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})


def mark_stable(body: Fields, lifetime: str, extra: str) -> None:
    """Mark the tools, the system text, and the last two turns that are not the model's, as far as the caller's own marks leave room.

    The turn before last is where the last call ended: what that wrote is found there, however many blocks came since. Where fewer marks
    are left, the last turn comes first, then the system text, then the tools. `lifetime` is "auto", "5m" or "1h"; `extra` is merged into
    the body later, and its marks count.
    """
    tools, system, turns = body.get("tools") or [], body.get("system") or [], body["messages"]
    places = [_last_tool(tools), _last_block([system]), *_last_turns(turns)]
    order = [*tools, *system, *(block for turn in turns for block in turn["content"])]
    free = MARKS - sum(map(_marks, order)) - extra.count(f'"{WORD}"')
    for place in (3, 1, 0, 2):
        block = places[place]
        if free > 0 and block is not None and WORD not in block:
            block[WORD] = _control(lifetime, order, block)
            free -= 1


def _control(lifetime: str, order: list[Any], block: Fields) -> Fields:
    """The mark on `block`: no longer-lived than the caller's before it, nor shorter-lived than the caller's after it."""
    at = next(place for place, one in enumerate(order) if one is block)
    if lifetime == "1h" and any(life == "5m" for one in order[:at] for life in _lifetimes(one)):
        lifetime = "5m"
    elif lifetime != "1h" and any(life == "1h" for one in order[at:] for life in _lifetimes(one)):
        lifetime = "1h"
    return EPHEMERAL if lifetime == "auto" else {**EPHEMERAL, "ttl": lifetime}


def _last_tool(tools: list[Any]) -> Fields | None:
    """The last tool that can be marked, written as fields."""
    for place in range(len(tools) - 1, -1, -1):
        tool = _fields(tools[place])
        if not _plain(tool.get("defer_loading", False)):
            tools[place] = tool
            return tool
    return None


def _last_turns(turns: list[Fields]) -> list[Fields | None]:
    """The last blocks of the last two turns that are not the model's, the later one last."""
    by_code = {
        _plain(block["id"])
        for turn in turns
        for block in turn["content"]
        if block.get("type") == "tool_use" and str(_plain(block.get("caller") or {}).get("type", "")).startswith("code_execution")
    }
    found = [_last_block([turn["content"]], by_code) for turn in turns if turn["role"] == "user"]
    return [None, None, *found][-2:]


def _last_block(lists: Iterable[list[Fields]], by_code: Iterable[Any] = ()) -> Fields | None:
    """The last block that can be marked."""
    for blocks in lists:
        for block in reversed(blocks):
            if block.get("type") not in _THOUGHTS and _plain(block.get("tool_use_id")) not in by_code:
                return block
    return None


def _marks(part: Any) -> int:
    return sum(1 for _ in _lifetimes(part))


def _lifetimes(part: Any) -> Iterator[str]:
    """The lifetimes of the marks on a tool or a block, and of those inside a tool's result."""
    fields = _fields(part) if not isinstance(part, Raw) or WORD.encode() in bytes(part) else {}
    if control := _plain(fields.get(WORD)):
        yield str(control.get("ttl", "5m"))
    inner = fields.get("content")
    for block in inner if isinstance(inner, list) else ():
        yield from _lifetimes(block)


def _fields(part: Any) -> Fields:
    return msgspec.json.decode(part, type=dict[str, Raw]) if isinstance(part, Raw) else part


def _plain(value: Any) -> Any:
    return msgspec.json.decode(value) if isinstance(value, Raw) else value
