"""What is read is what the field's files hold, and a wrong file says where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from surefoot.errors import Misconfigured
from surefoot_eval.__main__ import main
from surefoot_eval.data.dataset import gather
from surefoot_eval.data.formats import TextSpan, beir, spans_found, squad
from surefoot_eval.data.suite import Data


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


def squad_file(file, qas, context="The fox and the dog. The fox."):
    file.write_text(json.dumps({"data": [{"title": "T", "paragraphs": [{"context": context, "qas": qas}]}]}), "utf-8")
    return file


def test_squad_as_others_publish_it(tmp_path):
    """Offsets as text, numeric ids, answers without offsets, several accepted ones."""
    qas = [
        {"id": 7, "question": "Who?", "answers": [{"text": "fox", "answer_start": "4"}, {"text": "the dog", "answer_start": 12}]},
        {"id": 8, "question": "Who else?", "answers": [{"text": "dog"}]},
    ]
    first, second = squad(squad_file(tmp_path / "s.json", qas)).queries
    assert (first.id, first.answers, first.gold) == ("7", ("fox", "the dog"), (TextSpan("p000", 4, 7), TextSpan("p000", 12, 19)))
    assert second.gold == (TextSpan("p000", 16, 19),)


@pytest.mark.parametrize(
    ("qas", "says"),
    [
        ([{"id": "a", "question": "?", "answers": [{"text": "fox"}]}], "question a: 'fox' stands in its text 2 times"),
        ([{"id": "a", "question": "?", "answers": [{"text": "dog", "answer_start": "x"}]}], "the offset 'x' is no number"),
        ([{"id": "a", "question": "?", "answers": []}], "question a has no answers"),
        ([{"question": "?", "answers": []}], "has no id"),
        ([{"id": i, "question": "?", "answers": [{"text": "dog"}]} for i in (1, "1")], "1 ids stand for several questions, '1' first"),
    ],
)
def test_squad_without_gold_or_with_one_id_twice_is_refused(tmp_path, qas, says):
    """Before the first question, naming it."""
    with pytest.raises(Misconfigured, match=says):
        squad(squad_file(tmp_path / "s.json", qas))


def test_an_id_that_stands_twice_is_refused_with_both_lines(tmp_path):
    """The later document would take the earlier one's judgements."""
    folder = write_beir(tmp_path / "b")
    line = (folder / "corpus.jsonl").read_text("utf-8").splitlines()[0]
    with (folder / "corpus.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(Misconfigured, match="stands already in line 1"):
        beir(folder)


def folder_of(tmp_path, name, text):
    (tmp_path / "q/docs").mkdir(parents=True)
    (tmp_path / "q/docs/a.txt").write_text("The fox runs. The dog sleeps at noon.\n", "utf-8")
    (tmp_path / "q" / name).write_text(text, "utf-8")
    return gather(Data(path="q"), near=tmp_path).questions


def test_gold_by_quotation_and_several_answers(tmp_path):
    """In lines of JSON and in a table."""
    row = {"id": 1, "question": "Who runs?", "answers": ["fox", "the fox"], "gold": [{"document_id": "a.txt", "text": "The fox runs."}]}
    (one,) = folder_of(tmp_path / "json", "questions.jsonl", json.dumps(row))
    assert (one.query.id, one.query.answers, one.query.gold) == ("1", ("fox", "the fox"), (TextSpan("a.txt", 0, 13),))
    table = "id,question,answers,document,quote,answerable\n1,When?,noon; 12:00,a.txt,The dog sleeps at noon.,yes\n2,Why?,,,,no\n"
    first, second = folder_of(tmp_path / "csv", "questions.csv", table)
    assert (first.query.answers, first.query.gold) == (("noon", "12:00"), (TextSpan("a.txt", 14, 37),))
    assert not second.query.answerable


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("questions.jsonl", '{"id": "a", "question": "?", "anwser": "x"}', "line 1: Object contains unknown field `anwser`"),
        ("questions.jsonl", '{"id": "a", "question": "?"}', "line 1: neither gold nor answer"),
        ("questions.jsonl", '{"id": "a", "question": "?", "answer": "x"}\n' * 2, "line 2: 'a' stands already in line 1"),
        ("questions.jsonl", '{"id": "a", "question": "?", "gold": [{"document_id": "a.txt"}]}', "neither start and end nor text"),
        ("questions.jsonl", '{"id": "a", "question": "?", "gold": [{"document_id": "b.txt", "text": "x"}]}', "did you mean 'a.txt'"),
        ("questions.csv", "id,question,anwser\na,?,x\n", "line 1: unknown column 'anwser'"),
        ("questions.csv", "id,question,answer,answerable\na,?,x,maybe\n", "line 2: answerable = 'maybe'"),
        ("questions.csv", "id,question,quote\na,?,The fox runs.\n", "line 2: document and quote go together"),
    ],
)
def test_questions_that_cannot_be_right_are_refused_with_their_line(tmp_path, name, text, says):
    """An unknown word, an id twice, a question without gold: each would lower a figure in silence."""
    with pytest.raises(Misconfigured, match=says):
        folder_of(tmp_path, name, text)


def test_retrieve_measures_any_beir_folder(tmp_path, capsys):
    """By hand: the only relevant document of each query is found first by its words."""
    folder = write_beir(tmp_path / "b")
    (folder / "corpus.jsonl").write_text('{"_id": "d2", "text": "three dogs"}\n{"_id": "d1", "text": "one fox"}\n', "utf-8")
    assert main(["retrieve", "--data", str(folder), "--model", "bm25", "--json", str(tmp_path / "f.json")]) == 0
    assert "nDCG@10" in capsys.readouterr().out
    assert json.loads((tmp_path / "f.json").read_text("utf-8"))["models"]["bm25"]["Success@1"] == 1.0


def test_retrieve_reproduces_the_published_bm25(data, tmp_path):
    """MTEB's bm25s row on SciFact: .68736, within the tolerance of the data's README."""
    assert main(["retrieve", "--data", str(data / "scifact"), "--model", "bm25", "--json", str(tmp_path / "f.json")]) == 0
    figures = json.loads((tmp_path / "f.json").read_text("utf-8"))["models"]["bm25"]
    assert figures["nDCG@10"] == pytest.approx(0.68736, abs=0.003)
    assert figures["R@100"] == pytest.approx(0.91267, abs=0.003)
