"""Asking a chat model for a client: who pays, by when, and the answer whole or in pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from surefoot.errors import ContentRefused
from surefoot.facts import protocol_of
from surefoot.gateway.errors import HttpError, http_error
from surefoot.gateway.exchange import ASKING, HttpExchange
from surefoot.models.chat import ChatModel
from surefoot.models.streams import ChatStream
from surefoot.types import AnswerEnd, ChatReply, Delta


def call_options(exchange: HttpExchange, *, stream: bool) -> dict[str, Any]:
    """What every call says of itself: on whose behalf, and by when.

    A client's read timeout bounds a whole answer; of a stream it bounds each silence, so there the first token alone.
    """
    grant = exchange.grant
    ASKING.set(exchange)
    found: dict[str, Any] = {"tenant": grant.tenant, "tags": {"key": grant.key_id, "model": exchange.model, "request": exchange.request_id}}
    if grant.team:
        found["tags"]["team"] = grant.team
    limits = [exchange.deadline_s, None if stream else exchange.patience_s]
    limit = min((one for one in limits if one is not None), default=None)
    if limit is not None:
        found["deadline_s"] = limit
    return found


def protocols(model: ChatModel) -> set[str]:
    """Whose protocols the model's targets speak."""
    return {protocol_of(name) for name in model.targets}


async def whole(exchange: HttpExchange, model: ChatModel, messages: Any, options: dict[str, Any]) -> ChatReply:
    """The whole answer. A refusal that the provider put into an answer is one."""
    try:
        reply = await model.ainvoke(messages, **options, **call_options(exchange, stream=False))
    except ContentRefused as refused:
        if refused.reply is None:
            raise
        reply = refused.reply
    exchange.note(target=reply.target, trail=reply.trail, cost_usd=reply.cost_usd, usage=reply.usage, cached=reply.cached)
    return reply


class Opened:
    """A stream whose first delta is in hand. `stream` None: that one is all."""

    def __init__(self, stream: ChatStream | None, first: Delta) -> None:
        self._stream = stream
        self._first = first

    async def deltas(self) -> AsyncIterator[list[Delta]]:
        """All of them, those together that came together."""
        first: Delta | None = self._first
        if self._stream is None:
            yield [self._first]
            return
        while first is not None:
            found = [first, *self._stream.at_hand()]
            for at, delta in enumerate(found):
                if delta.is_restart:
                    yield found[:at]
                    raise HttpError(502, "stream_interrupted", "the answer broke off and began anew elsewhere; ask again")
            yield found
            first = await anext(self._stream, None)


async def opened(exchange: HttpExchange, model: ChatModel, messages: Any, options: dict[str, Any]) -> Opened:
    """The stream, with its first token; its deltas carry the events that they were read from. A refusal put into an answer is one."""
    stream = model.astream(messages, **options, **call_options(exchange, stream=True))
    stream.keep_events()
    try:
        async with asyncio.timeout(exchange.patience_s):
            first = await anext(stream)
    except ContentRefused as refused:
        await stream.aclose()
        reply: ChatReply | None = refused.reply
        if reply is None:
            raise
        exchange.note(target=reply.target, trail=stream.trail, cost_usd=None, usage=reply.usage, cached=False)
        end = AnswerEnd(raw_json=reply.raw_json, response_id=reply.response_id)
        only = Delta(finish_reason=reply.finish_reason, usage=reply.usage, model=reply.model, events=refused.events, end=end)
        exchange.stream = stream
        return Opened(None, only)
    except BaseException:
        await stream.aclose()
        raise
    exchange.stream = stream
    trail = stream.trail
    exchange.note(target=trail[-1].target if trail else "", trail=trail, cost_usd=None, usage=None, cached=not trail)
    return Opened(stream, first)


async def rendered(
    exchange: HttpExchange,
    source: Opened,
    *,
    write: Callable[[Delta], bytes],
    last: Callable[[], bytes],
    broken: Callable[[HttpError], bytes],
) -> AsyncGenerator[bytes, None]:
    """The stream's events as bytes, and its end: `last()` after a whole answer, `broken(error)` after one that broke off."""
    try:
        async for deltas in source.deltas():
            piece = write(deltas[0]) if len(deltas) == 1 else b"".join(map(write, deltas))
            if piece:
                yield piece
        if end := last():
            yield end
    except Exception as error:  # noqa: BLE001 - the status is sent: what is left is to say that the answer is not whole
        found = http_error(error)
        exchange.error = found.code
        yield broken(found)
    finally:
        stream = exchange.stream
        if stream is not None:
            await stream.aclose()
            exchange.close_call(stream)
