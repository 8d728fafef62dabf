"""The page in a real Chromium: five journeys, and axe on every page, light and dark, in both languages, wide and at 375 pixels."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from surefoot import runtime
from surefoot.gateway.keys.store import SqlKeys
from surefoot.gateway.page.frame import MENU
from surefoot.secret import Secret
from surefoot.testing.wire import OK, OpenAISim, fault
from tests.gateway.conftest import FAST, openai_target, served

pytestmark = pytest.mark.heavy
LOOKS = [("en", "light", 1280), ("en", "dark", 375), ("tr", "dark", 1280), ("tr", "light", 375)]


@pytest.fixture(scope="module")
def chromium():
    where = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if where is None:
        pytest.skip("needs chromium (apt install chromium)")
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the group heavy")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=where, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def axe():
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("needs axe-playwright-python, of the group heavy")
    return next(Path(found.origin).parent.rglob("axe.min.js")).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A first start, over a vendor that fails now and then."""
    at = tmp_path_factory.mktemp("chromium")
    keys = SqlKeys(Secret(f"sqlite:{at}/g.db"))
    with OpenAISim() as sim:
        models = {"chat": {"default": {"targets": [openai_target(sim)], "policy": FAST, "cache": "memory"}}}
        with served(models, keys, ledger=f"sqlite:{at}/u.db", spool="") as gateway:
            sim.script([fault("status_503"), OK])
            yield gateway, keys, runtime.run(keys.setup_token())


def ask(url, key):
    body = json.dumps({"model": "default", "messages": [{"role": "user", "content": "Hello"}]}).encode()
    asked = urllib.request.Request(f"{url}/v1/chat/completions", data=body, headers={"authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, answer.headers["x-request-id"], answer.headers["x-surefoot-cost-usd"]
    except urllib.error.HTTPError as error:
        return error.code, error.headers["x-request-id"], None


def test_five_journeys_and_axe(chromium, axe, started):
    """First start; a key made and used; its call seen; its money seen; the key revoked. Then axe, on every page as it is with all that."""
    gateway, _, token = started
    look = chromium.new_context(viewport={"width": 1280, "height": 800}, locale="en-GB")
    page = look.new_page()
    said = []
    page.on("console", lambda one: said.append(one.text) if one.type in {"error", "warning"} else None)

    page.goto(f"{gateway.url}/ui/money")  # nobody is signed in
    page.get_by_label("set-up token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    admin = page.locator("#secret").inner_text()
    assert admin.startswith("sf-")

    page.get_by_role("link", name="Make a key for models").click()
    page.get_by_label("Name").first.fill("my notebook")
    page.get_by_label("Budget in US dollars").first.fill("5")
    page.get_by_role("button", name="Make a key").click()
    key = page.locator("#secret").inner_text()
    status, request, cost_usd = ask(gateway.url, key)
    assert status == 200
    runtime.run(gateway.gateway.services.calls.flush())

    page.get_by_role("link", name="Calls", exact=True).click()
    page.locator(f'a[href="/ui/calls/{request}"]').click()
    assert page.get_by_text("Overloaded").count() == 1
    assert page.locator("svg.span").count() == 2  # the attempt that failed, and the one that answered

    page.get_by_role("link", name="Money", exact=True).click()
    nano = round(float(cost_usd) * 1e9)
    shown = page.locator("#spent").inner_text().split("\n")[0]
    assert abs(float(shown.removeprefix("$")) - nano / 1e9) < 0.5 * 10 ** -len(shown.partition(".")[2])
    assert page.get_by_text("my notebook").count() == 1

    page.get_by_role("link", name="Keys", exact=True).click()
    page.get_by_role("button", name="Revoke my notebook").click()
    page.get_by_text("revoked").wait_for()
    assert ask(gateway.url, key)[0] == 401
    assert said == []
    look.close()

    paths = [*(path for path, _ in MENU), f"/ui/calls/{request}"]
    for language, theme, width in LOOKS:
        _look(chromium, axe, gateway.url, admin, paths, (language, theme, width))


def _look(chromium, axe, url, admin, paths, look):
    """No finding of axe at all, nothing wider than the window, nothing that the policy had to refuse."""
    language, theme, width = look
    context = chromium.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    said = []
    page.on("console", lambda one: said.append(one.text) if one.type in {"error", "warning"} else None)
    page.goto(f"{url}/ui/sign-in?lang={language}&theme={theme}")
    for path in ("", *paths):
        if path:
            page.goto(url + path)
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        assert [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found] == [], (path, look)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (path, look)
        if not path:
            page.locator("input[name=secret]").fill(admin)
            page.locator("button.main").click()
            page.wait_for_url("**/ui")
            assert page.evaluate("document.documentElement.className") == theme
            dark = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
            assert (max(map(int, re.findall(r"\d+", dark))) < 60) == (theme == "dark")
    assert said == [], look
    context.close()
