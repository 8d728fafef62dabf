"""The attack set is what it says, and its measuring can fail."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter

import pytest

from surefoot import EmbedModel
from surefoot.rules.paraphrase import same
from surefoot.testing import Scripted
from surefoot.types import EmbedReply
from surefoot_eval.studies import semantic
from surefoot_eval.studies.semantic.pairs import Pair, near, templated, written


def alike(call):
    import numpy as np

    return EmbedReply(vectors=np.array([[1.0, 0.0]] * len(call.request.texts), dtype=np.float32), space="s", model="e")


@pytest.mark.parametrize("half", ["tuning", "test"])
def test_each_half_has_every_kind_in_both_languages(half):
    """At least 2,000 pairs, no template in both halves, no attack among the paraphrases."""
    pairs, other = templated(half), templated("test" if half == "tuning" else "tuning")
    assert len(pairs) >= 2000
    kinds = Counter((pair.language, pair.kind) for pair in pairs)
    assert set(kinds) == {(a, b) for a in ("en", "tr") for b in ("paraphrase", "reversal", "number", "negation", "entity")}
    assert not {pair.cluster for pair in pairs} & {pair.cluster for pair in other}
    assert not {pair.known for pair in pairs} & {pair.known for pair in other}
    means = {frozenset((pair.known, pair.asked)) for pair in pairs if not pair.is_attack}
    assert not means & {frozenset((pair.known, pair.asked)) for pair in pairs if pair.is_attack}
    assert not [pair for pair in pairs if "{" in pair.known + pair.asked]


def test_no_attack_is_the_same_to_the_rule():
    """The whole set at once, without a model: the embedding model can only take hits away."""
    attacks = [pair for pairs in (templated("tuning"), templated("test"), near()) for pair in pairs if pair.is_attack]
    assert len(attacks) > 20_000
    assert [pair for pair in attacks if same(pair.known, pair.asked)] == []


def test_enough_paraphrases_were_written_by_hand():
    """Both languages, each pair once, none a mere repetition."""
    pairs = written()
    assert len(pairs) >= 200
    assert min(Counter(pair.language for pair in pairs).values()) >= 100
    assert len({pair.known for pair in pairs}) == len(pairs)


def test_measuring_shows_false_hits_and_misses(capsys):
    """A ruler that always says zero measures nothing: one attack here is none, and one paraphrase is."""
    embed = EmbedModel(Scripted(alike, name="e"))
    pairs = [
        Pair(cluster="a", language="en", kind="entity", known="How do I open it?", asked="how can I open it"),
        Pair(cluster="b", language="en", kind="entity", known="How do I open it?", asked="How do I close it?"),
        Pair(cluster="c", language="en", kind="paraphrase", known="How do I open it?", asked="How do I close it?"),
    ]
    asked = semantic._asked(pairs, embed, 0.9)
    assert [likeness is not None for _, likeness in asked] == [True, False, False]
    assert semantic._report(asked, show=True) == (0.5, 0.0)
    printed = capsys.readouterr().out
    assert "FALSE HIT (entity): How do I open it? | how can I open it" in printed
    assert "missed (paraphrase): How do I open it? | How do I close it?" in printed


def test_the_threshold_keeps_nearly_all():
    """The highest in steps of 0.005 that keeps 95 of 100."""
    assert semantic._threshold([0.9] * 5 + [0.957] * 95) == pytest.approx(0.955)
    assert semantic._threshold([0.9] * 6 + [0.957] * 94) == pytest.approx(0.9)


def test_nothing_hit_is_not_nothing_possible():
    """Wilson, 1927: none of 1,000 is compatible with 0.4 %."""
    assert semantic.wilson(0, 1000).high == pytest.approx(0.00383, abs=1e-5)
    interval = semantic.wilson(10, 100)
    assert (interval.low, interval.high) == (pytest.approx(0.0552, abs=1e-4), pytest.approx(0.1744, abs=1e-4))


def test_a_false_hit_fails_the_command(monkeypatch, capsys):
    """The exit code is what a pipeline reads."""
    good = [Pair(cluster="a", language="en", kind="paraphrase", known="How do I open it?", asked="how can I open it")]
    bad = [Pair(cluster="b", language="en", kind="entity", known="How do I open it?", asked="how can I open it")]
    args = Namespace(model="local:multilingual-e5-small", threshold=0.9, data=None, alone=False, show=False)
    monkeypatch.setattr(semantic, "EmbedModel", lambda *_, **__: EmbedModel(Scripted(alike, name="e")))
    monkeypatch.setattr(semantic, "written", list)
    monkeypatch.setattr(semantic, "templated", lambda _: good)
    monkeypatch.setattr(semantic, "near", list)
    assert semantic.main(args) == 0
    monkeypatch.setattr(semantic, "near", lambda: bad)
    assert semantic.main(args) == 1
    monkeypatch.setattr(semantic, "near", list)
    monkeypatch.setattr(semantic, "templated", lambda _: good + bad)
    assert semantic.main(args) == 1
    assert "NOT held" in capsys.readouterr().out
