"""Recorded streams of each provider, cut at every byte: a part of an answer must never pass for the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from surefoot.core.stream import collect, open_stream
from surefoot.errors import BadRequest, ConnectionLost, SurefootError
from surefoot.providers.anthropic import responses as anthropic_responses
from surefoot.providers.anthropic import stream as anthropic_stream
from surefoot.providers.google import responses as google_responses
from surefoot.providers.http.faults import ErrorBoundary
from surefoot.providers.http.sse import EventSource
from surefoot.providers.openai import responses as openai_responses
from surefoot.providers.openai import stream as openai_stream
from surefoot.providers.openai.responses_api.events import ResponsesReader
from surefoot.testing.wire import RECORDINGS, recorded_stream
from surefoot.testing.world import virtual_run
from surefoot.types import ChatReply, ChatRequest, Message
from tests.torture.figures import Figure, FigureRow

SHORT = ("unicode", "mixed")  # the others by command: python -m surefoot_eval bench torture
REQUEST = ChatRequest(messages=(Message.user("Go"),))


def told(_: bytes) -> SurefootError:
    return BadRequest("the stream told an error that nobody had made")


class Bytes:
    """A body that ends after what is given, cleanly or by a reset; in blocks of `size`."""

    status = 200
    headers: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, body: bytes, *, reset: bool, size: int = 1400) -> None:
        self._body = body
        self._reset = reset
        self._size = size

    async def read(self) -> bytes:
        return self._body

    async def block(self) -> bytes:
        block, self._body = self._body[: self._size], self._body[self._size :]
        if not block and self._reset:
            raise ConnectionLost("reset")
        return block

    async def aclose(self) -> None:
        """Nothing to drop."""


READERS: dict[str, Callable[[], Any]] = {
    "openai": lambda: openai_stream.OpenAIChatReader(
        openai_responses.ReadingContext(target="t", request_id="r", request=REQUEST, emit=told)
    ),
    "responses": lambda: ResponsesReader(openai_responses.ReadingContext(target="t", request_id="r", request=REQUEST, emit=told)),
    "anthropic": lambda: anthropic_stream.AnthropicChatReader(
        anthropic_responses.AnthropicContext(target="t", request_id="r", request=REQUEST, answer_tool="", emit=told)
    ),
    "google": lambda: google_responses.GoogleChatReader(
        google_responses.ReadingContext(target="t", request_id="r", request=REQUEST, emit=told)
    ),
}


async def reply_of(vendor: str, body: bytes, *, reset: bool = False) -> ChatReply | None:
    """The whole reply if it passes for one; None if it ended in one of our errors."""
    source = EventSource(Bytes(body, reset=reset), READERS[vendor](), ErrorBoundary("t", None))
    try:
        return await collect(await open_stream(source, target="t"))
    except SurefootError:
        return None


def said(reply: ChatReply) -> tuple[Any, ...]:
    """What a reader sees; usage may be missing where only bookkeeping was cut off."""
    return (reply.text, reply.reasoning, reply.finish_reason, tuple((c.name, c.arguments, c.error) for c in reply.tool_calls))


def cut(vendor: str, *, recordings: tuple[str, ...] = RECORDINGS) -> FigureRow:
    """`vendor`'s recorded streams cut at every byte, cleanly and by a reset."""

    async def run() -> FigureRow:
        cuts = false = complete = 0
        for recording in recordings:
            body = recorded_stream(vendor, recording)  # type: ignore[arg-type]
            whole = await reply_of(vendor, body)
            assert whole is not None, f"{vendor} {recording}: the whole stream does not pass"
            for at in range(len(body)):
                for reset in (False, True):
                    got = await reply_of(vendor, body[:at], reset=reset)
                    cuts += 1
                    complete += got is not None
                    false += got is not None and said(got) != said(whole)
        return FigureRow(
            f"{vendor} streams cut at every byte",
            0,
            (
                Figure("recordings", len(recordings)),
                Figure("cuts", cuts),
                Figure("complete, only bookkeeping missing", complete),
                Figure("false completions", false, "= 0"),
            ),
        )

    return virtual_run(run())
