"""The doctor says what is wrong before the first real call does, and never shows a key."""

from __future__ import annotations

import ssl

import msgspec
import pytest

from surefoot import Target
from surefoot.cli import doctor
from surefoot.cli.doctor import Check, CheckedTarget, run_checks, targets_of, worst
from surefoot.cli.main import main
from surefoot.errors import Misconfigured
from surefoot.testing.wire import GeminiSim, OpenAISim
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
    """A check in a pipeline must be free."""
    with OpenAISim() as sim:
        await run_checks([CheckedTarget(target=Target("openai:m", base_url=sim.url + "/v1", api_key=KEY))], calls=False)
        assert all(request.method == "GET" and "authorization" not in request.headers for request in sim.requests)


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


async def test_a_key_of_another_vendor_is_noticed():
    """Pasted into the wrong variable."""
    checks = doctor._key(Target("anthropic:m"), doctor.Secret(KEY))
    assert (checks.verdict, checks.says) == ("warn", f"**** ({len(KEY)} characters): keys of anthropic begin with sk-ant-")


async def test_a_clock_that_is_wrong_is_noticed():
    """Signed requests and tokens with an expiry fail on it, and never say why."""
    with GeminiSim() as sim:
        found = doctor._reach(Target("openai:t"), sim.url)
    assert of(found, "address").verdict == "ok"
    assert doctor._clock("t", "Wed, 21 Oct 2015 07:28:00 GMT").verdict == "warn"
    assert doctor._clock("t", "no date") is None


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
    async with serving(b"HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n", ssl=context) as served:
        found = []
        for options in ((), (("verify", ca),), (("verify", str(tmp_path / "nowhere.pem")),)):
            target = Target("openai:m", base_url=served.url + "/v1", api_key=KEY, options=options)
            found.append(of(await run_checks([CheckedTarget(target=target)], calls=False), "address"))
    assert [check.verdict for check in found] == ["fail", "ok", "fail"]
    assert "nowhere.pem cannot be read" in found[2].says


async def test_the_targets_own_proxy_is_the_way_to_its_address():
    """Where the environment names none."""
    async with serving(b"HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n") as proxy:
        target = Target("openai:m", base_url="http://model.invalid/v1", api_key=KEY, options=(("proxy", proxy.url),))
        assert of(await run_checks([CheckedTarget(target=target)], calls=False), "address").verdict == "ok"
        assert proxy.heads[0].startswith(b"GET http://model.invalid/v1 ")
