"""From a brief to three texts; checks by hand-counted figures; pictures within the budget."""

from __future__ import annotations

import sys
from decimal import Decimal

import msgspec
import pytest

from apps import seo
from apps.content import Brief, ContentSet, Pictures, compose, main, write
from surefoot.errors import BudgetExceeded, Misconfigured

BRIEF = Brief(
    topic="Cold brew at home",
    keyword="cold brew",
    points=("Grind the beans coarsely.", "Leave cold brew in the fridge for a night.", "Drink it within a week."),
    link="https://example.com/shop",
)
GOOD = ContentSet(
    title="Cold brew at home in three simple steps",
    body="## How to\n\n" + "Take good beans and cool water tonight. " * 12 + "Cold brew is easy.\n\n[Our shop](https://example.com/shop)\n",
    post="Cold brew tonight.",
    email_subject="Cold brew",
    email_body="Hello",
    image="a glass",
)


def test_templates_say_the_brief_and_no_more(offline):
    """Offline: every point, the link, a post that fits; the checks pass in both languages."""
    turkish = Brief(
        topic="Evde soğuk demleme", keyword="soğuk demleme", points=("Çekirdekleri iri öğütün.", "Bir gece bekletin."),
        link="https://example.com/", language="tr",
    )  # fmt: skip
    for brief in (BRIEF, turkish):
        content, checks = write(brief, offline)
        assert all(point in content.body and point in content.email_body for point in brief.points)
        assert brief.link in content.body
        assert len(content.post) <= 280
        assert {one.name: one.is_good for one in checks}["title"]
    long = msgspec.structs.replace(BRIEF, points=("word " * 100,))
    assert len(compose(long).post) <= 280


def test_a_model_mends_its_draft_once_and_the_better_one_stays(sim, online):
    """Failed checks go back by name; a second draft that is worse is not taken."""
    bad = msgspec.structs.replace(GOOD, title="Brew", body="No heading.", post="word " * 90)
    sim.script([msgspec.json.encode(one).decode() for one in (bad, GOOD)])
    content, checks = write(BRIEF, online)
    assert content == GOOD
    assert all(one.is_good for one in checks), checks
    asked = sim.requests[-1].json["messages"][-1]["content"]
    assert "title: 4 characters; put the keyword 'cold brew' in" in asked
    nearly = msgspec.structs.replace(GOOD, title="Brew")
    sim.script([msgspec.json.encode(one).decode() for one in (nearly, bad)])
    assert write(BRIEF, online)[0] == nearly
    sim.script([msgspec.json.encode(GOOD).decode()])
    before = len(sim.requests)
    write(BRIEF, online)
    assert len(sim.requests) == before + 1  # nothing to mend, nothing asked


def test_density_and_readability_are_those_of_the_formulas():
    """By hand: 2 of 8 words; Flesch and Ateşman of one sentence."""
    assert seo.keyword_density("Cold brew is cold. Brew it slowly tonight.", "cold brew") == pytest.approx(100 * 4 / 8)
    assert seo.keyword_density("Soğuk demlemenin tadı", "soğuk demleme") == pytest.approx(100 * 2 / 3)
    assert seo.reading_ease("The cat sat on the mat.", "en") == (pytest.approx(206.835 - 84.6 * 1 - 1.015 * 6), 6)
    assert seo.reading_ease("Kedi paspasın üstünde oturdu.", "tr") == (pytest.approx(198.825 - 40.175 * 11 / 4 - 2.61 * 4), 4)
    assert [seo.syllables(one) for one in ("make", "table", "the", "reading", "rhythm")] == [1, 2, 1, 2, 1]


@pytest.mark.parametrize(
    ("look", "good", "bad"),
    [
        (lambda title: seo.check_title(title, "tea"), "How to make tea that is not bitter", "Tea"),
        (lambda title: seo.check_title(title, "tea"), "Tea for everybody, hot or cold", "What nobody ever told you about beans"),
        (seo.check_headings, "## One\n\ntext\n\n### Two\n", "# One\n\ntext"),
        (seo.check_headings, "## One\n```\n# a comment\n```\n", "## One\n#### Four\n"),
        (seo.check_headings, "## One\n" + "word " * 500, "## One\n" + "word " * 900),
        (lambda body: seo.check_keyword(body, "tea"), "tea " + "word " * 99, "tea " * 50 + "word " * 50),
        (lambda body: seo.check_readability(body, "en"), "We like tea. It is hot.", "Organisational considerations necessitate " * 12),
        (seo.check_links, "[our shop](https://example.com)", "[here](https://example.com)"),
        (seo.check_links, "[more](/tea)", "[more](http://example.com)"),
        (seo.check_links, "[more](/tea)", "![a picture](https://example.com/x.png)"),
    ],
)
def test_each_check_tells_good_from_bad(look, good, bad):
    """Both sides of every bound."""
    assert (look(good).is_good, look(bad).is_good) == (True, False), (look(good), look(bad))


def test_pictures_stop_at_the_budget():
    """Three of 0.1 fit 0.3 exactly; a fourth is never asked for; one that failed is counted."""
    made = []
    pictures = Pictures(lambda what: made.append(what) or f"{what}.png", price_usd=0.1, budget_usd=0.3)
    assert [pictures.make(one) for one in "abc"] == ["a.png", "b.png", "c.png"]
    with pytest.raises(BudgetExceeded, match=r"\$0.1, and \$0.0 of the budget"):
        pictures.make("d")
    assert made == ["a", "b", "c"]
    failing = Pictures(lambda _: 1 / 0, price_usd="0.2", budget_usd="0.3")
    with pytest.raises(ZeroDivisionError):
        failing.make("a")
    assert failing.left_usd == Decimal("0.1")
    for wrong in ("nan", "-1", "inf", "free", True):
        with pytest.raises(Misconfigured, match="no amount"):
            Pictures(str, price_usd=wrong, budget_usd=1)


def test_the_command_says_who_writes_and_what_a_picture_would_cost(keyless, monkeypatch, capsys):
    """Offline, with a function of the user's."""
    (keyless / "my_pictures.py").write_text("def make(what):\n    return 'saved/' + what[:9]\n")
    monkeypatch.syspath_prepend(str(keyless))
    words = ["--topic", "Cold brew at home", "--keyword", "cold brew", "--point", "Grind coarsely.", "--image", "my_pictures:make"]
    assert main([*words, "--image-price", "0.04", "--image-budget", "0.04"]) == 0
    out, err = capsys.readouterr()
    assert "composed from templates, without a model" in err
    assert "picture: saved/Cold brew" in out
    assert "mend links: none" in out
    assert main([*words, "--image-price", "0.04"]) == 0
    assert "no picture: a picture costs $0.04, and $0 of the budget are left" in capsys.readouterr().out
    sys.modules.pop("my_pictures")
