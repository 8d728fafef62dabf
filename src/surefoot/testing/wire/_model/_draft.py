"""An answer on its way to the wire: structured, so that a fault can still spoil it."""

from __future__ import annotations

import msgspec

from surefoot.testing.wire._model._brain import Counts
from surefoot.testing.wire._model._schema import Json


class WireEvent(msgspec.Struct):
    """One event of a stream:

    Its data (JSON, or bytes as they are), its name if the vendor names events, the output tokens it delivers.
    """

    data: Json | bytes
    name: str = ""
    tokens: int = 0


class Draft(msgspec.Struct, kw_only=True):
    """A good answer before it becomes bytes: a JSON `payload`, or `events` when a stream was asked for, or `raw` bytes.

    `texts` are those embedded, `marker` is the playing fault's. `api` tells the vendor's APIs apart, where it has several.
    """

    surface: str
    counts: Counts
    payload: Json
    events: list[WireEvent] | None = None
    model: str = ""
    raw: bytes | None = None
    texts: list[str] = []
    marker: str = ""
    api: str = ""

    @property
    def spoiled_items(self) -> list[int]:
        """Which embeddings a fault spoils: those whose text holds the fault's marker, else the middle one."""
        if self.marker:
            return [number for number, text in enumerate(self.texts) if self.marker in text]
        return [len(self.texts) // 2]


class Billed(msgspec.Struct, kw_only=True):
    """What one request cost by the provider's own count. `output_tokens` of a broken-off stream are those generated until then."""

    request_id: str
    model: str
    surface: str
    input_tokens: int
    output_tokens: int
    counts: Counts
    complete: bool = True
    fault: str = "ok"


class Rejection(Exception):
    """The simulated provider rejects a request: HTTP status, vendor-neutral kind, message."""

    def __init__(self, status: int, kind: str, message: str, *, retry_in_s: float | None = None) -> None:
        """`kind` is one of the words `WireFault.kind` uses."""
        super().__init__(message)
        self.status, self.kind, self.message, self.retry_in_s = status, kind, message, retry_in_s
