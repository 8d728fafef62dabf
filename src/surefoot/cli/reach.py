"""Is there a service at this address? Names, proxies, certificates, paths, clocks and the list of models, without a call that costs.

`reach` asks for the list of models the way the target's calls go: by its proxy, its CA file, its client certificate, with its key. Each
finding is a sentence with what to do about it; none holds a key.
"""

from __future__ import annotations

import errno
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener

import msgspec
from msgspec import Struct

from surefoot._documented import Documented
from surefoot.errors import Misconfigured
from surefoot.facts import protocol_of
from surefoot.providers.http.transport import OPTIONS, Transport, has_own_key, transport_of
from surefoot.secret import Secret
from surefoot.settings import Target

REACH_S = 10.0
SKEW_S = 60.0  # beyond this signed requests and tokens with an expiry begin to fail
DAYS_LEFT = 14.0  # of a certificate: renewals that run by themselves have happened by then
READ_BYTES = 4 * 1024 * 1024  # of a list of models; OpenRouter's has half a megabyte
TAILS = ("/chat/completions", "/completions", "/responses", "/embeddings", "/messages", "/models")  # paths that calls add themselves
LOG_IN = "write user and password into the proxy's address"
LOOPBACK = ("localhost", "127.0.0.1", "::1")

Verdict = Literal["ok", "warn", "fail"]
LISTS: dict[
    str, tuple[str, Callable[[str], dict[str, str]]]
] = {  # where a protocol's models are listed behind its base address, and how a key is shown
    "openai": ("/models", lambda key: {"authorization": f"Bearer {key}"}),
    "anthropic": ("/v1/models", lambda key: {"x-api-key": key, "anthropic-version": "2023-06-01"}),
    "google": ("/v1beta/models?pageSize=1000", lambda key: {"x-goog-api-key": key}),
}


class Check(Struct, Documented, frozen=True, kw_only=True):
    """One thing looked at: what, of which target ("" for the installation), the verdict, a sentence, and what to do."""

    what: str
    """What was looked at, in a word or two."""
    target: str = ""
    """Of which target, as "provider:model"; empty: of the installation."""
    verdict: Verdict
    """Whether it is as it should be."""
    says: str
    """A sentence: what was found."""
    remedy: str = ""
    """What to do about it; empty where nothing is wrong."""


class Reached(Struct, Documented, frozen=True, kw_only=True):
    """What was found at an address."""

    checks: tuple[Check, ...]
    """The findings, in order."""
    models: tuple[str, ...] = ()
    """The models that it lists, by their own names; empty where it lists none."""


class _HttpAnswer(Struct, frozen=True, kw_only=True):
    """What came back to one request."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def models(self) -> tuple[str, ...] | None:
        """The names of the models in the body; None where it is no list of models."""
        try:
            found: Any = msgspec.json.decode(self.body)
            rows: Any = found.get("data", found.get("models")) if isinstance(found, dict) else found
            return tuple(str(one.get("id") or one["name"]).removeprefix("models/") for one in rows)
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
            return None

    @property
    def is_page(self) -> bool:
        """Whether it is a page for people."""
        return "html" in self.headers.get("content-type", "") or self.body[:256].lstrip().lower().startswith((b"<!doctype", b"<html"))


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """None: an API that sends elsewhere is a finding, and a key follows nobody."""


def reach(target: Target, address: str, key: Secret | None) -> Reached:
    """Look at the address. `key` goes where the target's calls would show it; None: none is shown."""
    name = target.name

    def check(verdict: Verdict, says: str, remedy: str = "", what: str = "address") -> Check:
        return Check(what=what, target=name, verdict=verdict, says=says, remedy=remedy)

    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return Reached(checks=(check("fail", f"{address} begins with neither http:// nor https://", "write it as https://HOST/v1"),))
    try:
        options = {**OPTIONS, **{option: value for option, value in target.options if option in OPTIONS}}
        transport = transport_of(target, options, address)
    except Misconfigured as error:
        return Reached(checks=(check("fail", str(error), "mend that setting"),))
    checks = [check(*found, what="proxy") for found in _proxy(parts, transport)]
    found = _certificate(parts, transport)
    if found is not None:
        checks.append(check(*found, what="certificate"))
        if found[0] == "fail":
            return Reached(checks=tuple(checks))
    path, shown = LISTS.get(protocol_of(name), LISTS["openai"])
    headers = {
        "user-agent": "surefoot",
        **dict(target.headers),
        **(shown(key.reveal()) if key is not None and not has_own_key(target) else {}),
    }
    started = time.monotonic()
    try:
        answer = _ask(_opener(transport, parts), f"{address.rstrip('/')}{path}", headers)
    except (OSError, ValueError, HTTPException) as error:
        return Reached(checks=(*checks, check("fail", *_unreached(error, address, parts, transport))))
    took = f"{address} answers in {(time.monotonic() - started) * 1000:.0f} ms"
    models = answer.models
    wrong = None if models is not None else _misplaced(answer, address, path, headers, _opener(transport, parts), transport)
    if wrong is not None:
        checks.append(check("fail", *wrong))
    elif models is None:
        checks.append(check("ok", f"{took} (HTTP {answer.status}) and lists no models"))
    else:
        checks.append(check("ok", f"{took} and lists {len(models)} models"))
    clock = _clock(name, answer.headers.get("date", ""))
    return Reached(checks=(*checks, *([clock] if clock is not None else [])), models=models or ())


def _ask(opener: OpenerDirector, url: str, headers: Mapping[str, str]) -> _HttpAnswer:
    asked = Request(url, headers=dict(headers))  # noqa: S310 - the scheme was looked at
    try:
        with opener.open(asked, timeout=REACH_S) as answer:
            return _HttpAnswer(status=answer.status, headers=_plain(answer.headers), body=answer.read(READ_BYTES))
    except HTTPError as error:
        with error:
            return _HttpAnswer(status=error.code, headers=_plain(error.headers), body=error.read(READ_BYTES))


def _plain(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _opener(transport: Transport, parts: SplitResult) -> OpenerDirector:
    """What opens the address the way the target's calls go."""
    proxies = {} if transport.proxy is None else {parts.scheme: _with_credentials(transport)}
    tls = transport.tls
    return build_opener(ProxyHandler(proxies), _NoRedirects(), *([HTTPSHandler(context=tls)] if isinstance(tls, ssl.SSLContext) else []))


def _with_credentials(transport: Transport) -> str:
    """The proxy's address as urllib wants it, its user and password within."""
    from base64 import b64decode
    from urllib.parse import quote

    address = transport.proxy or ""
    credentials = (transport.proxy_headers or {}).get("Proxy-Authorization", "").removeprefix("Basic ")
    if not credentials:
        return address
    user, _, password = b64decode(credentials).decode().partition(":")
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"


def _proxy(parts: SplitResult, transport: Transport) -> Iterator[tuple[Verdict, str, str]]:
    if transport.proxy is None:
        return
    if parts.hostname in LOOPBACK:
        yield (
            "warn",
            f"a server on this machine is asked through the proxy {transport.proxy}",
            "add it to NO_PROXY, such as NO_PROXY=localhost,127.0.0.1",
        )
    else:
        yield "ok", f"{parts.hostname} is asked through {transport.proxy}", ""


def _certificate(parts: SplitResult, transport: Transport) -> tuple[Verdict, str, str] | None:
    """How long the server's certificate holds, or why it is not trusted; None where none is shown, or a proxy is between."""
    if not isinstance(transport.tls, ssl.SSLContext) or parts.scheme != "https" or transport.proxy is not None:
        return None
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 443), timeout=REACH_S) as plain,
            transport.tls.wrap_socket(plain, server_hostname=parts.hostname) as secure,
        ):
            shown: Any = secure.getpeercert()
    except ssl.SSLError as error:
        return _no_tls(parts, error)
    except OSError:
        return None  # said by the request itself
    if not shown or "notAfter" not in shown:
        return None  # not verified, as the caller wants it
    days = (ssl.cert_time_to_seconds(shown["notAfter"]) - time.time()) / 86400  # noqa: TID251 - certificates go by the wall clock
    if days < DAYS_LEFT:
        return "warn", f"{parts.hostname}: the certificate ends in {days:.0f} days", "renew it, or tell who runs the server"
    return "ok", f"{parts.hostname}: the certificate holds for {days:.0f} days", ""


def _no_tls(parts: SplitResult, error: ssl.SSLError) -> tuple[Verdict, str, str]:
    """Why no encrypted connection came about, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message
        remedies = {
            "expired": "the server's owner must renew it; if it is new, this machine's clock is ahead",
            "not yet valid": "this machine's clock is behind, or the certificate was made for later",
            "mismatch": "use the name that the certificate was made for",
        }
        trust = "give the file of your company's CA with verify= of the target, or in SSL_CERT_FILE"
        remedy = next((remedy for word, remedy in remedies.items() if word in why.lower()), trust)
        return "fail", f"{parts.hostname}: the certificate is not trusted: {why}", remedy
    if any(word in str(error) for word in ("WRONG_VERSION_NUMBER", "RECORD_LAYER", "HTTP_REQUEST")):
        return "fail", f"{_port(parts)} speaks no TLS", "write http:// where the server has no certificate"
    return "fail", f"{_port(parts)}: no TLS: {error.reason or error}", "where the server wants a client certificate, give it with cert="


def _port(parts: SplitResult) -> str:
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _unreached(error: Exception, address: str, parts: SplitResult, transport: Transport) -> tuple[str, str]:
    """What an address that gave no answer at all means, and what to do."""
    reason = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
    says = str(reason)
    where = (
        f"the proxy {transport.proxy}" if transport.proxy else f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    )
    mend_proxy = "mend HTTPS_PROXY or proxy= of the target, or leave this address out of it with NO_PROXY"
    if says.startswith("Tunnel connection failed"):
        wanted = "407" in says
        remedy = LOG_IN if wanted else mend_proxy
        return f"{address} cannot be reached: the proxy {transport.proxy} answers {says.partition(': ')[2]}", remedy
    remedy = mend_proxy if transport.proxy else "is the server running, and is the port right?"
    if isinstance(reason, socket.gaierror):
        return f"{where}: no such host", mend_proxy if transport.proxy else "is the name spelt right, and can this machine look names up?"
    if isinstance(reason, ConnectionRefusedError):
        return f"{where} refuses connections", remedy
    if isinstance(reason, TimeoutError):
        return f"{where} does not answer within {REACH_S:g} s", mend_proxy if transport.proxy else "does a firewall stand between?"
    if isinstance(reason, ConnectionResetError | HTTPException | ssl.SSLError) or getattr(reason, "errno", 0) == errno.EPIPE:
        return (
            f"{where} closes the connection without an answer ({says})",
            f"does it want {'http' if parts.scheme == 'https' else 'https'}://?",
        )
    return f"{address} cannot be reached: {says}", remedy


def _misplaced(
    answer: _HttpAnswer, address: str, path: str, headers: Mapping[str, str], opener: OpenerDirector, transport: Transport
) -> tuple[str, str] | None:
    """Why what answered is not the API at its base address, and what to write instead; None where nothing speaks against it."""
    if transport.proxy is not None and (answer.status == 407 or (answer.status in {502, 503, 504} and answer.is_page)):
        wanted = (
            "write user and password into the proxy's address"
            if answer.status == 407
            else "is the address right, and may the proxy go there?"
        )
        return f"the proxy {transport.proxy} answers in the server's place: HTTP {answer.status}", wanted
    if 300 <= answer.status < 400:
        return f"{address} sends elsewhere, to {answer.headers.get('location', '?')}", "write the address it sends to"
    if answer.status not in {404, 405} and not answer.is_page:
        return None  # an error of the API's own, such as a refused key, is told by the call
    for other in _others(address):
        try:
            if _ask(opener, f"{other}{path}", headers).models is not None:
                return f"{address} is not where its API is (HTTP {answer.status})", f"write {other}"
        except (OSError, ValueError, HTTPException):
            break  # it answered the first time; what now stays away would keep us for each of them
    if answer.is_page:
        return f"{address} answers with a page for people, not with an API (HTTP {answer.status})", "is it the right host and port?"
    return None


def _others(address: str) -> Iterator[str]:
    """Addresses that were probably meant."""
    base = address.rstrip("/")
    for tail in TAILS:
        if base.endswith(tail):
            base = base.removesuffix(tail)
            yield base
    if base.endswith("/v1"):
        yield base.removesuffix("/v1").rstrip("/")
    while base.endswith("/v1/v1"):
        base = base.removesuffix("/v1")
        yield base
    yield f"{base}/v1"
    yield f"{base}/api/v1"


def _clock(name: str, date: str) -> Check | None:
    """How far this machine's clock is from the server's; None if the server's date is none."""
    try:
        skew_s = time.time() - parsedate_to_datetime(date).timestamp()  # noqa: TID251 - the wall clock is what is looked at
    except (ValueError, TypeError):
        return None
    fine = abs(skew_s) <= SKEW_S
    says = f"{skew_s:+.0f} s against the server"
    remedy = "" if fine else "set this machine's clock, such as with NTP"
    return Check(what="clock", target=name, verdict="ok" if fine else "warn", says=says, remedy=remedy)
