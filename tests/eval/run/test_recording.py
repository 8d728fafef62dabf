"""What was recorded is replayed with the latency and cost it had, and nobody is asked."""

from __future__ import annotations

import pytest

from surefoot import ChatModel, Message, Policy, scope
from surefoot.errors import Exhausted, Misconfigured, Overloaded
from surefoot.testing import Scripted
from surefoot.types import Usage
from surefoot_eval import run_suite as running
from surefoot_eval.run.recording import TAG, Recording, Taped
from surefoot_eval.run.results import write as write_results
from tests.eval.small import write

QUICK = Policy(backoff_base_s=1e-6)


def ask(taped: Taped, question: str, tag: str) -> str:
    with scope(tags={TAG: tag}):
        return taped.model.invoke([Message.user(question)]).text


def test_a_replay_is_free_and_keeps_the_figures(tmp_path):
    """Tokens, attempts, retries and seconds are those of the recording."""
    provider = Scripted(Overloaded("busy"), "fine", usage=Usage(input_tokens=11, output_tokens=7))
    tape = Recording(tmp_path / "tape.jsonl")
    taped = Taped(ChatModel(provider, policy=QUICK), tape, mark="m")
    assert ask(taped, "How?", "one#0") == "fine"
    first = taped.take("one#0")
    assert (first.attempts, first.retries, first.input_tokens, first.output_tokens, first.replayed) == (2, 1, 11, 7, False)
    assert taped.take("one#0").calls == 0  # told once
    tape.close()

    silent = Scripted(AssertionError("asked"))
    taped = Taped(ChatModel(silent), Recording(tmp_path / "tape.jsonl", "replay"), mark="m")
    assert ask(taped, "How?", "two#0") == "fine"
    again = taped.take("two#0")
    assert silent.calls == 0
    assert again.replayed
    assert (again.seconds, again.attempts, again.retries, again.output_tokens) == (first.seconds, 2, 1, 7)


@pytest.mark.parametrize(("question", "mark", "seed"), [("Why?", "m", "0"), ("How?", "other", "0"), ("How?", "m", "1")])
def test_another_question_model_or_seed_is_not_on_the_tape(tmp_path, question, mark, seed):
    """A replay never invents."""
    tape = Recording(tmp_path / "tape.jsonl")
    ask(Taped(ChatModel(Scripted("fine")), tape, mark="m"), "How?", "one#0")
    tape.close()
    taped = Taped(ChatModel(Scripted("new")), Recording(tmp_path / "tape.jsonl", "replay"), mark=mark)
    with pytest.raises(Misconfigured, match="not in the recording"):
        ask(taped, question, f"two#{seed}")


def test_failures_are_not_kept_but_counted(tmp_path):
    """An unlucky answer must not stay for ever; what it cost is told all the same."""
    provider = Scripted(Overloaded("busy"), Overloaded("busy"), Overloaded("busy"), "fine")
    taped = Taped(ChatModel(provider, policy=QUICK), Recording(tmp_path / "tape.jsonl"), mark="m")
    with pytest.raises(Exhausted):
        ask(taped, "How?", "one#0")
    assert taped.take("one#0").attempts == 3
    assert ask(taped, "How?", "one#0") == "fine"


def test_refresh_asks_again_and_the_newest_counts(tmp_path):
    """The old answer stays in the file, and is not used."""
    for mode, said in (("auto", "old"), ("refresh", "new")):
        tape = Recording(tmp_path / "tape.jsonl", mode)
        assert ask(Taped(ChatModel(Scripted(said)), tape, mark="m"), "How?", "q#0") == said
        tape.close()
    assert ask(Taped(ChatModel(Scripted("x")), Recording(tmp_path / "tape.jsonl", "replay"), mark="m"), "How?", "q#0") == "new"


def test_nothing_to_replay_is_told_at_once(tmp_path):
    """Not at the first question."""
    with pytest.raises(Misconfigured, match="nothing to replay"):
        Recording(tmp_path / "none.jsonl", "replay")


def test_a_replayed_run_gives_the_same_bytes(tmp_path):
    """Scores, and every cost in the records but the flag."""
    file = write(tmp_path)
    planned, found = running.plan(file), []
    for name, mode in (("first", "auto"), ("second", "replay")):
        tape = Recording(tmp_path / "tape.jsonl", mode)
        records = running.run(planned, tmp_path / name, tape=tape)
        tape.close()
        found.append((write_results(running.results(planned, records), tmp_path / name).read_bytes(), records))
    (one, recorded), (other, replayed) = found
    assert one == other
    assert all(record.cost.replayed for record in replayed)
    assert [record.cost.seconds for record in recorded] == [record.cost.seconds for record in replayed]


def test_several_jobs_may_replay_one_tape(tmp_path):
    """Replaying locks and changes nothing, a torn end included; recording is for one at a time."""
    file = tmp_path / "tape.jsonl"
    tape = Recording(file)
    ask(Taped(ChatModel(Scripted("fine")), tape, mark="m"), "How?", "q#0")
    with pytest.raises(Misconfigured, match="another run is writing"):
        Recording(file)
    tape.close()
    torn = file.read_bytes() + b'{"key": "to'
    file.write_bytes(torn)
    for one in (Recording(file, "replay"), Recording(file, "replay")):
        assert ask(Taped(ChatModel(Scripted("x")), one, mark="m"), "How?", "q#0") == "fine"
    assert file.read_bytes() == torn
