"""An answer is right if it says an accepted one: by words, by the value of numbers, and not denied."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import surefoot_eval
from surefoot_eval.score.correctness import says, says_any
from surefoot_eval.score.metrics import normalise
from surefoot_eval.score.scoring import spoken
from surefoot_eval.score.stats import kappa

LABELS = Path(next(iter(surefoot_eval.__path__))) / "labels/correctness.jsonl"


@pytest.mark.parametrize(
    ("answer", "accepted", "language", "right"),
    [
        ("The cooldown is 45 seconds.", "45 seconds", "en", True),
        ("It takes 45s.", "45 seconds", "en", True),
        ("It is 1.5 GB.", "1,5 GB", "tr", True),
        ("The price is 15.", "1.5", "en", False),  # SQuAD's normalisation makes one of them
        ("4500 lira", "4.500 lira", "tr", True),
        ("1,45 lira", "1.450 lira", "tr", False),
        ("The limit is 1,450 seconds.", "1.45", "en", False),
        ("3.5 million people", "3,500,000 people", "en", True),
        ("%98 doldu", "yüzde 98", "tr", True),
        ("The disk was 98 per cent full", "98 %", "en", True),
        ("98 gigabytes", "98 %", "en", False),
        ("$180 a day", "180 dollars", "en", True),
        ("Up to eighteen requests", "18", "en", True),
        ("twenty-one ships", "21", "en", True),
        ("-5 degrees", "5 degrees", "en", False),
        ("minus 5 degrees", "-5 degrees", "en", True),
        ("between 10 and 20", "10", "en", True),
        ("80 of 31", "31 of 80", "en", False),
        ("18:30", "18.30", "tr", True),
    ],
)
def test_numbers_count_by_value(answer, accepted, language, right):
    """However they are written; a digit more, another unit or another sign is another answer."""
    assert says(answer, accepted, language=language) == right


@pytest.mark.parametrize(
    ("answer", "accepted", "right"),
    [
        ("The cooldown is not 45 seconds.", "45 seconds", False),
        ("It isn't 45 seconds but 60 seconds.", "60 seconds", True),
        ("It isn't 45 seconds but 60 seconds.", "45 seconds", False),
        ("The port is 7410, not 7411.", "7410", True),
        ("The port is 7410, not 7411.", "7411", False),
        ("Anyone but Ines Okafor.", "Ines Okafor", False),
        ("Not only Ines Okafor.", "Ines Okafor", True),
        ("45 or 60 seconds", "45 seconds", False),
        ("They do not go on without a cache.", "They go on without a cache", False),
        ("Ines Okafor, who is the duty lead", "the duty lead, Ines Okafor", True),
        ("No, it does not.", "No", True),
        ("There is no reason; yes.", "no", False),
        ("", "45", False),
    ],
)
def test_what_is_denied_or_one_of_several_is_no_answer(answer, accepted, right):
    """The right words in a sentence that denies them are wrong."""
    assert says(answer, accepted, language="en") == right


def test_turkish_verbs_deny_by_a_syllable_and_nouns_take_endings():
    """ "8620'de çalışmıyor" denies; "90 saniyede" is 90 saniye."""
    assert says("Devre kesici 90 saniyede kapanır.", "90 saniye", language="tr")
    assert not says("Geçit 8620'de çalışmıyor.", "8620", language="tr")
    assert not says("8620 değil 8621.", "8620", language="tr")


def test_what_the_document_or_the_question_denies_may_be_denied():
    """A quotation of a sentence that holds the answer under a "not" is no denial of it."""
    stands = "The body cannot make vitamin C by itself."
    assert says(stands, "vitamin C", language="en", context=stands)
    assert says(stands, "vitamin C", language="en", question="Which vitamin can the body not make?")
    assert not says(stands, "vitamin C", language="en", question="Which vitamin is in lemons?")
    assert says("There was no harbour, and 37 ships sank.", "37 ships", language="en")


def agreement(held_back: bool) -> tuple[float, float, int]:
    """Kappa with the labels: of the strict rule, and of "holds the words"; and how many wrong answers the rule takes for right."""
    rows = [row for row in map(json.loads, LABELS.read_text("utf-8").splitlines()) if bool(row.get("held_back")) == held_back]
    labels = np.array([row["right"] for row in rows])
    strict = np.array(
        [says_any(spoken(row["answer"]), row["accepted"], language=row["language"], question=row["question"]) for row in rows]
    )
    holds = np.array(
        [
            any(
                f" {normalise(gold, row['language'])} " in f" {normalise(spoken(row['answer']), row['language'])} "
                for gold in row["accepted"]
            )
            for row in rows
        ]
    )
    return kappa(strict, labels), kappa(holds, labels), int((strict & ~labels).sum())


@pytest.mark.parametrize("held_back", [False, True])
def test_it_agrees_with_our_labels_where_holding_the_words_does_not(held_back):
    """216 labelled answers, most of them traps; the held-back third was written before the rule was mended by the others."""
    strict, holds, taken = agreement(held_back)
    assert strict > 0.75
    assert holds < 0.4
    assert taken <= 3
