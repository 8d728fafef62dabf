"""The golden corpus as a server: each exchange has an address of its own, which answers what the vendor would, whole or in pieces."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from surefoot import runtime
from surefoot.settings import Policy, Target
from tests.providers.golden_corpus import GoldenExchange, exchanges

KEY = "sk-golden-0123456789"
ONCE = Policy(attempts=1, breaker=False)


def route_of(exchange: GoldenExchange) -> str:
    """By which of the gateway's protocols the exchange's vendor is asked; "" for one that it does not speak."""
    return {"anthropic": "anthropic", "gemini": "", "openai_responses": "responses"}.get(exchange.dialect, "chat")


SPOKEN = tuple(one for one in exchanges() if route_of(one))
BY_ID = {one.id: one for one in SPOKEN}


def is_failure(exchange: GoldenExchange) -> bool:
    """What the vendor answers is a failure of its own, which the gateway tells as an error, after the retries that the policy allows."""
    return exchange.told.get("error", {}).get("class", "ContentRefused") != "ContentRefused"


class GoldenUpstream:
    """Answers `POST /EXCHANGE/...`; keeps what was sent. `cut`: a stream ends after so many bytes; `end`: "closed" there, or "clean"."""

    def __init__(self) -> None:
        self.url = ""
        self.sent: list[Any] = []
        self.cut: int | None = None
        self.end = "closed"

    def base_url(self, exchange: GoldenExchange) -> str:
        """What stands in the place of the vendor's address."""
        return f"{self.url}/{exchange.id}{urlsplit(exchange.told['address']).path}"

    def target(self, exchange: GoldenExchange) -> Target:
        """The exchange's target, at this address."""
        told = exchange.told
        options = {name: tuple(value) if isinstance(value, list) else value for name, value in told.get("options", {}).items()}
        if route_of(exchange) == "responses":
            options["api"] = "responses"
        elif told["model"].startswith("openai:"):
            options["api"] = "chat"
        return Target(told["model"], base_url=self.base_url(exchange), api_key=KEY, options=tuple(options.items()))

    def models(self) -> dict[str, Any]:
        """The settings of a gateway in which every exchange is a model."""
        return {"chat": {one.id: {"targets": [self.target(one)], "policy": ONCE} for one in SPOKEN}}

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lines = dict(line.lower().split(": ", 1) for line in head.strip().split("\r\n")[1:])
                body = json.loads(await reader.readexactly(int(lines["content-length"])))
                self.sent.append(body)
                writer.write(self._answer(BY_ID[head.split("/")[1]], is_stream=bool(body.get("stream"))))
                await writer.drain()
                if self.cut is not None and self.end == "closed":
                    break
        writer.close()

    def _answer(self, exchange: GoldenExchange, *, is_stream: bool) -> bytes:
        kind = exchange.told.get("content_type_streamed" if is_stream else "content_type", "")
        kind = kind or ("text/event-stream; charset=utf-8" if is_stream else "application/json")
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n".encode()
        if not is_stream:
            data = exchange.answer()
            return head + b"content-length: %d\r\n\r\n" % len(data) + data
        data = exchange.stream()[: self.cut]
        last = b"" if self.cut is not None and self.end == "closed" else b"0\r\n\r\n"
        return head + b"transfer-encoding: chunked\r\n\r\n" + (b"%x\r\n" % len(data) + data + b"\r\n" if data else b"") + last


@contextmanager
def golden_upstream() -> Iterator[GoldenUpstream]:
    """The server, on loopback, on the background loop."""
    found = GoldenUpstream()
    server = runtime.run(asyncio.start_server(found.talk, "127.0.0.1", 0))
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:

        async def end() -> None:
            server.close()

        runtime.run(end())
