"""Requests about batches: JSON or lines of it, over the session that all targets share. A failing status is raised as our error."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec

from surefoot.errors import MalformedReply
from surefoot.providers.http.direct import DirectLane
from surefoot.providers.http.faults import ErrorBoundary, fault
from surefoot.providers.http.session import SessionAnswer
from surefoot.providers.http.transport import OPTIONS, has_own_key, no_key, transport_of
from surefoot.secret import Secret
from surefoot.settings import Target

Keys: TypeAlias = Callable[[], Awaitable["Secret | None"]]

MAX_BODY_BYTES = 4 * 1024**3  # of a file of results, which is read line by line
JSON = "application/json"
T = TypeVar("T")

_log = logging.getLogger(__name__)


class BatchWire:
    """One target's requests: `ask` for JSON, `lines` for a file of it. Raises a Fault; sends once."""

    def __init__(
        self, target: Target, keys: Keys, *, address: str, sign: Callable[[str], Mapping[str, str]], headers: Mapping[str, str]
    ) -> None:
        self.target = target.name
        self.model = target.model
        self._keys = keys
        options = {**OPTIONS, **{name: value for name, value in target.options if name in OPTIONS}, "max_body_bytes": MAX_BODY_BYTES}
        self._lane = DirectLane(
            transport_of(target, options, target.base_url or address),
            sign=no_key if has_own_key(target) else sign,
            headers={**headers, **dict(target.headers)},
        )

    async def ask(self, method: str, path: str, body: bytes = b"", *, content_type: str = JSON) -> Any:
        """The JSON of the answer. Raises MalformedReply if it is none."""
        answer, boundary = await self._send(method, path, body, content_type)
        with boundary:
            data = await answer.read()
        try:
            return msgspec.json.decode(data)
        except msgspec.DecodeError as error:
            raise MalformedReply(f"{self.target}: what is said of a batch is no JSON ({error})", target=self.target) from error

    async def rows(self, path: str, kind: type[T]) -> AsyncIterator[T]:
        """The lines of a file as records, as they come; one that cannot be read costs no other one."""
        async for line in self._lines(path):
            try:
                row = msgspec.json.decode(line, type=kind)
            except msgspec.MsgspecError as error:
                _log.warning("%s: a line of a batch's results cannot be read: %s", self.target, error)
                continue
            yield row

    async def _lines(self, path: str) -> AsyncIterator[bytes]:
        answer, boundary = await self._send("GET", path, b"", JSON)
        rest = b""
        try:
            while True:
                with boundary:
                    block = await answer.block()
                *whole, rest = (rest + block).split(b"\n")
                for line in whole:
                    if line.strip():
                        yield line
                if not block:
                    break
            if rest.strip():
                yield rest
        finally:
            await answer.aclose()

    async def _send(self, method: str, path: str, body: bytes, content_type: str) -> tuple[SessionAnswer, ErrorBoundary]:
        key = await self._keys()
        boundary = ErrorBoundary(self.target, key)
        with boundary:
            answer = await self._lane.send(method, path, body, key, headers={"content-type": content_type})
        if 200 <= answer.status < 300:
            return answer, boundary
        with boundary:
            refusal = await answer.read()
        raise fault(self.target, answer.status, answer.headers, refusal, key=key)

    async def aclose(self) -> None:
        """Let go of the session."""
        await self._lane.aclose()
