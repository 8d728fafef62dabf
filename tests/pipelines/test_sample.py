"""The sample corpus and its questions: what the demo shows and the evaluation measures."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from surefoot_rag.documents.corpus import Corpus, load, passages
from surefoot_rag.documents.sentences import sentence_spans
from surefoot_rag.records import Document

SAMPLE = Path(__file__).parents[2] / "pipelines/surefoot_rag/sample"
QUESTIONS: list[dict[str, Any]] = [json.loads(line) for line in (SAMPLE / "questions.jsonl").read_text("utf-8").splitlines()]


@cache
def corpus() -> Corpus:
    return load(SAMPLE / "docs")


def documents() -> dict[str, Document]:
    return {each.id: each for each in corpus()}


def test_the_corpus_is_bilingual_and_of_every_kind():
    """The demo must prove all four formats and both languages, not assume them."""
    assert not corpus().skipped
    assert Counter(each.language for each in corpus()) == {"en": 10, "tr": 10}
    assert all(each.language == each.id[:2] for each in corpus())
    assert {each.metadata["type"] for each in corpus()} == {"markdown", "text", "html", "pdf"}
    assert all(350 <= len(each.text.split()) <= 900 for each in corpus())


def test_questions_cover_both_languages_and_the_unanswerable():
    """Without questions that have no answer, a system that never refuses looks perfect."""
    counted = Counter((each["language"], each["answerable"]) for each in QUESTIONS if not each.get("cross_lingual"))
    assert counted["en", True] >= 20
    assert counted["tr", True] >= 20
    assert counted["en", False] >= 4
    assert counted["tr", False] >= 4
    assert len({each["id"] for each in QUESTIONS}) == len(QUESTIONS)
    assert len({each["question"] for each in QUESTIONS}) == len(QUESTIONS)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda each: each["id"])
def test_gold_is_where_the_question_says(question):
    """A gold span that slid by one character would blame the pipeline for the label's mistake."""
    assert bool(question["gold"]) == bool(question["answer"]) == question["answerable"]
    for gold in question["gold"]:
        text = documents()[gold["document_id"]].text
        assert text[gold["start"] : gold["end"]] == gold["text"]
        holding = [span for span in sentence_spans(text) if span[0] < gold["end"] and gold["start"] < span[1]]
        assert len(holding) == 1, "a gold answer is one sentence, or a part of one"


def test_no_gold_sentence_is_cut_in_two():
    """With the default size each answer stands whole in some passage, else no retriever could find it."""
    cut = [each for document in corpus() for each in passages(document)]
    for question in QUESTIONS:
        for gold in question["gold"]:
            whole = [p for p in cut if p.document_id == gold["document_id"] and p.start <= gold["start"] and gold["end"] <= p.end]
            assert whole, question["id"]


def test_cross_lingual_questions_ask_in_the_other_language():
    """They measure the embedding model; counted with the others they would blur both."""
    crossing = [each for each in QUESTIONS if each.get("cross_lingual")]
    assert crossing
    for each in QUESTIONS:
        for gold in each["gold"]:
            assert (documents()[gold["document_id"]].language != each["language"]) == bool(each.get("cross_lingual"))


def test_scripts_and_menus_stay_out_of_the_sample():
    """The page carries a script with a telltale sentence."""
    text = documents()["en/kestrel-outage-march.html"].text
    assert "must never be indexed" not in text
    assert "All posts" not in text
    assert "Related posts" not in text


def test_turkish_letters_come_out_of_the_pdf_whole():
    """Fonts without a Unicode map turn ğ, ş and ı into boxes."""
    text = documents()["tr/lodos-kesinti-raporu.pdf"].text
    assert set("ğüşıöçĞÜŞİÖÇ") - set(text) <= set("ĞÜŞÖÇ")
    assert "\ufffd" not in text
