"""Scores are about the documents, not about how they were cut; and nothing is averaged in silence."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from surefoot.errors import Misconfigured
from surefoot_eval.data.dataset import Dataset, LabelledQuestion, gather
from surefoot_eval.data.formats import Query, TextSpan
from surefoot_eval.data.records import Record, Shown
from surefoot_eval.data.suite import Data
from surefoot_eval.run_suite import plan, run
from surefoot_eval.score.scoring import ScoredRow, columns, judgements, outcomes, rows, spoken
from surefoot_rag.documents import corpus
from surefoot_rag.records import Document
from tests.eval.data.test_formats import write_squad
from tests.eval.small import write

TEXT = "".join(f"Sentence number {at} says that ship {at} carries {at * 7} crates of tea. " for at in range(40))
SPAN = TEXT.index("ship 23"), TEXT.index("ship 23") + len("ship 23 carries 161 crates")


def material() -> Dataset:
    document = Document(id="d", title="", text=TEXT, source="d", language="en", metadata={"type": "text"})
    query = Query(id="q", text="What does ship 23 carry?", relevant={"d": 1}, answers=("161 crates",), gold=(TextSpan("d", *SPAN),))
    never = Query(id="n", text="What does ship 99 carry?", answerable=False)
    return Dataset(
        [document], [LabelledQuestion(query=query, language="en", group="d"), LabelledQuestion(query=never, language="en", group="n")]
    )


CUT = corpus.passages


def shown(size: int) -> list[Shown]:
    document = material().documents[0]
    return [Shown(id=p.id, document="d", start=p.start, end=p.end) for p in CUT(document, size_chars=size)]


@pytest.mark.parametrize("size", [60, 90, 300, 900, 4000])
def test_gold_survives_cutting_the_documents_differently(monkeypatch, size):
    """Whatever the cut, some passage is relevant, and finding it first is a perfect score; finding the others is not."""
    at_hand = material()
    monkeypatch.setattr("surefoot_eval.data.dataset.corpus.passages", lambda one: CUT(one, size_chars=size))
    pieces = shown(size)
    relevant = judgements(at_hand.asked["q"].query, pieces)
    assert 1 <= len(relevant) <= 2
    good = sorted(pieces, key=lambda one: one.id not in relevant)
    bad = [one for one in pieces if one.id not in relevant]
    for found, wanted in ((good, 1.0), (bad, 0.0)):
        record = Record(system="s", question="q", answer="161 crates [1].", passages=tuple(found[:5]))
        got = columns([ScoredRow("q", at_hand.asked["q"], record)], at_hand, ["nDCG@5", "R@5", "RR@5", "Success@1"])
        assert {name: one.mean for name, one in got.items()} == dict.fromkeys(got, wanted)


def test_citations_are_judged_by_characters():
    """The sentence that holds the gold counts; its neighbour does not, in whichever passage it stands."""
    at_hand = material()
    start = TEXT.index("Sentence number 23")
    right, wrong = TextSpan("d", start, TEXT.index("Sentence number 24")), TextSpan("d", 0, 60)
    record = Record(system="s", question="q", answer="Ship 23 carries 161 crates. [1][2]", citations=(right, wrong))
    got = columns(
        [ScoredRow("q", at_hand.asked["q"], record)], at_hand, ["citation_precision", "citation_recall", "covered", "exact_match"]
    )
    assert {name: one.mean for name, one in got.items()} == {
        "citation_precision": 0.5,
        "citation_recall": 1.0,
        "covered": 1.0,
        "exact_match": 0,
    }


def test_every_metric_is_a_value_not_applicable_or_an_error():
    """An answer, a refusal, a failure and a question not asked: four different things in every column."""
    at_hand = material()
    asked, never = at_hand.questions
    answered = Record(system="s", question="q", answer="161 crates [1]", passages=tuple(shown(900)))
    found = [
        ScoredRow("answered", asked, answered),
        ScoredRow("refused", asked, replace(answered, answer="I do not know.", refused=True)),
        ScoredRow("never", never, replace(answered, answer="I do not know.", refused=True)),
        ScoredRow("failed", asked, Record(system="s", question="q", error="Overloaded: busy")),
        ScoredRow("unasked", asked, None),
    ]
    got = columns(found, at_hand, ["answer_f1", "groundedness", "refusal", "right", "served", "R@5"])
    status = {name: [one.scores[row.key].status for row in found] for name, one in got.items()}
    assert status["answer_f1"] == ["value", "value", "not_applicable", "error", "error"]
    assert status["groundedness"] == ["value", "not_applicable", "not_applicable", "error", "error"]
    assert status["refusal"] == status["right"] == ["value", "value", "value", "error", "error"]
    assert status["served"] == ["value", "value", "value", "value", "error"]
    assert status["R@5"] == ["value", "value", "not_applicable", "error", "error"]
    assert (got["answer_f1"].mean, got["answer_f1"].coverage) == (0.5, 0.5)
    assert (got["right"].mean, got["right"].coverage) == (2 / 3, 0.6)
    assert got["served"].mean == 0.75
    cells, counted = outcomes(found, at_hand)
    assert list(cells.values()) == ["answered_right", "refused_wrong", "refused_right", "error", "error"]
    assert (counted.answered_right, counted.refused_wrong, counted.refused_right, counted.errors) == (1, 1, 1, 2)


def test_marks_of_citations_are_not_part_of_the_answer():
    """They would cost F1 what they gain in proof."""
    assert spoken("At 08:15 [1], daily [2, 3]. See [1-3].") == "At 08:15, daily. See."


def test_left_out_articles_are_unanswerable_and_not_indexed(tmp_path):
    """Exact by construction: the document is not there, the question has no gold any more."""
    file = write(tmp_path)
    whole = gather(Data(path="questions"), near=file.parent)
    part = gather(Data(path="questions", leave_out=0.5, seed=3), near=file.parent)
    assert (len(whole.documents), len(part.documents)) == (4, 2)
    assert len(part.questions) == len(whole.questions) == 13
    kept = {one.id for one in part.documents}
    for one in part.questions:
        assert one.query.answerable == bool(one.query.gold) == (one.group in kept)
    assert part.data_mark != whole.data_mark
    assert part.corpus_mark != whole.corpus_mark


def test_a_subset_keeps_groups_together(tmp_path):
    """Six questions are two documents' whole lots of three, the same by the same seed."""
    file = write(tmp_path)
    some = gather(Data(path="questions", questions=6, seed=1), near=file.parent)
    assert [one.query.id for one in some.questions] == [
        one.query.id for one in gather(Data(path="questions", questions=6, seed=1), near=file.parent).questions
    ]
    groups = [one.group for one in some.questions]
    assert len(groups) == 6
    assert len(set(groups)) <= 3


def test_a_gold_span_that_holds_something_else_is_refused(tmp_path):
    """Gold that points elsewhere makes every figure wrong."""
    file = write(tmp_path)
    text = (tmp_path / "questions/questions.jsonl").read_text("utf-8")
    (tmp_path / "questions/questions.jsonl").write_text(text.replace('"start": 0', '"start": 3', 1), "utf-8")
    with pytest.raises(Misconfigured, match=r"questions.jsonl, line 1: harbour.txt \[3:"):
        plan(file)


def test_squad_and_missing_paths(tmp_path):
    """A SQuAD file is read by path; a path that is nowhere says where it was looked for."""
    write_squad(tmp_path / "s.json")
    got = gather(Data(format="squad", path="s.json"), near=tmp_path)
    assert [one.query.answerable for one in got.questions] == [True, False]
    with pytest.raises(Misconfigured, match="--data FOLDER"):
        gather(Data(format="squad", path="t.json"), near=tmp_path)
    with pytest.raises(Misconfigured, match="needs a path"):
        gather(Data(format="beir"), near=tmp_path)


def test_the_last_record_of_a_question_counts():
    """A failure that was asked again and answered is an answer."""
    at_hand = material()
    bad, good = Record(system="s", question="q", error="x"), Record(system="s", question="q", answer="y", tries=2)
    assert [row.record for row in rows([bad, good], at_hand, "s", [0])] == [good, None]


def test_documents_are_ranked_until_k_of_them_are_found(tmp_path):
    """Five passages of one document are one document: more passages are taken until there are k."""
    folder = tmp_path / "b"
    (folder / "qrels").mkdir(parents=True)
    long = " ".join(f"Ship {at} carries tea and ship {at} sails on. " * 8 for at in range(30))
    texts = {"long": long, **{f"d{at}": f"A ship may carry tea, says page {at}." for at in range(6)}}
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in texts.items()), "utf-8")
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "Which ship carries tea?"}\n', "utf-8")
    (folder / "qrels/test.tsv").write_text("q\td3\t1\n", "utf-8")
    head = 'name = "r"\nkind = "retrieval"\nmetrics = ["R@5", "nDCG@5"]\n'
    suite = head + '[data]\nformat = "beir"\npath = "b"\n[[system]]\nname = "lexical"\nk = 5\n'
    (tmp_path / "r.toml").write_text(suite, "utf-8")
    planned = plan(tmp_path / "r.toml")
    (record,) = run(planned, tmp_path / "out")
    assert len({one.document for one in record.passages}) >= 5
