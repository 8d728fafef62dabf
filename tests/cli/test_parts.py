"""`surefoot rag` and `surefoot eval` as typed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from surefoot.cli import parts
from surefoot.cli.main import main


@pytest.mark.parametrize(("name", "said"), [("rag", "index"), ("eval", "compare")])
def test_a_part_parses_its_own_arguments(name, said, capsys):
    """Everything behind the part's name belongs to it, `--help` too."""
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert said in capsys.readouterr().out


def test_the_parts_stand_in_the_help(capsys):
    """Who types `surefoot --help` sees all there is."""
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(name in out for name in ("ask", "chat", "usage", "doctor", *parts.PARTS))


def test_a_missing_package_names_its_extra(monkeypatch, capsys):
    """A core installation has the commands' names, not their packages."""
    monkeypatch.setattr(parts, "find_spec", lambda _: None)
    assert main(["rag", "index"]) == 1
    assert 'pip install "surefoot[rag]"' in capsys.readouterr().err


def test_python_m_surefoot_is_the_command():
    """For environments whose scripts are not on the PATH."""
    done = subprocess.run([sys.executable, "-m", "surefoot", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("surefoot ")
