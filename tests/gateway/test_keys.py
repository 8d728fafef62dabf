"""Keys, teams, budgets and limits, over real HTTP and in real databases."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from surefoot.cli.main import main
from surefoot.gateway.errors import HttpError
from surefoot.gateway.keys import store
from surefoot.gateway.keys.store import SqlKeys
from surefoot.gateway.minutes.windows import MinuteWindow
from surefoot.gateway.records import Allowance
from surefoot.secret import Secret
from surefoot.testing.wire import OpenAISim
from tests.gateway.conftest import FAST, Served, openai_target, served
from tests.postgres import fresh_url

ASKED: dict[str, Any] = {"model": "default", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 100}


class Kept(Served):
    """A gateway with keys in a database, and its admin's client."""

    admin: httpx.Client
    nobody: httpx.Client

    def key(self, **said: Any) -> str:
        made = self.admin.post("/admin/keys", json=said)
        assert made.status_code == 201, made.text
        return str(made.json()["key"])

    def client(self, key: str, retries: int = 0) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=retries)


@pytest.fixture(scope="module")
def kept(sim: OpenAISim, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    state = f"sqlite:{tmp_path_factory.mktemp('state')}/gateway.db"
    target = openai_target(sim, input_usd_per_mtok=0.0, output_usd_per_mtok=100.0)  # 100 tokens: a cent
    models = {
        "chat": {"default": {"targets": [target], "policy": FAST}, "other": {"targets": [target], "policy": FAST}},
        "embed": {"embedder": {"targets": [openai_target(sim, "text-embedding-3-small")]}},
    }
    keys = SqlKeys(Secret(state))
    tokens: list[str | None] = []
    batches = f"sqlite:{tmp_path_factory.mktemp('batches')}/batches.db"
    with served(models, keys, state=state, batches=batches, on_start=lambda: _noted(keys, tokens)) as one:
        one.__class__ = Kept
        assert isinstance(one, Kept)
        with httpx.Client(base_url=one.url) as client, httpx.Client(base_url=one.url) as one.nobody:
            assert client.post("/admin/setup", json={"token": "setup-wrong"}).status_code == 401
            first = client.post("/admin/setup", json={"token": tokens[0]})
            assert client.post("/admin/setup", json={"token": tokens[0]}).status_code == 401
            client.headers["authorization"] = f"Bearer {first.json()['key']}"
            one.admin = client
            yield one


async def _noted(keys: SqlKeys, tokens: list[str | None]) -> None:
    tokens.append(await keys.setup_token())


def test_a_key_asks_what_it_may_until_it_is_revoked(kept: Kept, sim: OpenAISim):
    """Scope, rotation and revocation hold at once; a secret is nowhere in the answers that follow."""
    made = kept.admin.post("/admin/keys", json={"name": "n", "models": ["other"]}).json()
    client = kept.client(made["key"])
    assert [one.id for one in client.models.list()] == ["other"]
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**ASKED)
    assert client.chat.completions.create(**{**ASKED, "model": "other"}).choices
    changed = kept.admin.patch(f"/admin/keys/{made['id']}", json={"models": []})
    assert changed.json()["models"] == []
    assert client.chat.completions.create(**ASKED).choices
    fresh = kept.admin.post(f"/admin/keys/{made['id']}/rotate", json={"grace_s": 0}).json()["key"]
    with pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(**ASKED)
    assert kept.client(fresh).chat.completions.create(**ASKED).choices
    assert kept.admin.delete(f"/admin/keys/{made['id']}").json()["revoked"]
    with pytest.raises(openai.AuthenticationError):
        kept.client(fresh).models.list()
    assert kept.admin.post(f"/admin/keys/{made['id']}/rotate", json={}).status_code == 409
    shown = kept.admin.get("/admin/keys").text
    assert made["key"] not in shown
    assert fresh not in shown


def test_a_rotated_secret_is_good_for_its_grace(kept: Kept):
    """So that a fleet can change over."""
    made = kept.admin.post("/admin/keys", json={}).json()
    fresh = kept.admin.post(f"/admin/keys/{made['id']}/rotate", json={}).json()["key"]
    assert kept.client(made["key"]).models.list()
    assert kept.client(fresh).models.list()


def test_nothing_is_kept_of_a_secret_but_its_hash(kept: Kept):
    """Nor in the write-ahead log."""
    secret = kept.key(name="canary")
    place = Path(kept.gateway.services.settings.state.removeprefix("sqlite:"))
    kept.client(secret).models.list()
    assert all(secret.encode() not in file.read_bytes() for file in place.parent.iterdir())
    assert sqlite3.connect(place).execute("SELECT count(*) FROM sf_key WHERE name = 'canary'").fetchone() == (1,)


def test_a_budget_of_nothing_sends_nothing_on_every_route_that_asks(kept: Kept, sim: OpenAISim):
    """Whatever route is added, money is guarded before it."""
    kept.admin.post("/admin/teams", json={"name": "poor", "budget_usd": 0})
    keys = [kept.key(budget_usd=0), kept.key(team="poor")]
    before = len(sim.requests)
    asking = [route for route in kept.gateway.router.routes if route.spends]
    assert len(asking) >= 4
    for key in keys:
        for route in asking:
            answer = kept.nobody.request(route.method, route.path, headers={"authorization": f"Bearer {key}"}, json=ASKED)
            assert answer.status_code == 429, route
            assert answer.headers["x-should-retry"] == "false"
    assert len(sim.requests) == before


def test_a_budget_is_spent_to_the_cent_and_no_further(kept: Kept, sim: OpenAISim):
    """Each answer is a cent at most; of a team's ten cents its two keys get ten answers' worth together, and raising it goes on."""
    kept.admin.post("/admin/teams", json={"name": "ten", "budget_usd": 0.1})
    keys = [kept.client(kept.key(team="ten")) for _ in range(2)]
    paid, refused = 0.0, None
    for at in range(400):
        try:
            answer = keys[at % 2].chat.completions.with_raw_response.create(**ASKED)
        except openai.RateLimitError as error:
            refused = error
            break
        paid += float(answer.headers["x-surefoot-cost-usd"])
    assert refused is not None
    assert refused.code == "budget_exceeded"
    assert 0.09 <= paid <= 0.1
    kept.admin.post("/admin/teams", json={"name": "ten", "budget_usd": 0.2})
    assert keys[0].chat.completions.create(**ASKED).choices


def test_requests_beyond_the_limit_are_told_when_to_come_back(kept: Kept, sim: OpenAISim):
    """Refused before anything is sent, with the wait."""
    client = kept.client(kept.key(requests_per_minute=2))
    for _ in range(2):
        client.chat.completions.create(**ASKED)
    before = len(sim.requests)
    with pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(**ASKED)
    assert len(sim.requests) == before
    assert refused.value.response.headers["x-should-retry"] == "true"
    assert 0 < int(refused.value.response.headers["retry-after-ms"]) <= 62_000
    words = kept.client(kept.key(tokens_per_minute=30))
    words.chat.completions.create(**ASKED)
    with pytest.raises(openai.RateLimitError):
        words.chat.completions.create(**{**ASKED, "messages": [{"role": "user", "content": "word " * 30}]})


CROSSED = [
    ("no key", {}),
    ("a wrong key", {"authorization": "Bearer sf-wrong"}),
    ("an empty key", {"authorization": "Bearer"}),
    ("SQL", {"authorization": "Bearer ' OR 1=1 --"}),
    ("a name of the table", {"authorization": "Bearer sf-x'; DROP TABLE sf_key; --"}),
    ("two keys", {"authorization": "Bearer sf-a", "x-api-key": "sf-b"}),
    ("basic", {"authorization": "Basic c2Y6c2Y="}),
]


@pytest.mark.parametrize(("what", "headers"), CROSSED)
def test_no_route_opens_without_its_key(what: str, headers: dict[str, str], kept: Kept):
    """Every route of the table, whatever is sent in the place of a key."""
    for route in kept.gateway.router.routes:
        if route.access != "open":
            path = route.path.replace("{id}", "k").replace("{name}", "m")
            answer = kept.nobody.request(route.method, path, headers=headers, json={})
            assert answer.status_code == (303 if route.access == "session" else 401), (what, route.path)  # the page leads to its form


def test_a_key_for_models_manages_nothing_and_an_admins_asks_nothing(kept: Kept):
    """Two kinds of keys, each for its own routes; neither by another Host, forwarded address or method override."""
    user = {"authorization": f"Bearer {kept.key()}"}
    tricks = {
        "host": "admin.local#@evil",
        "x-forwarded-for": "127.0.0.1",
        "x-original-url": "/health/live",
        "x-http-method-override": "GET",
    }
    for route in kept.gateway.router.routes:
        path = route.path.replace("{id}", "k").replace("{name}", "m")
        if route.access == "admin":
            assert kept.nobody.request(route.method, path, headers={**user, **tricks}, json={}).status_code == 403, route.path
        elif route.access == "key":
            assert kept.admin.request(route.method, route.path.replace("{id}", "k").replace("{name}", "m"), json={}).status_code == 403


def test_the_command_makes_lists_and_revokes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """On the machine itself no token is needed."""
    import json

    monkeypatch.chdir(tmp_path)
    assert main(["keys", "team", "core", "--budget-usd", "5", "--period", "day"]) == 0
    assert json.loads(capsys.readouterr().out)["budget_usd"] == 5
    assert main(["keys", "create", "--team", "core", "--model", "default", "--expires-days", "1"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["key"].startswith(made["prefix"])
    assert main(["keys", "create", "--team", "none"]) == 1
    assert "make it first" in capsys.readouterr().err
    assert main(["keys", "revoke", made["id"]]) == 0
    capsys.readouterr()
    assert main(["keys", "list"]) == 0
    assert [(one["id"], bool(one["revoked"])) for one in json.loads(capsys.readouterr().out)] == [(made["id"], True)]


def test_no_minute_holds_more_than_the_limit():
    """Wherever the window begins, also where requests come at the worst moments."""
    window, taken = MinuteWindow(), []
    for step in range(4_000):
        now = step * 0.1
        while window.take(1, 7, now) == 0.0:
            taken.append(now)
    assert all(sum(begin <= one < begin + 60 for one in taken) <= 7 for begin in taken)
    assert len(taken) >= 7 * 6
    wait = window.take(1, 7, 400.0)
    assert window.take(1, 7, 400.0 + wait) == 0.0
    assert window.take(8, 7, 500.0) == 61.0


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_two_processes_see_the_same_keys(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What one makes the other knows; what one revokes the other refuses; a set-up token is good once for both; dates hold."""
    monkeypatch.setattr(store, "FRESH_S", 0.0)
    url = fresh_url() if kind == "postgresql" else f"sqlite:{tmp_path}/k.db"
    one, other = SqlKeys(Secret(url)), SqlKeys(Secret(url))
    try:
        token = await one.setup_token()
        assert token is not None
        admin, secret = await other.set_up(token)
        assert admin.is_admin
        assert (await one.find(secret)).key_id == admin.id
        assert await one.setup_token() is None
        with pytest.raises(HttpError):
            await one.set_up(token)
        await one.set_team("core", Allowance(models=("a", "b"), budget_nano=5))
        key, secret = await other.create(team="core", allowance=Allowance(models=("b", "c")))
        grant = await one.find(secret)
        assert (grant.models, grant.team_allowance.budget_nano, grant.tenant) == (("b",), 5, "team:core")
        _, fresh = await one.rotate(key.id, grace_s=0)
        assert await other.find(secret) is None
        await one.revoke(key.id)
        assert await other.find(fresh) is None
        _, short = await one.create(expires=time.time() + 0.2)  # noqa: TID251 - a date
        assert await other.find(short) is not None
        await asyncio.sleep(0.25)
        assert await other.find(short) is None
        assert {record.id for record in await other.all_keys()} >= {admin.id, key.id}
        assert [team.name for team in await other.teams()] == ["core"]
    finally:
        await one.aclose()
        await other.aclose()
