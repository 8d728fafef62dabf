"""`surefoot jobs` as typed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from surefoot import jobs
from surefoot.cli.main import main
from surefoot.testing.wire import OpenAISim

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with settings and questions; the store is where it is by default."""
    with OpenAISim(answer="an answer") as sim:
        (tmp_path / "surefoot.toml").write_text(
            f'[chat.default]\ntargets = ["openai:m"]\n[embed.default]\ntargets = ["openai:text-embedding-3-small"]\n'
            f'[target."openai:m"]\nbase_url = "{sim.url}/v1"\napi_key = "k"\n'
            f'[target."openai:text-embedding-3-small"]\nbase_url = "{sim.url}/v1"\napi_key = "k"\n'
        )
        (tmp_path / "questions.jsonl").write_text("".join(f'{{"id": "q{n}", "prompt": "question {n}"}}\n' for n in range(7)))
        monkeypatch.chdir(tmp_path)
        yield tmp_path, sim


def said(capsys, *words):
    """What the command printed, as JSON."""
    assert main(["jobs", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_file_of_questions_becomes_a_file_of_answers(place, capsys):
    """In one command, with the ids that were given."""
    folder, sim = place
    assert main(["jobs", "submit", "--from", "questions.jsonl", "--to", "answers.csv", "-s", "Be brief.", "-o", "temperature=0"]) == 0
    assert "7 answers, 0 of them errors" in capsys.readouterr().err
    lines = (folder / "answers.csv").read_text().splitlines()
    assert lines[0].startswith("n,id,question,text,")
    assert lines[1].startswith("0,q0,question 0,an answer,")
    assert len(lines) == 8
    body = sim.requests[-1].json
    assert (body["temperature"], body["messages"][0]["content"]) == (0, "Be brief.")


def test_a_job_is_submitted_worked_on_and_looked_at_one_by_one(place, capsys):
    """Each step by a command of its own."""
    folder, sim = place
    status = said(capsys, "submit", "--from", "questions.jsonl", "--chunk", "3", "--priority", "interactive", "--key", "k")
    job = status["id"]
    assert (status["state"], status["total"], status["priority"]) == ("open", 7, 0)
    assert said(capsys, "pause", job)["state"] == "paused"
    assert main(["jobs", "status", job]) == 0
    assert "paused  0 done, 0 failed of 7" in capsys.readouterr().out
    assert said(capsys, "resume", job)["state"] == "open"
    assert main(["jobs", "work", "--json"]) == 0
    assert said(capsys, "status", job)["done"] == 7
    assert main(["jobs", "list"]) == 0
    assert f"{job}  " in capsys.readouterr().out
    assert [one["id"] for one in said(capsys, "list", "--state", "done")] == [job]
    assert main(["jobs", "results", job]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["id"] for row in rows] == [f"q{n}" for n in range(7)]
    assert main(["jobs", "results", job, "--to", "answers.parquet"]) == 0
    assert (folder / "answers.parquet").exists()
    assert said(capsys, "cancel", job)["state"] == "done"
    assert said(capsys, "forget", job) == {"forgotten": 1}
    assert main(["jobs", "status", job]) == 1
    assert "there is no job" in capsys.readouterr().err
    assert len(sim.requests) == 7


def test_interrupted_it_says_how_to_go_on_and_the_same_command_does(place, capsys, monkeypatch):
    """No item is asked twice; the job is found by what it was made from."""
    folder, sim = place
    command = ["jobs", "submit", "--from", "questions.jsonl", "--to", "answers.jsonl"]
    work = jobs.Jobs.work

    async def interrupted(self, job=None, **rest):
        await work(self, job, **rest)
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(jobs.Jobs, "work", interrupted)
        patch.setattr("surefoot.jobs.claims.close_chunk", lambda sql, job, no: False)  # as if it came in the middle
        patch.setattr("surefoot.jobs.worker.claims.claim", once(jobs.worker.claims.claim))
        patch.setattr("surefoot.jobs.worker.claims.is_work_left", lambda sql, without, only: False)
        assert main(command) == 130
    assert "run the same command again to go on" in capsys.readouterr().err
    assert not (folder / "answers.jsonl").exists()
    assert main(command) == 0
    assert "goes on: 7 of 7 done already" in capsys.readouterr().err
    assert len((folder / "answers.jsonl").read_text().splitlines()) == 7
    assert len(sim.requests) == 7


def test_ctrl_c_leaves_a_job_that_goes_on_later(tmp_path, monkeypatch):
    """A process of its own, interrupted as a terminal does it: what was written is not asked again, the answers come out whole."""
    with OpenAISim(answer="an answer", latency_s=1.0) as sim:  # the whole would take 37 s: time enough to interrupt it
        (tmp_path / "surefoot.toml").write_text(
            f'[chat.default]\ntargets = ["openai:m"]\n[target."openai:m"]\nbase_url = "{sim.url}/v1"\napi_key = "k"\nconcurrency = 4\n'
        )
        (tmp_path / "questions.jsonl").write_text("".join(f'"question {n}"\n' for n in range(150)))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(ROOT / one) for one in ("src", "integrations", "pipelines", "eval")))
        command = [sys.executable, "-m", "surefoot", "jobs", "submit", "--from", "questions.jsonl", "--to", "answers.jsonl"]
        first = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 60
        while len(sim.requests) < 6:  # four are under way, and the first are answered
            assert time.monotonic() < until
            time.sleep(0.05)
        first.send_signal(signal.SIGINT)
        said = first.communicate(timeout=60)[1]
        assert first.returncode == 130
        assert "run the same command again to go on" in said
        assert "Traceback" not in said
        calls = len(sim.requests)
        assert calls < 150
        assert not (tmp_path / "answers.jsonl").exists()
        sim.latency_s = 0.0
        again = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        assert "goes on:" in again.stderr
        assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 150
        assert len(sim.requests) <= 150 + 4  # in flight when it was interrupted


def once(fn):
    """`fn` the first time, then nothing."""
    called = []

    def one(*values, **named):
        if called:
            return None
        called.append(1)
        return fn(*values, **named)

    return one


def test_a_file_is_asked_by_the_vendors_batches(place, capsys):
    """One option more; asked the other way it is another job."""
    folder, sim = place
    command = ["submit", "--from", "questions.jsonl"]
    assert main(["jobs", *command, "--how", "vendor-batch", "--to", "answers.jsonl"]) == 0
    assert len((folder / "answers.jsonl").read_text().splitlines()) == 7
    assert [len(one.items) for one in sim.desk.batches.values()] == [7]
    capsys.readouterr()
    job = said(capsys, *command)["id"]
    assert (job, said(capsys, "status", job)["done"]) == (said(capsys, *command)["id"], 0)
    assert main(["jobs", "chunk", job, "0"]) == 0
    assert capsys.readouterr().out == "done\n"
    assert said(capsys, "status", job)["state"] == "done"


def test_texts_are_embedded_into_a_file(place, capsys):
    """The other kind, by its own settings."""
    folder, _ = place
    (folder / "texts.csv").write_text("text\none\ntwo\n")
    assert main(["jobs", "submit", "--kind", "embed", "--from", "texts.csv", "--to", "vectors.jsonl"]) == 0
    rows = [json.loads(line) for line in (folder / "vectors.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == ["one", "two"]
    assert all(len(row["vector"]) > 8 for row in rows)


WRONG = {
    "no file": (["--from", "gone.jsonl"], "cannot be read"),
    "an ending": (["--from", "questions.jsonl", "--to", "answers.xlsx"], "ends in"),
    "an option": (["--from", "questions.jsonl", "-o", "temperature"], "NAME=VALUE"),
    "a moment": (["--from", "questions.jsonl", "--not-before", "tonight"], "write it as"),
    "a model": (["--from", "questions.jsonl", "-n", "other"], "no chat model 'other' here: known are default"),
    "a store": (["--from", "questions.jsonl", "--store", "mysql://h/d"], "names no database"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_one_line(case, place, capsys):
    """Before anything is asked."""
    words, told = WRONG[case]
    assert main(["jobs", "submit", *words]) == 1
    err = capsys.readouterr().err
    assert told in err
    assert len(err.splitlines()) == 1
