"""The roadmap page: its commands run as written, in order, in one folder; the vendor is a simulator, all else is real."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from surefoot.testing.wire import OpenAISim

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tr" / "roadmap.md").read_text(encoding="utf-8")


def test_every_item_has_a_command_or_a_page():
    """No row without either; what is named in code is a command, an option, a setting or a file."""
    rows = re.findall(r"^\| (?!madde|---)(.+?) \| (.+) \|$", PAGE, re.MULTILINE)
    assert len(rows) > 30
    assert [item for item, answer in rows if not re.search(r"`[^`]+`|\]\(", answer)] == []
    for path in re.findall(r"`((?:pipelines|deploy)/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists(), path


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_the_commands_run_as_written(tmp_path):
    """By a learner with a key of OpenAI's."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, words in {"python": "", "surefoot": "-m surefoot"}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n', encoding="utf-8")
        (programs / name).chmod(0o755)
    folder = tmp_path / "yol haritası"
    folder.mkdir()
    (folder / "pipelines").symlink_to(ROOT / "pipelines")
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 6
    path = ":".join(str(ROOT / one) for one in ("src", "integrations", "pipelines", "eval"))
    with OpenAISim() as sim:
        key = {"OPENAI_API_KEY": "sk-0123456789abcdefghijklmn", "OPENAI_BASE_URL": f"{sim.url}/v1"}
        env = {"PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": path, "LANG": "C.UTF-8", **key}
        for block in blocks:
            text = "set -eo pipefail\n" + block.replace(
                "PYTHONPATH=pipelines ", ""
            )  # where surefoot is not installed, its path is in the way
            done = subprocess.run(["bash", "-c", text], cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False)
            assert done.returncode == 0, block + done.stdout + done.stderr
    assert (folder / "yanitlar.jsonl").read_text(encoding="utf-8").count("\n") == 2
    assert sum(request.method == "POST" for request in sim.requests) >= 7  # nothing answered in the vendor's place
