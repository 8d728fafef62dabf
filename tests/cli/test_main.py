"""`surefoot ask` and `surefoot chat` as typed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import subprocess
import sys

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
    lines = iter(["one", "", "two", " /exit "])
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


def test_ask_as_programs_use_it(config, tmp_path, monkeypatch, capsys):
    """The question from a pipe, files beside it, numbers for the answer, one JSON object back."""
    path, sim = config
    (tmp_path / "notlar.txt").write_text("Nöbet 22:40'ta başlar.", encoding="utf-8")
    (tmp_path / "dot.png").write_bytes(bytes.fromhex("89504e470d0a1a0a") + bytes(20))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\ufeffNe zaman başlar?".encode())))
    files = ["-f", str(tmp_path / "notlar.txt"), "-f", str(tmp_path / "dot.png")]
    assert main(["ask", "-c", path, "--json", "-t", "0", "--max-tokens", "99", *files]) == 0
    said = json.loads(capsys.readouterr().out)
    body = sim.requests[-1].json
    assert (body["temperature"], body.get("max_tokens") or body.get("max_completion_tokens")) == (0, 99)
    texts = [part.get("text") for part in body["messages"][-1]["content"]]
    assert texts == ['<file name="notlar.txt">\nNöbet 22:40\'ta başlar.\n</file>', None, "Ne zaman başlar?"]
    assert said["text"]
    assert said["usage"]["input_tokens"] > 0
    assert (said["target"], said["attempts"], said["finish_reason"]) == ("openai:m", 1, "stop")


def test_a_key_is_enough(monkeypatch, tmp_path, capsys):
    """The vendor's customary model answers, and it is said which and why."""
    monkeypatch.chdir(tmp_path)
    for name in ("ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    with OpenAISim() as sim:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{sim.url}/v1")
        assert main(["ask", "Merhaba!"]) == 0
    out, err = capsys.readouterr()
    assert "Merhaba!" in out
    assert err == "openai:gpt-5-mini answers: OPENAI_API_KEY stands in the environment\n"


WRONG = [
    (["ask"], "no question"),
    (["ask", "  "], "no question"),
    (["ask", "-f", "nowhere.txt", "x"], "nowhere.txt: cannot be read"),
    (["ask", "-f", "bytes.bin", "x"], "bytes.bin: neither text nor a picture"),
    (["ask", "-f", "latin.txt", "x"], "latin.txt, line 2: not UTF-8"),
    (["ask", "x", "-c", "nowhere.toml"], "nowhere.toml: cannot be read"),
    (["ask", "x", "-n", "other", "-c", "one.toml"], "other"),
    (["ask", "x", "-m", "gpt"], "gpt"),
    (["ask", "x", "-m", "openai:m", "-u", "ftp://x"], "ftp://x"),
    (["chat", "-u", "http://x"], "--model"),
    (["models", "nobody"], "unknown provider 'nobody'"),
    (["models", "openai:zzz"], "no row begins with"),
    (["usage", "--ledger", "nowhere.db"], "no ledger nowhere.db"),
    (["usage", "--ledger", "latin.txt"], "latin.txt"),
    (["usage", "--ledger", "usage.db", "--by", "moon"], "moon"),
    (["doctor", "-c", "nowhere.toml"], "nowhere.toml: cannot be read"),
    (["doctor", "-u", "http://x"], "--model"),
    (["jobs", "status", "nothing"], "nothing"),
    (["jobs", "submit", "--from", "nowhere.jsonl"], "nowhere.jsonl"),
    (["rag", "index", "--docs", "nowhere"], "nowhere"),
    (["rag", "ask", "x", "--index", "nowhere"], "nowhere"),
]
WORDS = [
    ([], "command"),
    (["aks", "x"], "'ask'"),
    (["ask", "x", "-t", "warm"], "temperature"),
    (["ask", "x", "-t", "3"], "0 to 2"),
    (["ask", "x", "-t", "nan"], "0 to 2"),
    (["ask", "x", "--max-tokens", "0"], "number of tokens"),
    (["ask", "x", "--max-tokens", "-1"], "number of tokens"),
    (["ask", "x", "y"], "unrecognized arguments: y"),
    (["usage", "--since", "yesterday"], "2026-11-30"),
    (["usage", "--since", "2026-02-30"], "no day"),
    (["usage", "--format", "xml"], "xml"),
    (["chat", "--colour"], "--colour"),
    (["models", "a", "b"], "b"),
    (["jobs"], "what"),
    (["jobs", "start"], "start"),
    (["jobs", "work", "--chunks-at-once", "many"], "many"),
    (["rag"], "command"),
    (["eval", "measure"], "measure"),
    (["eval", "run", "nowhere.toml"], "nowhere.toml: cannot be read"),
    (["eval", "compare", "a", "b"], "a: cannot be read"),
]


@pytest.mark.parametrize(("words", "said", "code"), [(*row, 1) for row in WRONG] + [(*row, 2) for row in WORDS])
def test_wrong_use_is_one_sentence_and_a_code(words, said, code, tmp_path, monkeypatch, capsys):
    """1 for what is wrong in the world, 2 for words nobody knows; never a traceback."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "bytes.bin").write_bytes(b"\0\1\2")
    (tmp_path / "latin.txt").write_bytes("bir\ngün".encode("latin-1"))
    (tmp_path / "one.toml").write_text('[chat.default]\ntargets = ["local:extractive"]\n', encoding="utf-8")
    Ledger(tmp_path / "usage.db").sums()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    try:
        done = main(words)
    except SystemExit as end:
        done = end.code
    err = capsys.readouterr().err
    assert (done, said in err, "Traceback" in err) == (code, True, False), err
    assert len(err.strip().splitlines()) == 1 or code == 2, err


def test_a_reader_that_leaves_and_a_terminal_of_ascii_end_nothing_badly(tmp_path):
    """`surefoot models | head -1`, and letters that the terminal has not."""
    command = f"{sys.executable} -m surefoot"
    piped = f"({command} models; echo $? >code) | head -1 >/dev/null; cat code"
    done = subprocess.run(["sh", "-c", piped], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout.strip() in {"0", "141"}, done.stderr) == (True, "")
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii", "LANG": "C"}  # noqa: TID251 - of a process of its own
    asked = [sys.executable, "-m", "surefoot", "ask", "ığüş?", "-m", "local:extractive"]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, env=ascii_only, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr


class Terminal:
    """A terminal where lines are typed; an exception in their place is raised, as Ctrl-C does."""

    def __init__(self, monkeypatch, lines):
        self._lines = iter(lines)
        monkeypatch.setattr("builtins.input", self._next)

    def _next(self, _):
        line = next(self._lines)
        if isinstance(line, type):
            raise line
        return line


def test_chat_goes_on_where_it_stopped(config, monkeypatch, tmp_path, capsys):
    """With --resume, in a file that its owner alone reads; without it nothing is written."""
    path, sim = config
    monkeypatch.chdir(tmp_path)
    Terminal(monkeypatch, ["one", EOFError])
    assert main(["chat", "-c", path]) == 0
    assert not (tmp_path / ".surefoot").exists()
    for lines in (("one", "/exit"), ("two", "/quit")):
        Terminal(monkeypatch, lines)
        assert main(["chat", "-c", path, "--resume", "-s", "Be brief."]) == 0
    said = [(message["role"], message["content"]) for message in sim.requests[-1].json["messages"]]
    assert [role for role, _ in said] == ["system", "user", "assistant", "user"]
    assert [said[1][1], said[3][1]] == ["one", "two"]
    assert "conversation 'default': 2 messages so far" in capsys.readouterr().err
    assert (tmp_path / ".surefoot/chats.db").stat().st_mode & 0o077 == 0


def test_ctrl_c_stops_the_answer_and_not_the_conversation(config, monkeypatch, capsys):
    """At the prompt it takes back what was typed; in an answer it stops that, and what was shown is kept."""
    path, sim = config
    stop = {"now": False}

    def shown(text="", *, end="\n", file=None, flush=False):
        (file or sys.stdout).write(text + end)
        if stop["now"] and flush and text:
            stop["now"] = False
            raise KeyboardInterrupt

    def lines():
        yield KeyboardInterrupt
        stop["now"] = True
        yield "one"
        yield "two"
        yield EOFError

    Terminal(monkeypatch, lines())
    monkeypatch.setattr("builtins.print", shown)
    assert main(["chat", "-c", path]) == 0
    assert "(stopped)" in capsys.readouterr().err
    roles = [message["role"] for message in sim.requests[-1].json["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert len(sim.requests) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal is needed")
def test_a_pasted_blank_line_is_one_question(config, tmp_path):
    """In a real terminal: text pasted between the marks that terminals put around it, with a blank line and a second paragraph."""
    path, sim = config
    leader, follower = pty.openpty()
    asked = [sys.executable, "-m", "surefoot", "chat", "-c", path]
    here = {**os.environ, "TERM": "xterm"}  # noqa: TID251 - of a process of its own
    with subprocess.Popen(asked, stdin=follower, stdout=follower, stderr=follower, cwd=tmp_path, env=here) as run:
        os.close(follower)
        seen = _read_until(leader, b"> ")
        assert b"\x1b[?2004h" in seen  # asks the terminal for the marks: without that it sends each pasted line as one that was typed
        os.write(leader, b"\x1b[200~first\n\nsecond\x1b[201~\n")
        seen += _read_until(leader, b"second")
        seen += _read_until(leader, b"> ")
        os.write(leader, b"/exit\n")
        with contextlib.suppress(OSError):
            while os.read(leader, 4096):
                pass
        assert run.wait(60) == 0, seen
    os.close(leader)
    assert [request.json["messages"][-1]["content"] for request in sim.requests if request.method == "POST"] == ["first\n\nsecond"]


def _read_until(leader, mark):
    seen = b""
    while mark not in seen:
        seen += os.read(leader, 4096)
    return seen
