"""What a target says about its connections: timeouts, proxy, certificates, how large an answer may be.

The options `connect_s`, `proxy`, `verify`, `cert` and `max_body_bytes` mean the same at every provider and on both lanes. They are checked
and files are read when the target is built, on a worker thread, so that neither a typo nor a disk is met during a call.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from functools import lru_cache
from importlib.util import find_spec
from inspect import iscoroutinefunction
from typing import Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.errors import Misconfigured
from surefoot.rules.aimd import START, Limit
from surefoot.secret import KEY_HEADERS
from surefoot.settings import DEFAULTS, Target

MAX_BODY_BYTES = (
    64 * 1024 * 1024
)  # after decompression: more than 2,048 vectors of 3,072 numbers in base64, less than a process has to spare

OPTIONS: dict[str, Any] = {
    "connect_s": DEFAULTS.connect_s,  # until a connection stands, name look-up and TLS included; None: no limit
    "proxy": None,  # "http://USER:PASSWORD@HOST:PORT"; left out, the environment's (https_proxy, no_proxy); "": none
    "verify": None,  # a file of CA certificates, or an ssl.SSLContext; left out, the system's
    "cert": None,  # client certificate (mTLS): a PEM file, or (certificate, key) or (certificate, key, password)
    "max_body_bytes": MAX_BODY_BYTES,  # a longer answer, an error's included, is dropped and raised as MalformedReply
}


class Transport(Struct, Documented, frozen=True):
    """How one target's requests travel.

    `tls` is False where there is nothing to encrypt. `burst` connections may be opened at once, more follow at a pace.
    """

    address: str
    """Where requests go."""
    connect_s: float | None = DEFAULTS.connect_s
    """Seconds until a connection must stand, name look-up and TLS included. None: no limit."""
    proxy: str | None = None
    """The proxy's address. None: no proxy."""
    proxy_headers: dict[str, str] | None = None
    """Headers for the proxy alone, such as its credentials. None: no such header."""
    tls: ssl.SSLContext | bool = False
    """What encrypts the connection and says whom it trusts; False where there is nothing to encrypt."""
    max_body_bytes: int = MAX_BODY_BYTES
    """The longest answer that is read, after decompression."""
    burst: int = int(START)
    """Connections that may be opened at once; more follow at a pace."""


def lane_of(target: Target, sdk: str) -> Literal["client", "sdk", "direct"]:
    """How requests to `target` travel: through the caller's client, through the module `sdk`, or without it where it is not installed."""
    if target.client is not None:
        for name in ("proxy", "verify", "cert"):
            if dict(target.options).get(name) is not None:
                raise Misconfigured(f"target {target.name}: {name} beside client: the client connects as it was made; set it there")
        return "client"
    if target.lane != "auto":
        return target.lane
    return "sdk" if is_installed(sdk) else "direct"


def is_installed(module: str) -> bool:
    """True if `module` can be imported."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package it lies in is not there
        return False


def address_of(target: Target) -> str:
    """The base address that is asked, a client's own included; "" for the provider's usual one."""
    return target.base_url or str(getattr(target.client, "base_url", "") or "")


def has_own_key(target: Target) -> bool:
    """Whether a header of the target's own holds a key: then no other goes out beside it, for gateways refuse two."""
    return any(name.lower() in KEY_HEADERS for name, _ in target.headers)


def no_key(_: str) -> dict[str, str]:
    """The headers that a key becomes where another one is sent: none."""
    return {}


def check_client(target: Target, kind: type[Any], *others: str) -> None:
    """Raise Misconfigured unless `target.client` is a client that can post without blocking: an asynchronous one of the vendor's SDK."""
    post = getattr(target.client, "post", None)
    if iscoroutinefunction(post) and not isinstance(target.client, type):
        return
    known = ", ".join((kind.__name__, *others))
    raise Misconfigured(f"target {target.name}: client is {type(target.client).__name__}; give an asynchronous client of the SDK: {known}")


def transport_of(target: Target, options: dict[str, Any], address: str) -> Transport:
    """The transport of `target`. Raises Misconfigured for an option that cannot be used, or a file that cannot be read."""
    limit = options["max_body_bytes"]
    if not (isinstance(limit, int) and limit > 0):
        raise Misconfigured(f"target {target.name}: max_body_bytes = {limit!r} must be a number of bytes above 0")
    try:
        where = urlsplit(address)
        proxy, headers = proxy_for(address) if options["proxy"] is None else _proxy(options["proxy"], where)
        verify, cert = options["verify"], options["cert"]
        is_needed = where.scheme == "https" or (proxy or "").startswith("https:")
        tls = _tls(verify, cert) if is_needed or (verify, cert) != (None, None) else False  # a wrong path is told, needed or not
    except Misconfigured as error:
        raise Misconfigured(f"target {target.name}: {error}") from None
    burst = target.concurrency or Limit.paced(target.requests_per_minute).limit
    return Transport(
        address=address, connect_s=options["connect_s"], proxy=proxy, proxy_headers=headers, tls=tls, max_body_bytes=limit, burst=burst
    )  # fmt: skip


def proxy_for(address: str) -> tuple[str | None, dict[str, str] | None]:
    """The system's proxy for `address` and the headers it wants, read once: aiohttp looks it up in a thread at every request.

    Raises Misconfigured for a proxy that aiohttp does not speak to.
    """
    parts = urlsplit(address)
    proxies = getproxies()
    given = proxies.get(parts.scheme) or proxies.get("all")
    if not given or proxy_bypass(parts.hostname or ""):
        return None, None
    return _proxy(given, parts)


def _proxy(given: Any, where: SplitResult) -> tuple[str | None, dict[str, str] | None]:
    if given == "":
        return None, None
    try:
        proxy = urlsplit(given if "://" in given else f"http://{given}")
        port = proxy.port or {"https": 443}.get(proxy.scheme, 80)
    except (TypeError, ValueError):
        proxy, port = None, 0
    if proxy is None or not proxy.hostname:
        raise Misconfigured('the proxy is no address; write proxy = "http://HOST:PORT" or "http://USER:PASSWORD@HOST:PORT"')
    if proxy.scheme not in {"http", "https"}:
        raise Misconfigured(
            f"the proxy for {where.hostname} speaks {proxy.scheme}, which is not spoken here; give the target a client=... of the vendor's "
            "SDK whose HTTP client does"
        )
    host = f"[{proxy.hostname}]" if ":" in proxy.hostname else proxy.hostname
    plain = f"{proxy.scheme}://{host}:{port}"
    if not proxy.username:
        return plain, None
    credentials = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return plain, {"Proxy-Authorization": f"Basic {b64encode(credentials.encode()).decode()}"}


def _tls(verify: Any, cert: Any) -> ssl.SSLContext:
    """The TLS context for these options; one per combination, since equal contexts share connections."""
    if isinstance(verify, ssl.SSLContext):
        if cert is not None:
            raise Misconfigured("verify is an ssl.SSLContext: load the client certificate into it instead of giving cert")
        return verify
    if not (verify is None or (isinstance(verify, str) and verify)):
        raise Misconfigured(f"verify = {verify!r} must be the path of a file of CA certificates, or an ssl.SSLContext")
    chain = tuple(cert) if isinstance(cert, tuple | list) else () if cert is None else (cert,)
    if len(chain) > 3 or not all(isinstance(one, str) and one for one in chain):
        raise Misconfigured("cert must be the path of a PEM file, or (certificate, key) or (certificate, key, password)")
    return _context(verify, chain)


@lru_cache(maxsize=64)
def _context(verify: str | None, chain: tuple[str, ...]) -> ssl.SSLContext:
    """Made once per combination: reading certificates takes tens of milliseconds."""
    try:
        context = ssl.create_default_context(cafile=verify or _bundle())
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(f"verify: the CA file {verify} cannot be read ({error})") from error
    if chain:
        try:
            context.load_cert_chain(*chain)
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured(f"cert: the client certificate {chain[0]} cannot be read ({error})") from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def _bundle() -> str | None:
    """Certifi's bundle on a system without certificates of its own (slim images); None: the system's."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile is not None or paths.capath is not None or find_spec("certifi") is None:
        return None
    import certifi

    return str(certifi.where())
