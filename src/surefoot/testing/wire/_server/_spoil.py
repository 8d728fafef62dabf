"""Apply a fault: to the bytes of a reply, and to the events of a stream, in the ways all vendors share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from surefoot.testing.wire._model._draft import Draft, WireEvent
from surefoot.testing.wire._server._http import WireReply

if TYPE_CHECKING:
    from surefoot.testing.wire.faults import WireFault

PING = WireEvent(b": ping\n\n")
PING_BEATS = 40


def spoil_reply(reply: WireReply, spoiled: WireFault) -> None:
    """Set what the fault says about bytes and time; shares of a body become offsets."""
    if spoiled.body is not None:
        reply.body = spoiled.body
        reply.chunks = [spoiled.body] if reply.chunks is not None else None
    if spoiled.content_type:
        reply.content_type = spoiled.content_type
    if spoiled.headers:
        reply.headers += "".join(f"{name}: {value}\r\n" for name, value in spoiled.headers)
    reply.length_off, reply.drop, reply.raw = spoiled.length_off, spoiled.drop, spoiled.raw
    reply.delay_s += spoiled.delay_s
    if spoiled.gap_s is not None:
        reply.gap_s = spoiled.gap_s
    if spoiled.cut_at is not None or spoiled.stall_at is not None:
        total = sum(map(len, reply.chunks)) if reply.chunks is not None else len(reply.body)
        reply.cut_at, reply.cut = _offset(spoiled.cut_at, total), spoiled.cut
        reply.stall_at, reply.stall_s = _offset(spoiled.stall_at, total), spoiled.stall_s
        if reply.cut == "end" and reply.chunks is None and reply.cut_at is not None:  # framed as whole: a true length for the part
            reply.body, reply.cut_at = reply.body[: reply.cut_at], None


def _offset(at: float | None, total: int) -> int | None:
    return at if at is None or isinstance(at, int) else int(at * total)


def _middle(events: list[WireEvent]) -> int:
    """Where to put a disturbance: after the first event that delivered a token."""
    return next((number + 1 for number, event in enumerate(events) if event.tokens), min(1, len(events)))


def _insert(draft: Draft, *extra: WireEvent) -> None:
    if draft.events is not None:
        at = _middle(draft.events)
        draft.events[at:at] = extra


def _pings(draft: Draft, _: Callable[[WireEvent], bytes]) -> None:
    events = draft.events or []
    draft.events = [PING, *(one for event in events for one in (event, PING))]


def _pings_with_id(draft: Draft, frame: Callable[[WireEvent], bytes]) -> None:
    events = draft.events or []
    tagged = [WireEvent(b"id: %d\n" % number + frame(event), "", event.tokens) for number, event in enumerate(events)]
    draft.events = [one for event in tagged for one in (event, PING)]


def _ping_flood(draft: Draft, _: Callable[[WireEvent], bytes]) -> None:
    events = draft.events or []
    draft.events = [*events[: _middle(events)], *([PING] * PING_BEATS)]


def _junk_data(draft: Draft, _: Callable[[WireEvent], bytes]) -> None:
    _insert(draft, WireEvent(b"event: message_delta\ndata: <html>not json</html>\n\n"))


def _crlf(draft: Draft, frame: Callable[[WireEvent], bytes]) -> None:
    events = draft.events or []
    draft.events = [WireEvent(frame(e).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), "", e.tokens) for e in events]


SHARED: dict[str, Callable[[Draft, Callable[[WireEvent], bytes]], None]] = {
    "pings": _pings, "pings_with_id": _pings_with_id, "ping_flood": _ping_flood, "junk_data": _junk_data, "crlf_lines": _crlf,
}  # fmt: skip


Spoiler: TypeAlias = Callable[[Draft], object]


def spoil_draft(draft: Draft, how: str, *, own: Mapping[str, Spoiler], frame: Callable[[WireEvent], bytes], error: WireEvent) -> None:
    """Spoil an answer in one of a vendor's `own` ways or, if it is a stream, in one that all share; other ways are nobody's."""
    if how in own:
        own[how](draft)
    elif draft.events is None:
        return
    elif how in SHARED:
        SHARED[how](draft, frame)
    elif how == "error_event":
        draft.events[_middle(draft.events) :] = [error]
    elif how == "error_event_first":
        draft.events = [error]
