"""What every view of the page goes through: who asks, in which language, and how the answer is sent.

Nobody sees anything without a session but the form to sign in. A form is taken only from this page: with the session's token in it, and,
as the browser says, from this site. The answer's policy lets nothing run and nothing load from elsewhere.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from weakref import WeakKeyDictionary

from surefoot import __version__
from surefoot.errors import SurefootError
from surefoot.gateway.errors import HttpError
from surefoot.gateway.exchange import HttpExchange
from surefoot.gateway.keys.store import SqlKeys
from surefoot.gateway.page.charts import share_bar
from surefoot.gateway.page.formats import Formats
from surefoot.gateway.page.sessions import SESSION_S, PageSession, PageSessions
from surefoot.gateway.page.words import LANGUAGES, translated
from surefoot.gateway.records import Headers, WholeAnswer
from surefoot.gateway.router import SESSION_COOKIE
from surefoot.gateway.services import Services

HERE = Path(__file__).parent / "templates"
CHOICES = "surefoot_page"
THEMES = ("auto", "light", "dark")
MAX_FIELDS = 100
POLICY = b"default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
SAFE: Headers = (
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
MENU = (
    ("/ui", "Overview"),
    ("/ui/targets", "Models and targets"),
    ("/ui/calls", "Calls"),
    ("/ui/money", "Money"),
    ("/ui/keys", "Keys"),
    ("/ui/jobs", "Jobs"),
    ("/ui/compare", "Compare providers"),
    ("/ui/doctor", "Doctor"),
)


class PageRequest:
    """A request for the page: what it asks for, and what an answer is made of."""

    def __init__(self, services: Services, exchange: HttpExchange) -> None:
        if not isinstance(services.keys, SqlKeys):
            raise HttpError(501, "unsupported", "the keys of this gateway are given by its program; the page wants [serve] state")
        self.services = services
        self.exchange = exchange
        self.keys = services.keys
        self.sessions = _sessions(services.keys)
        self.session: PageSession | None = None
        self.query = dict(parse_qsl(exchange.scope["query_string"].decode("latin-1"), max_num_fields=MAX_FIELDS))
        self.form: dict[str, str] = {}
        self.cookies = _cookies(exchange.header(b"cookie"))
        self.path = exchange.scope["path"]
        chosen = (*self.cookies.get(CHOICES, "").split("."), "", "")
        self.language = _one_of(LANGUAGES, self.query.get("lang"), chosen[0], _preferred(exchange.header(b"accept-language")))
        self.theme = _one_of(THEMES, self.query.get("theme"), chosen[1])
        self.formats = Formats(self.language)
        self._set: list[bytes] = []
        if {"lang", "theme"} & self.query.keys():
            self._set_cookie(CHOICES, f"{self.language}.{self.theme}", 365 * 86_400)

    def say(self, english: str, **values: Any) -> str:
        """A sentence in the reader's language, with `values` in place of its names in braces."""
        said = translated(self.language, english)
        return said.format(**values) if values else said

    def html(self, template: str, *, status: int = 200, **values: Any) -> WholeAnswer:
        """An answer made of a template."""
        text = (
            _templates()
            .get_template(template)
            .render(page=self, _=self.say, fmt=self.formats, bar=share_bar, style=_style()[0], menu=MENU, **values)
        )
        body = text.encode()
        headers = [(b"content-type", b"text/html; charset=utf-8"), *SAFE, *((b"set-cookie", one) for one in self._set)]
        return _packed(self.exchange, body, headers, status)

    def to(self, path: str) -> WholeAnswer:
        """On to another page of ours."""
        headers = [(b"location", path.encode()), *SAFE, *((b"set-cookie", one) for one in self._set)]
        return WholeAnswer(b"", status=303, headers=tuple(headers))

    def link(self, path: str | None = None, **changes: str) -> str:
        """The address of this page with other choices; an empty one is left out."""
        said = self.query if path is None else {}
        query = {name: value for name, value in {**said, **changes}.items() if value}
        return (path or self.path) + (f"?{urlencode(query)}" if query else "")

    def sign_in(self, session: PageSession) -> None:
        """The answer brings the session's cookie."""
        self.session = session
        self._set_cookie(SESSION_COOKIE, session.token, int(SESSION_S))

    def sign_out(self) -> None:
        """The answer takes it away."""
        self.session = None
        self._set_cookie(SESSION_COOKIE, "", 0)

    @property
    def version(self) -> str:
        """Of surefoot."""
        return __version__

    @property
    def is_here(self) -> str:
        """The entry of the menu that this page belongs to."""
        return max((path for path, _ in MENU if self.path == path or self.path.startswith(f"{path}/")), key=len, default="")

    def _set_cookie(self, name: str, value: str, seconds: int) -> None:
        secure = "; Secure" if self.services.settings.tls_certificate else ""
        self._set.append(f"{name}={value}; Path=/ui; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}".encode())


View = Callable[[PageRequest], Awaitable[WholeAnswer]]
Handler = Callable[[Services, HttpExchange], Awaitable[WholeAnswer]]


def signed_in(view: View) -> Handler:
    """The handler of a view that only an admin sees; others are sent to the form to sign in."""
    return _handler(view, wants_session=True)


def for_anybody(view: View) -> Handler:
    """The handler of the form to sign in."""
    return _handler(view, wants_session=False)


def _handler(view: View, *, wants_session: bool) -> Handler:
    async def handle(services: Services, exchange: HttpExchange) -> WholeAnswer:
        page = PageRequest(services, exchange)
        try:
            token = page.cookies.get(SESSION_COOKIE, "")
            page.session = await page.sessions.find(token) if token else None
            if wants_session and page.session is None:
                return page.to("/ui/sign-in")
            if exchange.scope["method"] == "POST":
                _read_form(page)
            return await view(page)
        except HttpError as error:
            return page.html("error.html", status=error.status, says=str(error), title=str(error.status))
        except SurefootError as error:
            return page.html("error.html", status=503, says=str(error), title="503")

    return handle


async def style(services: Services, exchange: HttpExchange) -> WholeAnswer:  # noqa: ARG001 - the shape of all routes
    """The page's style sheet; its address names its content, so it is asked for once."""
    headers = [(b"content-type", b"text/css; charset=utf-8"), (b"x-content-type-options", b"nosniff")]
    return _packed(exchange, _style()[1], [*headers, (b"cache-control", b"public, max-age=31536000, immutable")], 200)


def _read_form(page: PageRequest) -> None:
    """Read what a form of this page sent. Raises HttpError (403) for one of another's."""
    exchange = page.exchange
    site, origin = exchange.header(b"sec-fetch-site"), exchange.header(b"origin")
    is_ours = site in {"", "same-origin", "none"} and (not origin or urlsplit(origin).netloc == exchange.header(b"host"))
    try:
        page.form = dict(parse_qsl(exchange.body.decode(), max_num_fields=MAX_FIELDS, keep_blank_values=True))
    except ValueError as error:
        raise HttpError(400, "invalid_request", "this is no form of the page") from error
    if not is_ours or (page.session is not None and not page.session.sent_it(page.form.get("form_token", ""))):
        raise HttpError(403, "forbidden", page.say("This form was not sent by this page, or it is old. Load the page again."))


def _packed(exchange: HttpExchange, body: bytes, headers: list[tuple[bytes, bytes]], status: int) -> WholeAnswer:
    if "gzip" in exchange.header(b"accept-encoding") and len(body) > 1024:
        body = gzip.compress(body, 5)
        headers = [*headers, (b"content-encoding", b"gzip")]
    return WholeAnswer(body, status=status, headers=(*headers, (b"vary", b"accept-encoding, accept-language, cookie")))


_sessions_of: WeakKeyDictionary[SqlKeys, PageSessions] = WeakKeyDictionary()


def _sessions(keys: SqlKeys) -> PageSessions:
    found = _sessions_of.get(keys)
    if found is None:
        found = _sessions_of[keys] = PageSessions(keys.database)
    return found


@cache
def _templates() -> Any:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ModuleNotFoundError as error:
        raise HttpError(501, "unsupported", 'the page needs jinja2: run  pip install "surefoot[serve]"') from error
    return Environment(loader=FileSystemLoader(HERE), undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)


@cache
def _style() -> tuple[str, bytes]:
    """The style sheet's address and content."""
    content = (HERE / "page.css").read_bytes()
    return f"/ui/page.css?{hashlib.sha256(content).hexdigest()[:12]}", content


def _cookies(said: str) -> dict[str, str]:
    pairs = (one.strip().partition("=") for one in said.split(";"))
    return {name: value for name, _, value in pairs if name}


def _one_of(known: tuple[str, ...], *said: str | None) -> str:
    return next((one for one in said if one in known), known[0])


def _preferred(said: str) -> str:
    """The language that a browser asks for first."""
    return said.replace(";", ",").split(",")[0].strip()[:2].lower()
