"""What the parts of the gateway hand each other: who asks, what is answered, what is told at the end of a request."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Literal

from msgspec import Struct

from surefoot._documented import Documented

Headers = tuple[tuple[bytes, bytes], ...]
JSON_TYPE = (b"content-type", b"application/json")


class Allowance(Struct, Documented, frozen=True, kw_only=True, omit_defaults=True):
    """What a key or a team may ask and spend. None is no limit."""

    models: tuple[str, ...] = ()
    """The models it may ask, by the names of the configuration. Empty: all."""
    budget_nano: int | None = None
    """Billionths of a US dollar per `period`, at least 0; 0: nothing that costs."""
    period: Literal["ever", "day", "month"] = "ever"
    """The word "ever", or a calendar "day" or "month" in UTC."""
    requests_per_minute: int | None = None
    """Requests in any 60 seconds, at least 0."""
    tokens_per_minute: int | None = None
    """Tokens, of prompts and answers together, in any 60 seconds, at least 0."""


class KeyGrant(Struct, Documented, frozen=True, kw_only=True):
    """What the bearer of a key may do."""

    key_id: str
    """Names the key in logs, the ledger and the admin API; never the secret."""
    name: str = ""
    """What its owner calls it; empty: nothing."""
    team: str = ""
    """The team it belongs to, which is the tenant of its calls; empty: none, and the key is its own tenant."""
    models: tuple[str, ...] = ()
    """The models it may ask, by the names of the configuration. Empty: all."""
    is_admin: bool = False
    """It may make, change and revoke keys, and ask no model."""

    allowance: Allowance = Allowance()
    """What the key itself may spend, and how often it may ask."""
    team_allowance: Allowance = Allowance()
    """What all keys of its team together may."""

    @property
    def tenant(self) -> str:
        """On whose behalf its calls are made: caches, spend limits and the ledger keep tenants apart."""
        return f"team:{self.team}" if self.team else f"key:{self.key_id}"


class WholeAnswer(Struct, Documented, frozen=True):
    """An answer in one piece."""

    body: bytes
    """Its bytes."""
    status: int = 200
    """The HTTP status."""
    headers: Headers = (JSON_TYPE,)
    """Its own headers; those that every answer has are added."""


class StreamedAnswer(Struct, Documented, frozen=True):
    """An answer in pieces, each sent as it comes."""

    chunks: AsyncGenerator[bytes, None]
    """The pieces; what fails before the first is answered with a status of its own. Closed when the client has left."""
    headers: Headers = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))
    """Its own headers."""
    status: int = 200
    """The HTTP status."""


class RequestEnded(Struct, Documented, frozen=True, kw_only=True):
    """A request has been answered, refused, or left by its client: told to every observer of the gateway, once."""

    request_id: str
    """The id in the answer's header `x-request-id`."""
    route: str
    """The route's name in the table ("chat", "embeddings", ...); "none" for a path that is no route."""
    outcome: Literal["ok", "refused", "failed", "left"]
    """Answered ("ok"), refused by the gateway or for its client's mistake ("refused": 4xx), failed ("failed": 5xx, or in mid-stream),
    or its client left before the end ("left").
    """
    status: int = 0
    """The HTTP status that was sent; 0: the client left before."""
    error: str = ""
    """The code of the error in the answer's body; empty: none."""
    model: str = ""
    """The model's name in the configuration; empty: none was asked."""
    target: str = ""
    """The target that answered, as "provider:model"; empty: none did."""
    key_id: str = ""
    """Whose key it was; empty: none was accepted."""
    team: str = ""
    """The key's team; empty: none."""
    is_stream: bool = False
    """The answer was sent in pieces."""
    seconds: float = 0.0
    """From the first byte of the request to the last of the answer."""
    queued_s: float = 0.0
    """Seconds it waited to be admitted."""
    first_token_s: float | None = None
    """Seconds until the first piece of a streamed answer was sent; None: it was none."""
    attempts: int = 0
    """Wire attempts of its call; 0: none, or from a cache."""
    cost_usd: float | None = None
    """US dollars of all attempts; None: not known, or nothing was asked."""
    usage: Any = None
    """The `Usage` that its client was told; None: none."""
    is_cached: bool = False
    """It was answered from the cache."""
    client_retry: int = 0
    """Which retry the client's SDK says this is; 0: the first try, or it does not say."""
