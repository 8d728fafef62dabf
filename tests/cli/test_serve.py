"""`surefoot serve`: a process of its own, asked by a real client, told to end."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from surefoot.cli.main import main
from surefoot.testing.wire import OpenAISim


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_the_command_serves_until_it_is_told_to_end(tmp_path: Path):
    """From a file to an answer, and an orderly end."""
    port = free_port()
    with OpenAISim() as sim:
        (tmp_path / "surefoot.toml").write_text(
            f'[chat.default]\ntargets = ["openai:gpt-5-mini"]\n[target."openai:gpt-5-mini"]\nbase_url = "{sim.url}/v1"\n'
            f'api_key = "upstream-key-0123456789"\n[serve]\nport = {port}\n'
        )
        running = subprocess.Popen([sys.executable, "-m", "surefoot", "serve"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        assert running.stderr is not None
        try:
            assert re.search(rf":{port}/v1", running.stderr.readline())
            assert "setup-" in running.stderr.readline()
            made = subprocess.run(
                [sys.executable, "-m", "surefoot", "keys", "create"], cwd=tmp_path, capture_output=True, text=True, check=True
            )
            key = [json.loads(made.stdout)["key"]]
            client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key[0], max_retries=8)
            assert client.chat.completions.create(model="default", messages=[{"role": "user", "content": "Hi"}]).choices[0].message.content
            running.send_signal(signal.SIGTERM)
            said = running.communicate(timeout=60)[1]
        finally:
            running.kill()
    assert running.returncode in {0, -signal.SIGTERM}
    assert '"route":"chat"' in said
    assert key[0] not in said


def test_a_wrong_setting_is_told_before_anything_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """With the name of the key."""
    (tmp_path / "s.toml").write_text('[chat.default]\ntargets = ["local:extractive"]\n[serve]\nprot = 1\n')
    assert main(["serve", str(tmp_path / "s.toml")]) == 1
    assert "prot" in capsys.readouterr().err


def test_without_a_file_what_is_at_hand_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No key, no network: from nothing to an answer in three commands."""
    port = free_port()
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    command = [sys.executable, "-m", "surefoot"]
    running = subprocess.Popen([*command, "serve", "--port", str(port)], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    try:
        assert running.stderr.readline().startswith("no surefoot.toml: ")
        assert f":{port}/v1" in running.stderr.readline()
        made = subprocess.run([*command, "keys", "create"], cwd=tmp_path, capture_output=True, text=True, check=True)
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=json.loads(made.stdout)["key"], max_retries=8)
        passage = "Passage 1: Reykjavik is the capital of Iceland.\n\nQuestion: What is the capital of Iceland?"
        assert client.chat.completions.create(model="default", messages=[{"role": "user", "content": passage}]).choices[0].message.content
    finally:
        running.terminate()
        running.communicate(timeout=60)
