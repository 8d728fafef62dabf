"""`surefoot ask` and `surefoot chat` as typed."""

from __future__ import annotations

import pytest

from surefoot import ChatModel, Target
from surefoot.cli.main import main
from surefoot.testing.wire import OpenAISim
from surefoot.usage.ledger import Ledger


@pytest.fixture
def config(tmp_path):
    """A settings file that points to a simulated provider."""
    with OpenAISim() as sim:
        path = tmp_path / "surefoot.toml"
        path.write_text(
            f'[chat.default]\ntargets = ["openai:m"]\n[target."openai:m"]\nbase_url = "{sim.url}/v1"\napi_key = "k"\n', encoding="utf-8"
        )
        yield str(path), sim


def test_ask_streams_the_answer_and_tells_the_price_when_asked(config, capsys):
    """The answer alone on stdout, so that it can be piped."""
    path, sim = config
    assert main(["ask", "Merhaba!", "-c", path, "-v", "-s", "Be brief."]) == 0
    out, err = capsys.readouterr()
    assert "Merhaba!" in out
    assert "1 attempts" in err
    assert [message["role"] for message in sim.requests[-1].json["messages"]] == ["system", "user"]


def test_usage_prints_a_tenant_as_one_line(config, capsys, tmp_path):
    """A table of bills must not hold lines that a tenant wrote."""
    _, sim = config
    ledger = Ledger(tmp_path / "usage.db")
    model = ChatModel(Target("openai:m", base_url=f"{sim.url}/v1", api_key="k"), ledger=ledger)
    model.invoke("hi", tenant="acme\nTOTAL 0.0\x1b[2J")
    ledger.sums()  # written by now
    for form in ("table", "chart"):
        assert main(["usage", "--ledger", str(tmp_path / "usage.db"), "--by", "tenant", "--format", form]) == 0
        out, _ = capsys.readouterr()
        assert r"acme\nTOTAL 0.0\x1b[2J" in out
        assert "\x1b" not in out


def test_chat_remembers_the_conversation(config, capsys, monkeypatch):
    """Each turn carries the ones before."""
    path, sim = config
    lines = iter(["one", "two", ""])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    assert main(["chat", "-c", path]) == 0
    roles = [message["role"] for message in sim.requests[-1].json["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert "openai:m" in capsys.readouterr().err


def test_errors_are_one_line_and_exit_1(tmp_path, capsys, monkeypatch):
    """No traceback for a mistake of the user's."""
    monkeypatch.chdir(tmp_path)
    assert main(["ask", "hi"]) == 1
    assert "no model" in capsys.readouterr().err
    assert main(["ask", "hi", "-m", "opnai:x"]) == 1
    assert "openai" in capsys.readouterr().err


def test_a_server_on_ones_own_machine_needs_no_file(capsys, monkeypatch):
    """Ollama, vLLM and llama.cpp speak the protocol and look at no key."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with OpenAISim() as sim:
        assert main(["ask", "Merhaba!", "-m", "openai:llama3", "-u", f"{sim.url}/v1"]) == 0
    assert "Merhaba!" in capsys.readouterr().out
    assert main(["ask", "hi", "-u", "http://127.0.0.1:1/v1"]) == 1
    assert "--model" in capsys.readouterr().err


def test_the_version_is_told(capsys):
    """The first thing a bug report is asked for."""
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.startswith("surefoot 0.")
