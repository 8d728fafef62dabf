"""Conversations: each turn has its gold and is judged, and the system under test is given what was said before."""

from __future__ import annotations

import importlib
import json
import sys

import pytest

from surefoot.errors import Misconfigured
from surefoot.testing.wire import OpenAISim
from surefoot_eval.data.records import Record
from surefoot_eval.run.journal import records_of
from surefoot_eval.run_suite import plan, results, run
from tests.eval.small import write

TURNS = [
    ("When does the harbour office open?", "08:15", "The harbour office opens at 08:15."),
    ("And when does it close?", "17:40", "The harbour office closes at 17:40."),
    ("What does it cost?", "", ""),
]
SUITE = """
name = "talk"
kind = "rag"
metrics = ["right", "refusal", "R@3"]
slices = ["turn"]
[data]
path = "questions"
file = "talk.jsonl"
history = "HISTORY"
"""
FUNCTIONS = """
seen = []


def talk(question, history):
    seen.append((question, [(one["role"], one["content"]) for one in history]))
    if "close" in question and FAILING:
        raise RuntimeError("down")
    return {"answer": f"answer {len(history) // 2 + 1} [1]", "passages": ["The harbour office opens at 08:15."]}


def deaf(question):
    return "no"


FAILING = []
"""


def suite(tmp_path, *systems, history="own"):
    text = SUITE.replace("HISTORY", history) + "".join(f"[[system]]\n{one}\n" for one in systems)
    file = write(tmp_path, suite=text)
    turns = [
        {"question": asked, "answer": answer, "gold": [{"document_id": "harbour.txt", "text": gold}]}
        if gold
        else {"question": asked, "answerable": False}
        for asked, answer, gold in TURNS
    ]
    (tmp_path / "questions/talk.jsonl").write_text(json.dumps({"id": "h", "language": "en", "turns": turns}) + "\n", encoding="utf-8")
    (tmp_path / f"talk_{history}.py").write_text(FUNCTIONS, encoding="utf-8")
    return file


def asked(tmp_path, file):
    planned = plan(file)
    records = run(planned, tmp_path / "out", place=tmp_path / "index")
    return {one.question: one for one in records}, results(planned, records)


def test_a_pipeline_finds_what_a_later_turn_leans_on(tmp_path):
    """ "And when does it close?" names no office; the first turn does. Turns of a conversation are one group, and a slice of their own."""
    records, found = asked(tmp_path, suite(tmp_path, 'name = "lexical"\nframework = "lexical"\nk = 3'))
    assert records["h/2"].passages[0].document == "harbour.txt"
    assert "17:40" in records["h/2"].answer
    assert set(found.groups.values()) == {"harbour.txt"}
    assert [found.slices[key]["turn"] for key in sorted(found.slices)] == ["first", "later", "later"]
    assert found.questions["h/2"] == f"{TURNS[0][0]} > {TURNS[1][0]}"
    assert found.marked["h/2"] not in {found.marked["h/1"], found.marked["h/3"]}


@pytest.mark.parametrize("history", ["own", "accepted"])
def test_a_function_and_a_service_are_given_the_turns_before(tmp_path, history):
    """What the system itself said, without its marks; or what it should have said."""
    with OpenAISim() as sim:
        file = suite(
            tmp_path,
            f'name = "function"\nsystem = "talk_{history}:talk"',
            f'name = "service"\nurl = "{sim.url}"\nmodel = "gpt-5-mini"\napi_key = "sk-loopback"',
            f'name = "nested"\nurl = "{sim.url}/chat/completions"\nanswer_path = "choices.0.message.content"\napi_key = "sk-loopback"\n'
            'body = { model = "gpt-5-mini", messages = "{messages}" }',
            history=history,
        )
        sys.path.insert(0, str(tmp_path))
        try:
            records, _ = asked(tmp_path, file)
        finally:
            sys.path.remove(str(tmp_path))
        sent = [json.loads(one.body)["messages"] for one in sim.requests]
    seen = importlib.import_module(f"talk_{history}").seen
    first = "answer 1" if history == "own" else "08:15"
    assert seen[1] == (TURNS[1][0], [("user", TURNS[0][0]), ("assistant", first)])
    assert len(seen[2][1]) == 4
    assert [len(one) for one in sent] == [1, 3, 5, 1, 3, 5]
    assert sent[0] == [{"role": "user", "content": TURNS[0][0]}]
    assert [one["role"] for one in sent[2]] == ["user", "assistant", "user", "assistant", "user"]
    assert (sent[1][1]["content"] == "08:15") is (history == "accepted")
    assert not any(one.error for one in records.values())


def test_a_turn_after_a_failed_one_is_not_asked_and_is_asked_again_with_it(tmp_path):
    """With a gap in its history an answer would say nothing; `--only-failed` mends both."""
    planned = plan(suite(tmp_path, 'name = "function"\nsystem = "talk_own:talk"'))
    sys.modules.pop("talk_own", None)
    sys.path.insert(0, str(tmp_path))
    try:
        module = importlib.import_module("talk_own")
        module.FAILING.append(True)
        run(planned, tmp_path / "out", place=tmp_path / "index")
        told = {one.question: one.error for one in records_of(tmp_path / "out/records.jsonl", Record)}
        assert told["h/2"].endswith("down")
        assert told["h/3"] == "not asked: turn h/2 before it failed"
        module.FAILING.clear()
        last = {one.question: one for one in run(planned, tmp_path / "out", only_failed=True, place=tmp_path / "index")}
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("talk_own", None)
    assert [last[f"h/{at}"].answer for at in (1, 2, 3)] == ["answer 1 [1]", "answer 2 [1]", "answer 3 [1]"]


@pytest.mark.parametrize(
    ("system", "says"),
    [
        ('system = "talk_own:deaf"', r"must be a function of \(question, history\)"),
        ('url = "http://127.0.0.1:9"\nanswer_path = "a"\nbody = { q = "{question}" }', r'body needs "\{history\}"'),
    ],
)
def test_a_system_that_cannot_be_told_the_history_is_refused_before_anything_is_asked(tmp_path, system, says):
    """Its later turns would be riddles, and the figures those of something else."""
    file = suite(tmp_path, f'name = "deaf"\n{system}')
    with pytest.raises(Misconfigured, match=says):
        run(plan(file), tmp_path / "out", place=tmp_path / "index")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"id": "a", "question": "x", "turns": [{"question": "y", "answerable": False}]}, "either question or turns"),
        ({"id": "a", "turns": [{"question": " ", "answerable": False}]}, "'a/1' asks nothing"),
        ({"id": "a", "turns": [{"question": "y"}]}, "neither gold nor answer"),
        ({"id": "a", "turns": [{"question": "y", "answerable": False, "id": "z"}]}, "unknown field"),
    ],
)
def test_a_conversation_that_cannot_be_read_is_refused_with_its_line(tmp_path, line, says):
    """Before anything is spent."""
    file = suite(tmp_path, 'name = "lexical"\nframework = "lexical"')
    (tmp_path / "questions/talk.jsonl").write_text("\n" + json.dumps(line), encoding="utf-8")
    with pytest.raises(Misconfigured, match=f"line 2: .*{says}"):
        plan(file)
