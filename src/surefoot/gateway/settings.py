"""`[serve]` of the configuration file: where the gateway listens, what it keeps, how much it takes at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from surefoot._documented import Documented
from surefoot.errors import Misconfigured
from surefoot.secret import Secret


class RagSettings(Struct, Documented, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A collection of documents that /v1/rag/query answers from."""

    index: str
    """The folder, or the address of the Chroma server, that `surefoot rag index` filled."""
    framework: Literal["langchain", "llamaindex"] = "langchain"
    """Through which it was indexed, and is asked."""
    chat: str = "default"
    """The chat model that answers, by its name in the configuration."""
    embed: str = "default"
    """The embedding model that it was indexed with, likewise."""
    tenant: Literal["key", "shared"] = "key"
    """Whose passages are asked: those that were indexed for the key's tenant, `team:TEAM` or of a key without a team `key:ID` ("key"), or
    for everybody those indexed without a tenant ("shared").
    """


class ServeSettings(Struct, Documented, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the gateway serves. Raises Misconfigured for what would be no service."""

    host: str = "127.0.0.1"
    """The address it listens on. This machine alone by default: nothing is opened to a network that nobody asked for."""
    port: int = 4000
    """The TCP port, 0 to 65535; 0: any that is free."""
    state: str = "sqlite:.surefoot/gateway.db"
    """Where keys and teams are: "sqlite:PATH" for one process, "postgresql://..." for many."""
    ledger: str = "sqlite:.surefoot/usage.db"
    """Where each attempt's tokens and cost are put down, for models that name no ledger of their own. Empty: nowhere."""
    spool: str = ".surefoot/spool"
    """Folder where rows of that ledger stand until it has them: what a killed process left there is written by the next to start. They wait
    there while a database is away; 64 MB at most. Empty: in memory alone.
    """
    batches: str = "sqlite:.surefoot/batches.db"
    """Where /v1/files and /v1/batches keep what they hold: "sqlite:PATH" for one process, "postgresql://..." for many. Empty: neither is
    served.
    """
    rag: dict[str, RagSettings] = {}
    """The collections of /v1/rag/query, by name; empty: it is not served."""
    max_body_bytes: int = 32 * 1024 * 1024
    """Largest body of a request, in bytes. The default is Anthropic's limit; pictures in base64 fit."""
    max_in_flight: int = 512
    """Requests worked on at once, at least 1; at some 15 kB each they take 8 MB."""
    max_queued: int = 1024
    """Requests that wait for a place at most; further ones are refused with 503 and Retry-After. 0: none waits."""
    queue_s: float = 5.0
    """Seconds a request waits for a place at most."""
    drain_s: float = 30.0
    """Seconds that requests in flight have to end when the process is told to (SIGTERM); readiness is off at once."""
    cors_origins: tuple[str, ...] = ()
    """Origins of pages whose scripts may ask, such as "https://app.example"; empty: none may. "*" is refused."""
    tls_certificate: str = ""
    """PEM file of the certificate, with its chain; empty: plain HTTP."""
    tls_key: str = ""
    """PEM file of its private key."""
    metrics: Literal["admin", "open", "off"] = "admin"
    """Who may read /metrics: an admin's key ("admin"; Prometheus sends one as its bearer token), anybody ("open"), or nobody ("off")."""
    page: bool = True
    """The page /ui for admins, in a browser; with False there is none."""
    calls_days: float = 7.0
    """Days for which each request with its attempts is kept for that page, without prompts and answers; 0: none is."""
    log: bool = True
    """A line of JSON for each request on standard error."""

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be meant."""
        for name, least in (("max_body_bytes", 1024), ("max_in_flight", 1), ("max_queued", 0), ("port", 0)):
            if getattr(self, name) < least:
                raise Misconfigured(f"[serve]: {name} = {getattr(self, name)} must be at least {least}")
        for name in ("queue_s", "drain_s"):
            if not 0 <= getattr(self, name) < 86_400:
                raise Misconfigured(f"[serve]: {name} = {getattr(self, name)} must be seconds, from 0 to a day")
        if not 0 <= self.calls_days < 10_000:
            raise Misconfigured(f"[serve]: calls_days = {self.calls_days} must be days, from 0 (keep none) to 10,000")
        if "*" in self.cors_origins:
            raise Misconfigured('[serve]: cors_origins = ["*"] would let any page use a key; name the origins')
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise Misconfigured("[serve]: tls_certificate and tls_key go together")

    def state_url(self) -> Secret:
        """Where keys and teams are; it may hold a password."""
        return Secret(self.state)


def serve_settings(values: Mapping[str, Any]) -> ServeSettings:
    """The settings of a file's table `[serve]`. Raises Misconfigured, naming the key."""
    try:
        return msgspec.convert(dict(values), ServeSettings)
    except msgspec.ValidationError as error:
        raise Misconfigured(f"[serve]: {error}; known are {', '.join(ServeSettings.__struct_fields__)}") from None
