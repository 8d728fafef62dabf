"""The doctor says what is wrong before the first real call does, and never shows a key."""

from __future__ import annotations

import asyncio
import ssl

import msgspec
import pytest

from surefoot import Target
from surefoot.cli import doctor
from surefoot.cli.doctor import Check, CheckedTarget, run_checks, targets_of, worst
from surefoot.cli.main import main
from surefoot.errors import Misconfigured
from surefoot.testing.wire import OpenAISim
from tests.providers.http.servers import certificate, serving

KEY = "sk-CANARY-0123456789abcdef"


def of(checks: list[Check], what: str) -> Check:
    return next(check for check in checks if check.what == what)


async def test_a_healthy_target_is_found_healthy():
    """Version, proxy, key, address, clock, call: all looked at."""
    with OpenAISim() as sim:
        target = Target("openai:gpt-4.1", base_url=sim.url + "/v1", api_key=KEY)
        checks = await run_checks([CheckedTarget(target=target), CheckedTarget(target=target, kind="embed")])
        assert sum(request.method == "POST" for request in sim.requests) == 2
    assert worst(checks) == "ok"
    assert {"version", "proxy", "key", "address", "chat", "embed"} <= {check.what for check in checks}
    assert of(checks, "key").says == f"sk-**** ({len(KEY)} characters)"
    assert "CANARY" not in doctor.told(checks)


async def test_without_calls_nothing_is_asked_that_costs():
    """A check in a pipeline must be free: the list of models is, and says whether the model exists."""
    with OpenAISim(models=["gpt-5-mini-2025-08-07", "other"]) as sim:
        known, unknown = [
            await run_checks([CheckedTarget(target=Target(f"openai:{name}", base_url=sim.url + "/v1", api_key=KEY))], calls=False)
            for name in ("gpt-5-mini", "gpt-5-maxi")
        ]
        assert [request.method for request in sim.requests] == ["GET", "GET"]
    assert worst(known) == "ok"
    assert of(unknown, "model").verdict == "warn"
    assert of(unknown, "model").remedy == "write one that it has, such as gpt-5-mini-2025-08-07"


async def test_each_ill_has_its_own_name():
    """A wrong key, a dead address, a model nobody knows, a key with a line break."""
    with OpenAISim(expected_key="other", models=["known"]) as sim:
        address = sim.url + "/v1"
        refused = await run_checks([CheckedTarget(target=Target("openai:known", base_url=address, api_key=KEY))])
        torn = await run_checks([CheckedTarget(target=Target("openai:known", base_url=address, api_key=KEY + "\n"))])
    dead = await run_checks([CheckedTarget(target=Target("openai:known", base_url=address, api_key=KEY))])
    assert of(refused, "chat").says.startswith("AuthFailed")
    assert of(torn, "key").verdict == "fail"
    assert of(dead, "address").verdict == "fail"
    assert not any(check.what == "chat" for check in [*torn, *dead])  # pointless, so not made
    for checks in (refused, torn, dead):
        assert worst(checks) == "fail"
        assert "CANARY" not in doctor.told(checks)


def test_passwords_of_proxies_are_left_out(monkeypatch):
    """They are keys, too."""
    monkeypatch.setenv("HTTPS_PROXY", "http://user:CANARY@proxy.example:3128")
    assert "https by proxy.example:3128" in doctor._proxies().says
    assert "CANARY" not in doctor._proxies().says


def test_the_command_has_an_exit_code_and_speaks_json(tmp_path, monkeypatch, capsys):
    """0 where all is well, 1 where something fails; the file's targets are looked at."""
    monkeypatch.setenv("MY_KEY", KEY)
    with OpenAISim() as sim:
        file = tmp_path / "surefoot.toml"
        file.write_text(
            f'[chat.default]\ntargets = ["openai:m"]\n[target."openai:m"]\nbase_url = "{sim.url}/v1"\napi_key = "env:MY_KEY"\n',
            encoding="utf-8",
        )
        assert main(["doctor", "--config", str(file), "--json"]) == 0
    said = capsys.readouterr().out
    assert {"chat", "key"} <= {check.what for check in msgspec.json.decode(said, type=list[Check])}
    assert main(["doctor", "--config", str(file), "--no-calls"]) == 1
    assert "CANARY" not in said + capsys.readouterr().out


def test_nothing_to_look_at_is_told(monkeypatch, tmp_path):
    """With what to name."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Misconfigured, match="--model"):
        targets_of([])
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert [checked.target.name for checked in targets_of([])] == ["openai:gpt-5-mini"]


async def test_a_companys_own_ca_is_asked_by_it(tmp_path):
    """The address is reached as the calls reach it: by the target's CA file and certificate, not the system's."""
    ca, _, signer = certificate(tmp_path, "ca", is_ca=True)
    cert, key, _ = certificate(tmp_path, "server", signer=signer)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    async with serving(b"HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n", ssl=context, hangs_up=True) as served:
        found = []
        for options in ((), (("verify", ca),), (("verify", str(tmp_path / "nowhere.pem")),)):
            target = Target("openai:m", base_url=served.url + "/v1", api_key=KEY, options=options)
            found.append((await run_checks([CheckedTarget(target=target)], calls=False))[-1])
    assert [check.verdict for check in found] == ["fail", "ok", "fail"]
    assert "nowhere.pem cannot be read" in found[2].says


async def test_the_targets_own_proxy_is_the_way_to_its_address():
    """Where the environment names none."""
    async with serving(b"HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n", hangs_up=True) as proxy:
        target = Target("openai:m", base_url="http://model.invalid/v1", api_key=KEY, options=(("proxy", proxy.url),))
        assert of(await run_checks([CheckedTarget(target=target)], calls=False), "address").verdict == "ok"
        assert proxy.heads[0].startswith(b"GET http://model.invalid/v1/models ")


JSON = b"content-type: application/json\r\n"
HTML = b"content-type: text/html\r\n"
LIST = b'{"object":"list","data":[{"id":"m"},{"id":"m-large"}]}'


def answer(status: str, headers: bytes = JSON, body: bytes = b"{}") -> bytes:
    """An HTTP answer, whole."""
    return b"HTTP/1.1 %s X\r\n%scontent-length: %d\r\n\r\n%s" % (status.encode(), headers, len(body), body)


# A key in the environment; what the check says of it, and what to do.
KEYS = [
    ("sk-your-api-key-here", "fail", "placeholder", "your own key"),
    ("YOUR_API_KEY", "fail", "placeholder", "your own key"),
    ("<openai key>", "fail", "spaces", "the key alone"),
    ("${OPENAI_KEY}", "fail", "placeholder", "your own key"),
    ("sk-...", "fail", "placeholder", "your own key"),
    ("xxxxxxxxxxxx", "fail", "placeholder", "your own key"),
    (f'"{KEY}"', "fail", "quotation marks", "without them"),
    (f"Bearer {KEY}", "fail", "begins with Bearer", "the key alone"),
    (f"{KEY} {KEY}", "fail", "spaces", "the key alone"),
    ("sk-ğüş-0123456789abcdef", "fail", "letters no header carries", "the key alone"),
    ("AIzaCANARY0123456789abcdef", "warn", "looks like one of google", "wrong variable"),
    ("sk-CANARY-01", "warn", "shorter than keys are", "cut when it was copied"),
]


@pytest.mark.parametrize(("key", "verdict", "says", "remedy"), KEYS)
def test_a_key_that_is_none_is_named(key, verdict, says, remedy):
    """Before it is shown to anybody."""
    check = doctor._key(Target("openai:m"), doctor.Secret(key))
    assert (check.verdict, says in check.says, remedy in check.remedy) == (verdict, True, True), check
    assert "CANARY" not in check.says + check.remedy


# What answers at the address, the path behind it that the target names, what the doctor says and what to do.
SERVERS = [
    ((answer("404"), answer("200", body=LIST)), "", "is not where its API is (HTTP 404)", "/v1"),
    ((answer("200", HTML, b"<!doctype html><p>hi"), answer("200", body=LIST)), "", "is not where its API is", "/v1"),
    ((answer("404"), answer("200", body=LIST)), "/v1/chat/completions", "is not where its API is", "/v1"),
    ((answer("404"), answer("200", body=LIST)), "/v1/v1", "is not where its API is", "/v1"),
    ((answer("200", HTML, b"<html>log in"),) * 9, "/v1", "answers with a page for people", "right host and port"),
    ((answer("302", b"location: https://portal.example/\r\n"),), "/v1", "sends elsewhere, to https://portal.example/", "sends to"),
    ((b"\x15\x03\x01\x00\x02\x02\x46",), "/v1", "closes the connection without an answer", "https://"),
]


@pytest.mark.parametrize(("answers", "path", "says", "remedy"), SERVERS)
async def test_a_server_that_is_not_the_api_is_named(answers, path, says, remedy):
    """And, where it is next door, the address that was meant."""
    async with serving(*answers, hangs_up=True) as served:
        target = Target("openai:m", base_url=served.url + path, api_key=KEY)
        checks = await run_checks([CheckedTarget(target=target)], calls=False)
    found = of(checks, "address")
    assert (found.verdict, says in found.says, remedy in found.remedy) == ("fail", True, True), found
    assert "CANARY" not in doctor.told(checks)


# The trial call's answer, and what the doctor says and advises.
CALLS = [
    (answer("401", body=b'{"error":{"message":"bad key","code":"invalid_api_key"}}'), "AuthFailed", "make a new key"),
    (answer("403", body=b'{"error":{"message":"not for you"}}'), "AuthFailed", "may use this model"),
    (
        answer("429", body=b'{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}'),
        "QuotaExhausted",
        "credit",
    ),
    (answer("429", body=b'{"error":{"message":"slow down","code":"rate_limit_exceeded"}}'), "RateLimited", "wait a minute"),
    (answer("404", body=b'{"error":{"message":"no such model","code":"model_not_found"}}'), "NotFound", "such as m"),
    (answer("503", body=b'{"error":{"message":"down"}}'), "Overloaded", "status page"),
    (answer("200", HTML, b"<html>blocked by policy"), "MalformedReply", "something in between"),
]


@pytest.mark.parametrize(("said", "kind", "remedy"), CALLS)
async def test_a_refused_call_says_what_to_do(said, kind, remedy):
    """The trial call meets what the first real one would."""
    async with serving(answer("200", body=LIST), said, hangs_up=True) as served:
        checks = await run_checks([CheckedTarget(target=Target("openai:mm", base_url=served.url + "/v1", api_key=KEY, lane="direct"))])
    found = of(checks, "chat")
    assert (found.verdict, found.says.startswith(kind), remedy in found.remedy) == ("fail", True, True), found


async def test_what_tls_can_lack_is_told_apart(tmp_path):
    """An ended certificate, one that ends soon, one for another host, one that nobody signed, and none at all."""
    ca, _, signer = certificate(tmp_path, "ca", is_ca=True)
    rows = [
        ({"signer": signer, "days": -1}, "fail", "expired", "renew it"),
        ({"signer": signer, "days": 3}, "warn", "ends in 3 days", "renew it"),
        ({"signer": signer, "host": "127.0.0.9"}, "fail", "mismatch", "the name that the certificate was made for"),
        ({}, "fail", "self-signed", "your company's CA"),
    ]
    for said, verdict, says, remedy in rows:
        cert, key, _ = certificate(tmp_path, "server", **said)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(cert, key)
        async with serving(answer("200", body=LIST), ssl=context) as served:
            target = Target("openai:m", base_url=served.url + "/v1", api_key=KEY, options=(("verify", ca),))
            found = of(await run_checks([CheckedTarget(target=target)], calls=False), "certificate")
        told = found.says.replace("self signed", "self-signed")  # as older OpenSSLs write it
        assert (found.verdict, says in told, remedy in found.remedy) == (verdict, True, True), found
    server = await asyncio.start_server(lambda _, writer: writer.write(answer("400")), "127.0.0.1", 0)
    async with server:
        plain = Target("openai:m", base_url=f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", api_key=KEY)
        found = of(await run_checks([CheckedTarget(target=plain)], calls=False), "certificate")
    assert (found.verdict, "speaks no TLS" in found.says, "write http://" in found.remedy) == ("fail", True, True), found


async def test_a_proxy_is_told_from_the_server(monkeypatch):
    """Gone, wanting a password, answering in the server's place, and standing before this very machine."""
    rows = [
        ((answer("407", HTML, b"<html>who are you"),), "address", "fail", "the proxy", "user and password"),
        ((answer("502", HTML, b"<html>bad gateway"),), "address", "fail", "in the server's place: HTTP 502", "may the proxy go there"),
        ((), "address", "fail", "the proxy http://127.0.0.1:1 refuses connections", "NO_PROXY"),
    ]
    for answers, what, verdict, says, remedy in rows:
        async with serving(*answers, hangs_up=True) as proxy:
            options = (("proxy", proxy.url if answers else "http://127.0.0.1:1"),)
            target = Target("openai:m", base_url="http://model.invalid/v1", api_key=KEY, options=options)
            found = of(await run_checks([CheckedTarget(target=target)], calls=False), what)
        assert (found.verdict, says in found.says, remedy in found.remedy) == (verdict, True, True), found
    async with serving(b"HTTP/1.1 407 X\r\ncontent-length: 0\r\n\r\n", hangs_up=True) as proxy:
        target = Target("openai:m", base_url="https://model.invalid/v1", api_key=KEY, options=(("proxy", proxy.url),))
        found = of(await run_checks([CheckedTarget(target=target)], calls=False), "address")
    assert ("answers 407" in found.says, "user and password" in found.remedy) == (True, True), found
    with OpenAISim() as sim:
        monkeypatch.setenv("http_proxy", sim.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        here = Target("openai:m", base_url=f"{sim.url}/v1", api_key=KEY)
        found = [one for one in await run_checks([CheckedTarget(target=here)], calls=False) if one.what == "proxy" and one.target]
    assert [(one.verdict, "NO_PROXY" in one.remedy) for one in found] == [("warn", True)]


async def test_a_host_that_is_none_and_an_address_that_is_none():
    """Names that nobody knows, schemes that nobody speaks."""
    for base_url, says in (("http://model.invalid/v1", "no such host"), ("http://127.0.0.1:1/v1", "refuses connections")):
        found = of(await run_checks([CheckedTarget(target=Target("openai:m", base_url=base_url, api_key=KEY))], calls=False), "address")
        assert (found.verdict, says in found.says, bool(found.remedy)) == ("fail", True, True), found


@pytest.mark.parametrize("way", ["environment", "file", "argument"])
def test_a_healthy_setting_has_no_finding(way, tmp_path, monkeypatch, capsys):
    """Whichever way the address is said, it is the one that is looked at."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with OpenAISim() as sim:
        words = ["-m", "openai:gpt-5-mini"]
        if way == "environment":
            monkeypatch.setenv("OPENAI_BASE_URL", f"{sim.url}/v1")
        elif way == "file":
            (tmp_path / "surefoot.toml").write_text(
                f'[chat.default]\ntargets = ["openai:gpt-5-mini"]\n[target."openai:gpt-5-mini"]\nbase_url = "{sim.url}/v1"\n'
            )
            words = []
        else:
            words += ["-u", f"{sim.url}/v1"]
        assert main(["doctor", "--json", *words]) == 0
        assert any(request.method == "POST" for request in sim.requests)
    checks = msgspec.json.decode(capsys.readouterr().out, type=list[Check])
    assert {check.verdict for check in checks} == {"ok"}
    assert not any(check.remedy for check in checks)


async def test_a_clock_that_is_wrong_is_noticed():
    """Signed requests and tokens with an expiry fail on it, and never say why."""
    date = b"date: Wed, 21 Oct 2015 07:28:00 GMT\r\n"
    async with serving(answer("200", JSON + date, LIST), hangs_up=True) as served:
        target = Target("openai:m", base_url=served.url + "/v1", api_key=KEY)
        found = of(await run_checks([CheckedTarget(target=target)], calls=False), "clock")
    assert (found.verdict, "NTP" in found.remedy) == ("warn", True)


async def test_a_key_in_a_header_of_ones_own_is_the_one_that_is_shown():
    """Gateways refuse two; a placeholder beside it would be the second."""
    with OpenAISim(expected_key="CANARY-own", models=["m"]) as sim:
        target = Target("openai:m", base_url=f"{sim.url}/v1", headers=(("Authorization", "Bearer CANARY-own"),))
        checks = await run_checks([CheckedTarget(target=target)])
    assert "lists 1 models" in of(checks, "address").says
    assert worst(checks) == "ok"
    assert "CANARY" not in doctor.told(checks)


async def test_who_needs_no_key_is_told_nothing_of_one(monkeypatch):
    """A server of one's own; and its address is said to be from a variable only where it is."""
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    with OpenAISim() as sim:
        checks = await run_checks([CheckedTarget(target=Target("ollama:llama3", base_url=sim.url))])
        assert worst(checks) == "ok"
        monkeypatch.setenv("OLLAMA_HOST", sim.url)
        named = await run_checks([CheckedTarget(target=Target("ollama:llama3"))])
    assert "key" not in {check.what for check in checks + named}
    assert not [check for check in checks if "OLLAMA_HOST" in check.says]
    assert [check.verdict for check in named if "OLLAMA_HOST" in check.says] == ["ok"]
