"""Corpora of attacks over real sockets: smuggled requests, SQL in every field, keys that must be nowhere, keys that are none."""

from __future__ import annotations

import io
import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest

from surefoot import runtime
from surefoot.gateway.keys.store import SqlKeys
from surefoot.gateway.server import JsonLog
from surefoot.secret import Secret
from surefoot.testing.wire import OpenAISim, fault
from tests.gateway.conftest import FAST, Served, openai_target, served

ASKED: dict[str, Any] = {"model": "default", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}
UPSTREAM = "upstream-key-0123456789"  # what the gateway itself sends


class KeyedGateway(Served):
    """A gateway with a key of each kind."""

    client: httpx.Client
    folder: Path
    keys: dict[str, str]
    ids: dict[str, str]

    def ask(self, method: str, path: str, key: str, **said: Any) -> httpx.Response:
        return self.client.request(method, path, headers={"authorization": f"Bearer {key}"} if key else {}, **said)


@pytest.fixture(scope="module")
def guarded(sim: OpenAISim, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyedGateway]:
    folder = tmp_path_factory.mktemp("guarded")
    state = f"sqlite:{folder}/keys.db"
    store = SqlKeys(Secret(state))
    models = {
        "chat": {"default": {"targets": [openai_target(sim)], "policy": FAST}, "theirs": {"targets": [openai_target(sim)], "policy": FAST}},
        "embed": {"embedder": {"targets": [openai_target(sim, "text-embedding-3-small")]}},
    }
    with served(models, store, state=state, batches=f"sqlite:{folder}/batches.db", ledger=f"sqlite:{folder}/usage.db") as one:
        one.__class__ = KeyedGateway
        assert isinstance(one, KeyedGateway)
        one.folder, one.keys, one.ids = folder, {"none": "", "wrong": "sf-wrong-0123456789abcdefghijklmnop"}, {}

        async def make() -> None:
            for team in ("a", "b"):
                await store.set_team(team, _allowance(("default",) if team == "a" else ("theirs",)))
            for name, team, is_admin in (("user", "a", False), ("other", "b", False), ("revoked", "a", False), ("admin", "", True)):
                record, one.keys[name] = await store.create(name=name, team=team, is_admin=is_admin)
                one.ids[name] = record.id
            record, one.keys["expired"] = await store.create(name="expired", expires=time.time() - 1)  # noqa: TID251 - a date
            await store.revoke(one.ids["revoked"])

        runtime.run(make())
        with httpx.Client(base_url=one.url, timeout=30) as one.client:
            yield one


def _allowance(models: tuple[str, ...]) -> Any:
    from surefoot.gateway.records import Allowance

    return Allowance(models=models)


def test_no_route_opens_for_a_key_that_may_not(guarded: KeyedGateway):
    """All routes by no, a wrong, an expired, a revoked key: 401; by a user's or an admin's where it wants the other: 403."""
    openings, asked = [], 0
    for route in guarded.gateway.router.routes:
        if route.access in {"open", "session"}:  # the page's own test asks the latter
            continue
        path = route.path.replace("{id}", guarded.ids["user"]).replace("{name}", "default")
        wanted = dict.fromkeys(("none", "wrong", "expired", "revoked"), 401)
        wanted["user" if route.access == "admin" else "admin"] = 403
        for kind, status in wanted.items():
            asked += 1
            answer = guarded.ask(route.method, path, guarded.keys[kind], json=ASKED)
            if answer.status_code != status:
                openings.append((route.method, path, kind, answer.status_code))
    assert not openings
    assert asked > 100


def test_a_key_of_another_team_finds_nothing_of_this_one(guarded: KeyedGateway):
    """Models, files, batches: each is a 404 for the other team's key, and in none of its lists."""
    ours, theirs = guarded.keys["user"], guarded.keys["other"]
    line = json.dumps({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": ASKED}).encode()
    file_id = guarded.ask("POST", "/v1/files", ours, files={"file": ("a.jsonl", line)}, data={"purpose": "batch"}).json()["id"]
    asked = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch_id = guarded.ask("POST", "/v1/batches", ours, json=asked).json()["id"]
    for method, path, body in (
        ("GET", "/v1/models/default", None), ("POST", "/v1/chat/completions", ASKED), ("POST", "/v1/messages", ASKED),
        ("GET", f"/v1/files/{file_id}", None), ("GET", f"/v1/files/{file_id}/content", None), ("DELETE", f"/v1/files/{file_id}", None),
        ("GET", f"/v1/batches/{batch_id}", None), ("POST", f"/v1/batches/{batch_id}/cancel", {}), ("POST", "/v1/batches", asked),
        ("GET", f"/v1/files/file-{batch_id.removeprefix('batch_')}-output/content", None),
    ):  # fmt: skip
        assert guarded.ask(method, path, theirs, json=body).status_code == 404, path
    for path in ("/v1/models", "/v1/files", "/v1/batches"):
        listed = guarded.ask("GET", path, theirs).text
        assert not any(mark in listed for mark in (file_id, batch_id, '"default"'))
    assert guarded.ask("GET", f"/v1/batches/{batch_id}", ours).status_code == 200


LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(LIVE), LIVE)
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
SMUGGLED = {
    "CL.TE": HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + LIVE,
    "TE.CL": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n" % (len(LIVE) + 5) + b"0\r\n\r\n" + LIVE,
    "two lengths": HEAD + b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(LIVE) + LIVE,
    "a list of lengths": HEAD + b"Content-Length: 0, %d\r\n\r\n" % len(LIVE) + LIVE,
    "a signed length": HEAD + b"Content-Length: +0\r\n\r\n" + LIVE,
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n" + LIVE,
    "a length in hexadecimal": HEAD + b"Content-Length: 0x0\r\n\r\n" + LIVE,
    "a length too large": HEAD + b"Content-Length: 99999999999999999999999999\r\n\r\n" + LIVE,
    "a length with a space in it": HEAD + b"Content-Length: 0 0\r\n\r\n" + LIVE,
    "an unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKED,
    "chunked and then another": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKED,
    "two codings": HEAD + b"Transfer-Encoding: identity\r\nTransfer-Encoding: cow\r\n\r\n" + LIVE,
    "a space before the colon": HEAD + b"Transfer-Encoding : chunked\r\nContent-Length: 0\r\n\r\n" + LIVE,
    "a folded header": HEAD + b"X-A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
    "a folded coding": HEAD + b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 0\r\n\r\n" + CHUNKED,
    "bare line feeds": b"POST /v1/chat/completions HTTP/1.1\nHost: x\nContent-Length: 0\n\n" + LIVE,
    "a bare line feed in a header": HEAD + b"X-A: b\nContent-Length: 0\r\n\r\n" + LIVE,
    "a bare return in a header": HEAD + b"X-A: b\rContent-Length: 0\r\n\r\n" + LIVE,
    "a zero in a header": HEAD + b"X-A: b\x00c\r\nContent-Length: 0\r\n\r\n" + LIVE,
    "a chunk size of letters": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n" + LIVE,
    "a chunk size too large": HEAD + b"Transfer-Encoding: chunked\r\n\r\n%b\r\n\r\n" % (b"f" * 20) + LIVE,
    "a negative chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + LIVE,
    "a chunk longer than it says": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n" + LIVE,
    "a line feed behind a chunk's size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n" + LIVE,
    "an extension with a line feed": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;a=\nb\r\na\r\n0\r\n\r\n" + LIVE,
    "no version": b"GET /\r\n\r\n" + LIVE,
    "another version": b"GET /health/live HTTP/9.9\r\nHost: x\r\n\r\n" + LIVE,
    "a space in the path": b"GET /health/live x HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method that is none": b"G\x00T /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header without a colon": b"GET /health/live HTTP/1.1\r\nHost: x\r\nnothing\r\n\r\n",
}  # fmt: skip


def exchanged(port: int, data: bytes) -> bytes:
    """What the server answers until it closes, or is silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(data)
        connection.settimeout(0.4)
        found = b""
        try:
            while block := connection.recv(65_536):
                found += block
        except (TimeoutError, ConnectionResetError):
            pass
        return found


@pytest.mark.parametrize("name", SMUGGLED)
def test_no_request_hides_in_another(name: str, guarded: KeyedGateway):
    """A proxy before us may read such bytes otherwise: they are no request here, so that there is no second one to disagree on."""
    answer = exchanged(guarded.server.port, SMUGGLED[name])
    assert b" 200 " not in answer, answer
    assert answer.count(b"HTTP/1.1 ") <= 1, answer


def test_a_key_that_is_sent_twice_is_none(guarded: KeyedGateway):
    """A proxy before us may have looked at the other one."""
    good, bad = guarded.keys["user"], guarded.keys["wrong"]
    for first, second in ((bad, good), (good, bad), (good, good)):
        for name in ("authorization", "x-api-key"):
            said = [(name, f"Bearer {one}" if name == "authorization" else one) for one in (first, second)]
            assert guarded.client.get("/v1/models", headers=said).status_code == 401


SQL = (
    "' OR '1'='1", "'; DROP TABLE sf_key; --", '" OR 1=1 --', "1); DELETE FROM sf_team; --", "' UNION SELECT hash FROM sf_key --",
    "\\'; SELECT pg_sleep(5); --", "%27%20OR%201=1", "a\x00'--", "${7*7}{{7*7}}", "../../etc/passwd",
)  # fmt: skip


def test_sql_in_every_field_is_text(guarded: KeyedGateway, sim: OpenAISim):
    """Each field of each body, each name in a path, each parameter: never a failure of ours, and the tables stay as they are."""
    user, admin = guarded.keys["user"], guarded.keys["admin"]
    before = guarded.ask("GET", "/admin/keys", admin).json(), guarded.ask("GET", "/admin/teams", admin).json()
    sent = 0
    for text in SQL:
        line = {"custom_id": text, "method": "POST", "url": "/v1/chat/completions", "body": {**ASKED, "user": text}}
        told = httpx.QueryParams({"after": text, "limit": text})
        quoted = quote(text, safe="")
        asks: list[tuple[str, str, str, dict[str, Any]]] = [
            ("POST", "/v1/chat/completions", user, {"json": {**ASKED, field: text}})
            for field in (
                "model",
                "messages",
                "user",
                "temperature",
                "max_tokens",
                "stop",
                "tools",
                "tool_choice",
                "response_format",
                "stream",
                text,
            )
        ]
        asks += [("POST", "/v1/embeddings", user, {"json": {"model": text, "input": text}})]
        asks += [
            ("POST", "/v1/messages", user, {"json": {**ASKED, field: text}}) for field in ("model", "system", "metadata", "max_tokens")
        ]
        asks += [("POST", "/v1/responses", user, {"json": {"model": text, "input": text}})]
        asks += [
            (
                "POST",
                "/v1/batches",
                user,
                {"json": {"input_file_id": "f", "endpoint": "/v1/embeddings", "completion_window": "24h", field: text}},
            )
            for field in ("input_file_id", "endpoint", "completion_window", "metadata")
        ]
        asks += [("GET", f"{path}?{told}", user, {}) for path in ("/v1/files", "/v1/batches", "/v1/models")]
        asks += [
            (method, f"{path}/{quoted}", user, {})
            for method, path in (("GET", "/v1/files"), ("DELETE", "/v1/files"), ("GET", "/v1/batches"))
        ]
        asks += [(method, f"/admin/keys/{quoted}", admin, {}) for method in ("GET", "DELETE")]
        asks += [
            ("POST", "/admin/keys", admin, {"json": {field: text}})
            for field in ("team", "is_admin", "expires", "models", "budget_usd", "period", "requests_per_minute", text)
        ]
        asks += [("POST", "/admin/teams", admin, {"json": {"name": text}}), ("POST", "/admin/setup", "", {"json": {"token": text}})]
        for method, path, key, said in asks:
            answer = guarded.ask(method, path, key, **said)
            assert answer.status_code < 500 or answer.json()["error"]["code"] != "internal_error", (method, path, said, answer.text)
            sent += 1
        for name in ({"authorization": "Bearer " + text.replace("\x00", "")}, {"x-api-key": text.replace("\x00", "")}):
            assert guarded.client.get("/v1/models", headers=name).status_code == 401
        form = {"files": {"file": (text.replace("\x00", ""), json.dumps(line).encode())}, "data": {"purpose": "batch"}}
        made = guarded.ask("POST", "/v1/files", user, **form).json()
        assert guarded.ask("GET", f"/v1/files/{made['id']}", user).json() == made
        asked = {"input_file_id": made["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {text: text}}
        batch = guarded.ask("POST", "/v1/batches", user, json=asked).json()
        assert batch["metadata"] == {text: text}
    assert (guarded.ask("GET", "/admin/keys", admin).json(), guarded.ask("GET", "/admin/teams", admin).json()) == before
    assert sent > 300


def test_no_key_is_told_to_anybody(guarded: KeyedGateway, sim: OpenAISim, caplog: pytest.LogCaptureFixture):
    """Valid, wrong, misplaced and the gateway's own, which its vendor repeats in an error: in no log, metric, answer or file."""
    lines = io.StringIO()
    log = JsonLog(lines)
    guarded.gateway.services.observers.append(log)
    canaries = [UPSTREAM, *(key for key in guarded.keys.values() if key)]
    told: list[str] = []
    answered: set[str] = set()
    with caplog.at_level(logging.DEBUG):
        repeats = {"error": {"message": f"Incorrect API key provided: {UPSTREAM}", "type": "invalid_request_error"}}
        sim.script(msgspec.structs.replace(fault("status_401"), body=json.dumps(repeats).encode()))
        for key in canaries:
            headers = {"authorization": f"Bearer {key}", "x-api-key": key, "user-agent": key, "x-request-id": key, "cookie": key}
            for method, path, body in (
                ("POST", "/v1/chat/completions", ASKED), ("POST", "/v1/chat/completions", {**ASKED, "stream": True}),
                ("POST", "/v1/chat/completions", {**ASKED, "messages": 1}), ("POST", "/v1/messages", ASKED), ("GET", "/v1/models", None),
                ("GET", "/admin/keys", None), ("GET", "/metrics", None), ("GET", "/nothing", None),
                ("POST", "/admin/setup", {"token": "x"}),
            ):  # fmt: skip
                answer = guarded.client.request(method, path, headers=headers, json=body)
                told += [answer.text, str(answer.headers)]
                answered.add(answer.headers["x-request-id"])
    guarded.client.get("/health/live")  # behind it on the connection: the last line is written by then
    guarded.gateway.services.observers.remove(log)
    told += [lines.getvalue(), caplog.text, guarded.ask("GET", "/metrics", guarded.keys["admin"]).text]
    assert "surefoot_requests_total" in told[-1]
    assert len(answered) == 9 * len(canaries)
    assert answered <= {json.loads(line)["request_id"] for line in lines.getvalue().splitlines()}
    kept = b""
    for file in guarded.folder.iterdir():
        with suppress(FileNotFoundError):  # SQLite's own beside a database go with the last connection
            kept += file.read_bytes()
    assert kept
    for key in canaries:
        assert not any(key in text for text in told), key
        assert key.encode() not in kept
