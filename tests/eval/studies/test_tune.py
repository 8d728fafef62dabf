"""Weights are chosen on one half and tried on the other; the doctor tells when fusion does harm."""

from __future__ import annotations

from surefoot_eval.data.formats import DatasetText, Query, TextSet
from surefoot_eval.studies.tune import choose, doctor, halves


def queries(count: int) -> list[Query]:
    return [Query(id=f"q{n}", text="?", relevant={"right": 1}) for n in range(count)]


def test_the_weight_goes_to_the_retriever_that_knows():
    """One knows, the other is sure of the wrong one."""
    asked = queries(10)
    knows = {query.id: {"right": 1.0, "wrong": 0.2, "none": 0.0} for query in asked}
    misled = {query.id: {"wrong": 9.0, "right": 1.0, "none": 0.0} for query in asked}
    assert choose(knows, misled, asked) > 0.5
    assert choose(misled, knows, asked) < 0.5


def test_a_lucky_question_does_not_move_the_weight():
    """Where each knows half of the answers it is a half; where one knows all, that one alone; a question more or less is no evidence."""
    asked = queries(100)
    sure, vague, wrong = ({"right": top, "wrong": 0.5, "none": 0.0} for top in (1.0, 0.4, 0.0))
    first = {query.id: sure if n % 2 else vague for n, query in enumerate(asked)}
    second = {query.id: vague if n % 2 else sure for n, query in enumerate(asked)}
    assert choose(first, second, asked) == 0.5
    assert choose(first, second | {"q1": wrong}, asked) == 0.5
    knows = {query.id: sure for query in asked}
    assert choose(knows, first, asked) == 1.0
    assert choose(knows | {"q7": wrong}, first, asked) == 1.0


def test_halves_share_no_article():
    """A weight must not have seen the article it is measured on."""
    documents = tuple(DatasetText(id=f"d{n}", title="", text="x", group=f"g{n // 3}") for n in range(30))
    asked = tuple(Query(id=f"q{n}", text="?", relevant={f"d{n % 30}": 1}) for n in range(90))
    texts = TextSet(name="s", split="all", language="en", documents=documents, queries=asked)
    (dev, test), (other_dev, other_test) = halves(texts)
    assert not {texts.group_of(query) for query in dev} & {texts.group_of(query) for query in test}
    assert (len(dev) + len(test), other_dev, other_test) == (90, test, dev)


def test_the_doctor_warns_of_harm_and_only_of_harm():
    """Half the right answers lost in fusion is harm; a tie or a gain is none."""
    good, bad = {f"q{n}": 1.0 for n in range(100)}, {f"q{n}": float(n % 2) for n in range(100)}
    found = doctor(bad, good, bad, {})
    assert found.best == "lexical"
    assert "worse than lexical alone by 0.5000" in found.warning
    assert doctor(bad, good, good, {}).warning == ""
    assert doctor(bad, bad, good, {}).warning == ""
