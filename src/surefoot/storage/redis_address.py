"""The address of a Redis: what may stand in it, what of it is ours, and what of it is secret.

Four forms are understood: `redis://`, `rediss://` (TLS), `unix://`, and `redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/0`
(`rediss+sentinel://` with TLS to the servers). A cluster needs no form of its own: any of its nodes tells what it is.

Options stand behind a question mark. A misspelt one is refused when the model is built: redis-py would fail at the first call.
"""

from __future__ import annotations

import difflib
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.errors import Misconfigured

PREFIX = "surefoot:"
SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
SENTINEL_PORT = 26379
OURS = ("prefix", "eviction", "sentinel_username", "sentinel_password")
COMMON = (
    "db", "username", "password", "client_name", "health_check_interval", "socket_keepalive", "socket_timeout", "socket_connect_timeout",
)  # fmt: skip
TLS = (
    "ssl_keyfile", "ssl_certfile", "ssl_password", "ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_data", "ssl_ca_path", "ssl_check_hostname",
    "ssl_min_version", "ssl_ciphers",
)  # fmt: skip


class RedisAddress(Struct, Documented, frozen=True, kw_only=True):
    """An address, read."""

    url: str
    """What redis-py is given: `redis://`, `rediss://` or `unix://`, without our own options."""
    name: str
    """What messages call it: "Redis at HOST", without user or password."""
    prefix: str
    """What all keys begin with; services that share a server take one each."""
    accepts_eviction: bool
    """True if the address says `eviction=accept`: budgets may be kept where the server may forget them."""
    secrets: tuple[str, ...]
    """What no message may hold, as written in the address and as sent."""
    sentinels: tuple[tuple[str, int], ...] = ()
    """The Sentinels to ask where the primary is."""
    service: str = ""
    """The name by which Sentinels know it."""
    sentinel_options: dict[str, str] = {}
    """User name and password of the Sentinels themselves."""

    def mask(self, text: str) -> str:
        """`text` without the passwords that the address holds."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def read_address(url: str) -> RedisAddress:
    """What `url` says. Raises Misconfigured for one that cannot be read, without its password in the message."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise Misconfigured(f"the address of Redis cannot be read: write {', '.join(f'{one}://' for one in SCHEMES)}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    _check_options(options, is_tls=parts.scheme.startswith("rediss"), is_sentinel="sentinel" in parts.scheme)
    ours = {name: options.pop(name) for name in OURS if name in options}
    secrets = _secrets(parts.password, options.get("password"), options.get("ssl_password"), ours.get("sentinel_password"))
    common: dict[str, Any] = {
        "prefix": ours.get("prefix", PREFIX),
        "accepts_eviction": ours.get("eviction") == "accept",
        "secrets": secrets,
    }
    if "sentinel" in parts.scheme:
        return _read_sentinel(url, options, ours, common)
    address = RedisAddress(
        url=url.partition("?")[0] + (f"?{urlencode(options)}" if options else ""),
        name=f"Redis at {parts.hostname or unquote(parts.path)}",
        **common,
    )
    _check_readable(address)
    return address


def _read_sentinel(url: str, options: dict[str, str], ours: dict[str, str], common: dict[str, Any]) -> RedisAddress:
    """The same for Sentinels: several hosts, a service's name, a database number."""
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    service, _, number = parts.path.strip("/").partition("/")
    sentinels = tuple(_host_and_port(one) for one in hosts.split(",") if one)
    if not sentinels or not service:
        raise Misconfigured("the address of Redis behind Sentinels: write redis+sentinel://HOST:26379,HOST:26379/SERVICE/0")
    scheme = parts.scheme.partition("+")[0]
    database = f"/{number}" if number else ""
    query = f"?{urlencode(options)}" if options else ""
    login = f"{login}@" if login else ""
    address = RedisAddress(
        url=f"{scheme}://{login}{sentinels[0][0]}{database}{query}",
        name=f"Redis {service} by Sentinel at {', '.join(host for host, _ in sentinels)}",
        sentinels=sentinels,
        service=unquote(service),
        sentinel_options={name.removeprefix("sentinel_"): value for name, value in ours.items() if name.startswith("sentinel_")},
        **common,
    )
    _check_readable(address)
    return address


def _host_and_port(text: str) -> tuple[str, int]:
    """One Sentinel of the list."""
    one = urlsplit(f"redis://{text}")
    try:
        port = one.port or SENTINEL_PORT
    except ValueError:
        raise Misconfigured("the address of a Sentinel cannot be read: write HOST:PORT, several with commas between them") from None
    return one.hostname or "localhost", port


def _check_options(options: dict[str, str], *, is_tls: bool, is_sentinel: bool) -> None:
    """Raise Misconfigured for an option that is unknown, or that says nothing here."""
    known = [*COMMON, *TLS, *OURS]
    for name, value in options.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise Misconfigured(f"the address of Redis has an unknown option {name!r}: {hint}known are {', '.join(known)}")
        if name in TLS and not is_tls:
            raise Misconfigured(f"the address of Redis says {name} but not TLS: write rediss:// or leave it out")
        if name.startswith("sentinel_") and not is_sentinel:
            raise Misconfigured(f"the address of Redis says {name} but names no Sentinel: write redis+sentinel://HOST:26379/SERVICE/0")
        if name == "eviction" and value != "accept":
            raise Misconfigured(f"the address of Redis says eviction={value!r}: write eviction=accept, or leave it out")
        if name == "prefix" and (not value or any(one in value for one in "{}") or not value.isprintable()):
            raise Misconfigured("the address of Redis has a prefix that is empty or holds braces or control characters: write prefix=NAME:")


def _check_readable(address: RedisAddress) -> None:
    """Raise Misconfigured for what redis-py cannot read. Raises ImportError where redis-py is missing."""
    import redis.asyncio as redis

    try:
        redis.ConnectionPool.from_url(address.url)
    except ValueError as error:
        raise Misconfigured(f"the address of Redis cannot be read; write redis://HOST:PORT/0: {address.mask(str(error))}") from None
    path = urlsplit(address.url).path.strip("/")
    if not address.url.startswith("unix") and path and not path.isdigit():
        raise Misconfigured(f"the address of Redis names the database {path!r}: write a number, redis://HOST:PORT/0")


def _secrets(*passwords: str | None) -> tuple[str, ...]:
    """Each password as written, as sent and as quoted, the longest first."""
    forms = {form for one in passwords if one for form in (one, unquote(one), quote(unquote(one), safe=""))}
    return tuple(sorted(forms, key=len, reverse=True))
