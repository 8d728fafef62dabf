"""The page /ui: nobody without a session sees it, it runs nothing, says what the ledger says, and asks a handful of statements for it."""

from __future__ import annotations

import gzip
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from surefoot import runtime
from surefoot.gateway.keys.store import SqlKeys
from surefoot.gateway.page.formats import Formats
from surefoot.gateway.page.frame import MENU
from surefoot.gateway.page.views import PAGE_ROUTES
from surefoot.gateway.page.words import TURKISH
from surefoot.secret import Secret
from surefoot.storage.sql.sqlite import SqliteConnection
from surefoot.testing.wire import OK, OpenAISim, fault
from surefoot.usage.rows.sqlite import SqliteRows
from tests.gateway.conftest import FAST, openai_target, served

PATHS = [path for path, _ in MENU]
EVIL = "<script>alert(1)</script>"
PAGE = Path(__file__).parents[2] / "src/surefoot/gateway/page"


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


class Browser:
    """Keeps cookies and follows nothing."""

    def __init__(self, url):
        self.url = url
        self.cookies = {}
        self.opener = urllib.request.build_opener(_Stay)

    def ask(self, path, form=None, **headers):
        headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        body = None if form is None else urllib.parse.urlencode(form).encode()
        asked = urllib.request.Request(self.url + path, data=body, headers=headers)
        try:
            answer = self.opener.open(asked, timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        for said in answer.headers.get_all("set-cookie") or ():
            name, _, value = said.split(";")[0].partition("=")
            self.cookies[name] = value
        answer.bytes = answer.read()
        answer.text = answer.bytes.decode("utf-8", "replace")
        return answer

    def token(self):
        """What the forms carry."""
        return re.search(r'name="form_token" value="(\w+)"', self.ask("/ui/keys").text)[1]


class Site:
    """A gateway with a page, calls that went well, badly and into the cache, and an admin."""

    def __init__(self, served_at, keys, sim):
        self.served, self.keys, self.sim, self.url = served_at, keys, sim, served_at.url
        self.key = runtime.run(keys.create(name=EVIL))[1]
        self.user = runtime.run(keys.create(name="user"))
        self.admin, self.admin_key = runtime.run(keys.create(name="boss", is_admin=True))

    def signed_in(self, language="en"):
        browser = Browser(self.url)
        assert browser.ask(f"/ui/sign-in?lang={language}", {"secret": self.admin_key}).status == 303
        return browser

    def call(self, text, key=""):
        body = json.dumps({"model": "default", "temperature": 0, "messages": [{"role": "user", "content": text}]}).encode()
        asked = urllib.request.Request(f"{self.url}/v1/chat/completions", data=body, headers={"authorization": f"Bearer {key or self.key}"})
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return answer.headers["x-request-id"]
        except urllib.error.HTTPError as error:
            return error.headers["x-request-id"]

    def settle(self):
        """Write what waits."""
        runtime.run(self.served.gateway.services.calls.flush())
        self.served.gateway.services.ledger.flush()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    at = tmp_path_factory.mktemp("page")
    keys = SqlKeys(Secret(f"sqlite:{at}/g.db"))
    with OpenAISim() as sim:
        models = {"chat": {"default": {"targets": [openai_target(sim)], "policy": FAST, "cache": "memory"}}}
        with served(models, keys, ledger=f"sqlite:{at}/u.db", spool="") as one:
            found = Site(one, keys, sim)
            sim.script([fault("status_503"), OK, OK])
            found.retried = found.call("one")
            for _ in range(3):
                found.call("the same")
            sim.script([fault("status_400")])
            found.refused = found.call("three")
            found.settle()
            yield found


def test_nobody_without_a_session_sees_anything(site):
    """Every route of the page, asked by nobody, by a key for models, with a forged cookie: the form to sign in, and no more."""
    user = Browser(site.url)
    assert user.ask("/ui/sign-in", {"secret": site.key}).status == 401
    forged = Browser(site.url)
    forged.cookies["surefoot_session"] = "x" * 43
    for route in PAGE_ROUTES:
        if route.path in {"/ui/page.css", "/ui/sign-in"}:
            continue
        path = route.path.replace("{id}", site.user[0].id)
        for one in (Browser(site.url), user, forged):
            answer = one.ask(path, {"name": "x"} if route.method == "POST" else None, authorization=f"Bearer {site.admin_key}")
            assert (answer.status, answer.headers["location"], answer.bytes) == (303, "/ui/sign-in", b""), path
    assert runtime.run(site.keys.get(site.user[0].id)).revoked is None


def test_a_form_is_taken_from_this_page_alone(site):
    """Without the session's token, from another site, or with another session's token nothing is done."""
    browser, other = site.signed_in(), site.signed_in()
    good = browser.token()
    path = f"/ui/keys/{site.user[0].id}/revoke"
    for form, headers in (
        ({}, {}),
        ({"form_token": "é"}, {}),
        ({"form_token": other.token()}, {}),
        ({"form_token": good}, {"origin": "https://evil.example"}),
        ({"form_token": good}, {"sec-fetch-site": "cross-site"}),
    ):
        assert browser.ask(path, form, **headers).status == 403
    assert runtime.run(site.keys.get(site.user[0].id)).revoked is None
    cookie = browser.ask("/ui/sign-in", {"secret": site.admin_key, "form_token": good}).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/ui"} <= set(cookie.split("; "))


@pytest.mark.parametrize("language", ["en", "tr"])
def test_each_page_is_small_asks_little_and_runs_nothing(site, language, monkeypatch):
    """At most three statements, 60 kB, and a policy under which no script and no style of a caller's words could do anything."""
    browser = site.signed_in(language)
    asked = []
    for name in ("rows", "row", "change"):
        do = getattr(SqliteConnection, name)
        monkeypatch.setattr(SqliteConnection, name, lambda *given, do=do: (asked.append(given[1]), do(*given))[1])
    for name in ("rollups", "count_set_aside"):
        count = getattr(SqliteRows, name)
        monkeypatch.setattr(SqliteRows, name, lambda *given, count=count: (asked.append("ledger"), count(*given))[1])
    for path in (*PATHS, f"/ui/calls/{site.retried}", "/ui/money?month=2020-02", "/ui/calls?outcome=refused", "/ui/compare?hours=168"):
        browser.ask(path)  # tables are made, once
        runtime.run(_forget_sessions(site))
        asked.clear()
        answer = browser.ask(path, **{"accept-encoding": "gzip"})
        assert answer.status == 200, path
        # What others ask for meanwhile is not the page's: the tables' versions, and what the log of calls forgets.
        statements = [one for one in asked if not any(part in one for part in ("sf_meta", "sqlite_master", "DELETE FROM sf_call"))]
        assert len(statements) <= 3, (path, statements)
        assert len(answer.bytes) < 60_000
        text = gzip.decompress(answer.bytes).decode()
        assert f'<html lang="{language}"' in text
        assert "<script" not in text
        assert " style=" not in text
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert site.admin_key not in text
        assert site.key not in text


async def _forget_sessions(site):
    from surefoot.gateway.page.frame import _sessions

    _sessions(site.keys).forget()


def test_the_money_is_the_ledgers(site):
    """To the billionth behind, to the cent in front; by key and in the call's own tree of attempts too."""
    (row,) = site.served.gateway.services.ledger.sums(by=())
    browser = site.signed_in()
    spent = re.search(r'id="spent">([^<]+)<', browser.ask("/ui/money").text)[1]
    assert spent == Formats("en").money(round(row.cost_usd * 1e9))
    assert row.cache_hits == 2
    call = browser.ask(f"/ui/calls/{site.retried}").text
    assert call.count("Overloaded") == 1
    assert ">retry<" in call
    costs = re.findall(r"<b>(\$[^<]+)</b>|<dt>Cost</dt><dd>(\$[^<]+)<", call)
    assert len({one or other for one, other in costs}) == 1
    assert EVIL not in call
    assert "&lt;script&gt;" in call
    refused = browser.ask("/ui/calls?outcome=refused").text
    assert site.refused in refused
    assert site.retried not in refused


def test_a_key_is_made_used_rotated_and_revoked(site):
    """What an operator does, by forms alone; wrong numbers and models are told, and nothing is made."""
    browser = site.signed_in()
    form = {"form_token": browser.token(), "name": "fresh", "budget_usd": "1,5", "period": "day", "models": "default"}
    for wrong in ({"budget_usd": "-1"}, {"budget_usd": "lots"}, {"models": "nope"}, {"team": "nope"}, {"expires_days": "nan"}):
        assert browser.ask("/ui/keys", {**form, **wrong}).status in {400, 404}, wrong
    secret = re.search(r'id="secret">(sf-[^<]+)<', browser.ask("/ui/keys", form).text)[1]
    grant = runtime.run(site.keys.find(secret))
    assert (grant.name, grant.allowance.budget_nano, grant.allowance.period) == ("fresh", 1_500_000_000, "day")
    request = site.call("a new key", secret)
    site.settle()
    assert "fresh" in browser.ask(f"/ui/calls/{request}").text
    rotated = browser.ask(f"/ui/keys/{grant.key_id}/rotate", {"form_token": form["form_token"]}).text
    assert re.search(r'id="secret">(sf-[^<]+)<', rotated)[1] != secret
    assert browser.ask(f"/ui/keys/{grant.key_id}/revoke", {"form_token": form["form_token"]}).status == 303
    assert runtime.run(site.keys.find(secret)) is None


def test_a_session_ends_with_its_key(site):
    """An admin who is revoked is out, and so is one who has signed out."""
    record, secret = runtime.run(site.keys.create(name="short", is_admin=True))
    browser, other = Browser(site.url), Browser(site.url)
    for one in (browser, other):
        one.ask("/ui/sign-in", {"secret": secret})
        assert one.ask("/ui").status == 200
    kept = dict(browser.cookies)
    assert browser.ask("/ui/sign-out", {"form_token": browser.token()}).status == 303
    browser.cookies = kept
    assert browser.ask("/ui").status == 303
    site.signed_in().ask(f"/ui/keys/{record.id}/revoke", {"form_token": "x"})
    assert other.ask("/ui").status == 200
    boss = site.signed_in()
    boss.ask(f"/ui/keys/{record.id}/revoke", {"form_token": boss.token()})
    assert other.ask("/ui").status == 303


def test_the_first_start(tmp_path):
    """The set-up token signs in once, shows the admin's key once, and is then nothing."""
    keys = SqlKeys(Secret(f"sqlite:{tmp_path}/g.db"))
    with OpenAISim() as sim, served({"chat": {"default": {"targets": [openai_target(sim)]}}}, keys) as one:
        token = runtime.run(keys.setup_token())
        browser = Browser(one.url)
        secret = re.search(r'id="secret">(sf-[^<]+)<', browser.ask("/ui/sign-in", {"secret": token}).text)[1]
        assert browser.ask("/ui").status == 200
        assert Browser(one.url).ask("/ui/sign-in", {"secret": token}).status == 401
        assert Browser(one.url).ask("/ui/sign-in", {"secret": secret}).status == 303


def test_every_sentence_is_turkish_too():
    """A sentence that was added or changed without its translation, or left over, is found here."""
    said = {name for _, name in MENU}
    sources = [*PAGE.glob("templates/*.html"), *PAGE.glob("*.py"), *PAGE.glob("views/*.py")]
    for path in sources:
        for double, single in re.findall(r"""(?:\b_|\bsay)\(\s*(?:"([^"]+)"|'([^']+)')""", path.read_text(encoding="utf-8")):
            said.add(double or single)
    code = "".join(path.read_text(encoding="utf-8") for path in sources if path.name != "words.py")
    assert said - TURKISH.keys() == set()
    assert [one for one in TURKISH if f'"{one}"' not in code and f"'{one}'" not in code] == []
    fields = re.compile(r"\{\w+\}")
    assert [one for one, turkish in TURKISH.items() if sorted(fields.findall(one)) != sorted(fields.findall(turkish))] == []


def test_numbers_read_well():
    """A dash for what is not known, finer money below a dollar, and never 100 % where something failed."""
    english, turkish = Formats("en"), Formats("tr")
    assert [english.money(one) for one in (None, 0, 1_234_560_000_000, 12_300_000, 123_000)] == [
        "–",
        "$0.00",
        "$1,234.56",
        "$0.0123",
        "$0.000123",
    ]
    assert turkish.money(1_234_560_000_000) == "1.234,56 $"
    assert [english.share(*one) for one in ((0, 0), (9_999, 10_000), (1, 1), (1, 10_000))] == ["–", "99.99%", "100%", "0.01%"]
    assert turkish.share(1, 8) == "%12,5"
    assert [english.duration(one) for one in (None, 17.3, 999.9, 61_000)] == ["–", "17 ms", "1.00 s", "61.0 s"]
    assert [english.short(one) for one in (999, 12_345, 4_560_000)] == ["999", "12.3 k", "4.6 M"]
