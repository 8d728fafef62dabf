"""What is read is what the field's files hold, and a wrong file says where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from surefoot.errors import Misconfigured
from surefoot_eval.data.formats import TextSpan, beir, spans_found, squad


def write_beir(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        '{"_id": "d1", "title": "İzmir", "text": "a b"}\n{"_id": "d2", "title": "", "text": "c"}\n', "utf-8"
    )
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "one?"}\n{"_id": "q2", "text": "two?"}\n', "utf-8")
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\n", "utf-8")
    return folder


def write_squad(file: Path, *, start: int = 4) -> Path:
    asked = {"id": "q", "question": "Who?", "answers": [{"text": "Ada", "answer_start": start}]}
    never = {"id": "n", "question": "When?", "is_impossible": True, "answers": []}
    file.write_text(json.dumps({"data": [{"title": "T", "paragraphs": [{"context": "Dr. Ada L.", "qas": [asked, never]}]}]}), "utf-8")
    return file


def test_beir_keeps_the_judged_queries_and_counts_as_mteb_does(tmp_path):
    """Characters are counted over title, space and text: that is how published statistics can be compared."""
    got = beir(write_beir(tmp_path / "b"))
    assert [query.id for query in got.queries] == ["q1"]
    print_ = got.fingerprint
    assert (print_.documents, print_.document_chars, print_.queries, print_.query_chars, print_.judgements) == (2, 10, 1, 4, 2)


def test_fingerprint_ignores_order_and_sees_a_changed_letter(tmp_path):
    """The same data in another order is the same data; one letter is other data."""
    folder = write_beir(tmp_path / "b")
    before = beir(folder).fingerprint
    lines = (folder / "corpus.jsonl").read_text("utf-8").splitlines()
    (folder / "corpus.jsonl").write_text("\n".join(reversed(lines)), "utf-8")
    assert beir(folder).fingerprint == before
    (folder / "corpus.jsonl").write_text("\n".join(lines).replace("a b", "a d"), "utf-8")
    assert beir(folder).fingerprint.sha256 != before.sha256


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("corpus.jsonl", '{"_id": "d1"}\n', "corpus.jsonl, line 1: no text"),
        ("queries.jsonl", "{oops\n", "queries.jsonl, line 1: not JSON"),
        ("qrels/test.tsv", "q1\td1\tmany\n", "test.tsv, line 1"),
        ("qrels/test.tsv", "q1\tnowhere\t1\n", "nowhere"),
        ("qrels/test.tsv", "nobody\td1\t1\n", "nobody"),
    ],
)
def test_a_wrong_file_says_where(tmp_path, name, text, says):
    """A judgement that names nothing would quietly lower every recall."""
    folder = write_beir(tmp_path / "b")
    (folder / name).write_text(text, "utf-8")
    with pytest.raises(Misconfigured, match=says):
        beir(folder)


def test_squad_gold_is_a_span_and_the_impossible_has_none(tmp_path):
    """SQuAD 2.0's unanswerable questions are a class of their own."""
    got = squad(write_squad(tmp_path / "s.json"))
    asked, never = got.queries
    assert asked.gold == (TextSpan("p000", 4, 7),)
    assert (never.answerable, never.gold, never.relevant) == (False, (), {})
    assert got.group_of(asked) == "000-T"


def test_squad_refuses_gold_that_points_elsewhere(tmp_path):
    """Offsets that miss their answer make every span figure wrong."""
    with pytest.raises(Misconfigured, match="question q"):
        squad(write_squad(tmp_path / "s.json", start=3))


def test_gold_survives_another_cut():
    """The same span is found in one long passage and in the right one of two short ones, not in one that cuts it."""
    gold = [TextSpan("d", 10, 20)]
    assert spans_found(gold, [TextSpan("d", 0, 100)]) == 1
    assert spans_found(gold, [TextSpan("d", 0, 8), TextSpan("d", 8, 30)]) == 1
    assert spans_found(gold, [TextSpan("d", 0, 15), TextSpan("d", 15, 30), TextSpan("e", 0, 100)]) == 0


def test_the_public_sets_are_the_official_ones(data):
    """Counts and characters published with MTEB; the two XQuAD forms hold the same."""
    scifact = beir(data / "scifact").fingerprint
    assert (scifact.documents, scifact.document_chars, scifact.query_chars, scifact.judgements) == (5183, 7_771_451, 27_104, 339)
    for language in ("en", "tr"):
        folder = data / f"xquad-{language}"
        assert beir(folder).fingerprint == squad(folder / f"xquad.{language}.json").fingerprint
