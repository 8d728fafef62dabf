"""Questions made from documents: by rule and by a model, sieved, looked through by a person, and asked by a suite."""

from __future__ import annotations

import csv
import json
import re

import pytest

from surefoot import ChatModel, Target
from surefoot.errors import Misconfigured
from surefoot.testing.wire import OpenAISim
from surefoot_eval.__main__ import main
from surefoot_eval.generate.candidates import Candidate, Material
from surefoot_eval.generate.names import inflected
from surefoot_eval.generate.near_misses import NearMisses
from surefoot_eval.generate.rules import questions
from surefoot_eval.generate.sieve import sieve
from surefoot_eval.generate.written import confirmed, written
from surefoot_eval.run.results import read
from surefoot_rag.records import Document

TEXTS = {
    "en/harbour.txt": "The harbour office opens at 08:15 in the morning. It is closed in winter. "
    "Kestrel Freight keeps papers of all ships for 45 days. "
    "The rules of the harbour were signed by Ines Okafor in Rotterdam.",
    "en/museum.txt": "The maritime museum of Antwerp was founded in 1902 by a shipowner. "
    "The museum and Lodos Cargo own 31 ships of oak and pine. "
    "The ships of the museum were built in Rotterdam.",
    "tr/liman.txt": "Liman ofisi 1998 yılında Bursa'da kuruldu ve o günden beri açıktır. Ofiste her gün 12 kişi nöbet tutar ve çay içer. "
    "Nöbet saat 08.30'da başlar ve akşama dek sürer. Geçen yıl gemilerin yüzde 40'ı Lodos Kargo'nun malıydı.",
}  # fmt: skip


def document(key, text):
    return Document(id=key, title=key, text=text, source=key, language=key[:2])


def material():
    return Material([document(key, text) for key, text in TEXTS.items()])


def folder(tmp_path):
    for key, text in TEXTS.items():
        file = tmp_path / "documents" / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    (tmp_path / "documents/torn.pdf").write_bytes(b"%PDF-1.4 torn")
    return tmp_path / "documents"


def rows(file):
    with file.open(encoding="utf-8-sig", newline="") as lines:
        return list(csv.DictReader(lines))


def mark(file, marks):
    """Write `marks` into the column keep, as a person would."""
    table = rows(file)
    for row, said in zip(table, marks, strict=True):
        row["keep"] = said
    with file.open("w", encoding="utf-8-sig", newline="") as lines:
        writer = csv.DictWriter(lines, table[0])
        writer.writeheader()
        writer.writerows(table)


def test_rules_ask_for_numbers_years_and_names_in_both_languages():
    """Where the answer stood there is a question word; the gold is the sentence. What points at something unsaid is not asked."""
    found = {(one.question, one.answer) for key, text in TEXTS.items() for one in questions(document(key, text))}
    assert {
        ("The harbour office opens at what time in the morning?", "08:15"),
        ("Kestrel Freight keeps papers of all ships for how many days?", "45"),
        ("Who or what keeps papers of all ships for 45 days?", "Kestrel Freight"),
        ("The maritime museum of Antwerp was founded in which year by a shipowner?", "1902"),
        ("What is left out here: \u201cThe rules of the harbour were signed by ____ in Rotterdam\u201d?", "Ines Okafor"),
        ("Liman ofisi hangi yılda Bursa'da kuruldu ve o günden beri açıktır?", "1998"),
        ("Ofiste her gün kaç kişi nöbet tutar ve çay içer?", "12"),
        ("Nöbet saat kaçta başlar ve akşama dek sürer?", "08.30"),
        ("Geçen yıl gemilerin yüzde kaçı Lodos Kargo'nun malıydı?", "40"),
    } <= found
    assert not any("winter" in question for question, _ in found)
    for key, text in TEXTS.items():
        assert all(text[one.start : one.end] == one.quote and one.answer in one.quote for one in questions(document(key, text)))


@pytest.mark.parametrize(
    "text",
    [
        "| port | 7410 | of the gateway that all calls pass | 12 times |",
        "## How the gateway was set up in 1998 by three people",
        "They opened the gateway for 12 people in 1998 together.",
        "Read more of it at https://example.com/12 people in all languages.",
        "Chapters 9 and 10 of this handbook are about nothing at all.",
    ],
)
def test_rules_make_nothing_of_what_is_no_sentence_by_itself(text):
    """Tables, headings, addresses, pronouns and lists of numbers."""
    assert not [one for one in questions(document("en/x.txt", text)) if one.answer[:1].isdigit()]


def test_the_sieve_keeps_what_words_find_but_not_at_a_glance():
    """Too vague, too easy, given away, and asked twice: each is counted under its reason."""
    common = "The crane lifts heavy boxes at the quay every day."
    texts = [f"{common} Crane {name} was painted {colour}." for name, colour in (("one", "red"), ("two", "green"), ("three", "blue"))]
    texts += [f"Nothing is said of anything here, number {at}." for at in range(30)]
    here = Material([document(f"en/{at:02}.txt", text) for at, text in enumerate(texts)])

    def asked(number, question, answer="red", quote=""):
        key = f"en/{number:02}.txt"
        quote = quote or texts[number]
        at = texts[number].index(quote)
        return Candidate(
            id=question,
            kind="rule",
            language="en",
            question=question,
            answer=answer,
            document=key,
            quote=quote,
            start=at,
            end=at + len(quote),
        )

    found = sieve(
        [
            asked(0, "Which colour has the first crane at the quay?"),
            asked(0, "which colour has the first crane at the quay"),
            asked(5, "Which colour has the first crane at the quay now?"),
            asked(1, "What was painted in the light of crane two, painted green at last?", answer="crane"),
            asked(2, "blue three?", answer="painted"),
        ],
        here,
        margin=1.5,
    )
    assert [one.question for one in found.kept] == ["Which colour has the first crane at the quay?"]
    assert 1 <= found.kept[0].rank <= 3
    assert sorted(found.dropped.items()) == [
        ("BM25 does not find it among 20 passages", 1),
        ("BM25 finds it at once, 1.5 times ahead of all others", 1),
        ("asked twice", 1),
        ("the answer stands in the question", 1),
    ]


def test_near_misses_put_in_what_no_document_says():
    """Names, dates and numbers; what some document says with half of the other words is not taken."""
    texts = {
        "en/a.txt": "The gateway of Kestrel Freight listens on port 7410. On 14 March it was closed.",
        "en/b.txt": "In town the gateway of Marlowe Clinic listens on port 9000.",
        "en/c.txt": "The canteen of Lodos Cargo is open at noon.",
    }
    here = Material([document(key, text) for key, text in texts.items()])

    def asked(question, key="en/a.txt"):
        return Candidate(id="q", kind="rule", language="en", question=question, document=key)

    makes = NearMisses(here)
    one, two = makes.of([asked("Which port does the gateway of Kestrel Freight listen on?"), asked("What was closed on 14 March?")])
    assert one.question == "Which port does the gateway of Lodos Cargo listen on?"
    assert makes.is_answered("Which port does the gateway of Marlowe Clinic listen on?", "Marlowe Clinic", "en")
    assert not makes.is_answered("Who founded the Marlowe Clinic in Bremen?", "Marlowe Clinic", "en")
    assert re.fullmatch(r"What was closed on 14 (?!March)[A-Z]\w+\?|What was closed on (?!14)\d+ March\?", two.question)
    assert (one.kind, one.quote, one.document) == ("near-miss", "", "")


@pytest.mark.parametrize(
    ("name", "suffix", "want"),
    [("Bursa", "in", "nın"), ("Kestrel", "nın", "in"), ("Körfez", "da", "de"), ("Tokat", "de", "ta"), ("Martı", "e", "ya"),
     ("Orhan Bilge", "dan", "den"), ("Kerem", "u", "i"), ("Uşak", "dir", "tır"), ("Bursa", "mız", "mız")],
)  # fmt: skip
def test_turkish_suffixes_follow_the_name_that_is_put_in(name, suffix, want):
    """Vowel harmony, buffer letters, hard consonants."""
    assert inflected(name, suffix) == want


@pytest.mark.parametrize("kind", ["plain", "marked by Excel in Turkish"])
def test_a_person_looks_through_them_and_a_suite_asks_what_is_kept(tmp_path, capsys, kind):
    """From a folder with a torn file to a run, with no key: generate, marks in the table, review, run."""
    docs, table, asked = folder(tmp_path), tmp_path / "review.csv", tmp_path / "made.jsonl"
    assert main(["generate", str(docs), "--out", str(table), "--margin", "1000", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["questions"] >= 8
    assert told["near_misses"] >= 2
    found = rows(table)
    assert {"near-miss", "rule"} == {row["kind"] for row in found}
    assert {"en", "tr"} == {row["language"] for row in found}
    mark(table, ["no", *["YES"] * (len(found) - 1)])
    if kind != "plain":
        with table.open(encoding="utf-8-sig", newline="") as lines:
            held = list(csv.reader(lines))
        with table.open("w", encoding="utf-8-sig", newline="") as lines:
            csv.writer(lines, delimiter=";").writerows(held)
    assert main(["review", str(table), "--docs", str(docs), "--out", str(asked), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == len(found) - 1
    suite = tmp_path / "made.toml"
    suite.write_text(
        'name = "made"\nkind = "rag"\nmetrics = ["right", "refusal", "R@3"]\n[data]\npath = "documents"\nfile = "made.jsonl"\n'
        '[[system]]\nname = "lexical"\nframework = "lexical"\nk = 3\n',
        encoding="utf-8",
    )
    assert main(["run", str(suite), "--out", str(tmp_path / "out")]) == 0
    got = read(tmp_path / "out").systems["lexical"].summaries
    assert got["R@3"].mean > 0.8
    assert got["right"].measured == len(found) - 1


def test_marks_and_changes_are_checked_with_their_line(tmp_path):
    """Nobody decided, a mark nobody knows, a quote that stands nowhere; a cell that would run in a program for tables."""
    docs, table = folder(tmp_path), tmp_path / "review.csv"
    assert main(["generate", str(docs), "--out", str(table), "--margin", "1000", "--kinds", "questions"]) == 0
    found = rows(table)
    out = ["--docs", str(docs), "--out", str(tmp_path / "q.jsonl")]

    def refused(capsys_marks, *more):
        mark(table, capsys_marks)
        from surefoot_eval.__main__ import main as run

        return run(["review", str(table), *out, *more])

    count = len(found)
    assert refused(["yes", *[""] * (count - 1)]) == 2
    assert refused(["yes", *[""] * (count - 1)], "--undecided", "drop") == 0
    assert len((tmp_path / "q.jsonl").read_text("utf-8").splitlines()) == 1
    assert refused(["perhaps", *["yes"] * (count - 1)]) == 2
    assert refused(["no"] * count) == 2
    table.write_text(table.read_text("utf-8").replace(found[0]["quote"], "Nobody wrote this."), "utf-8")
    assert refused(["yes"] * count) == 2


def test_wishes_that_cannot_be_met_are_refused_first(tmp_path):
    """A table among the documents would be a document; nothing is written."""
    docs = folder(tmp_path)
    for words in (["--out", str(docs / "r.csv")], ["--out", "r.csv", "--kinds", "riddles"], ["--out", "r.csv", "--margin", "0.5"]):
        assert main(["generate", str(docs), *words]) == 2
    assert not list(docs.glob("*.csv"))


def test_near_misses_of_questions_that_are_there_cost_no_others(tmp_path, capsys):
    """Nothing is made by rule, nor asked of a model, only to be thrown away; what nothing answers is left alone."""
    docs, asked = folder(tmp_path), tmp_path / "questions.jsonl"
    lines = [
        {"id": "a", "question": "In which year was the maritime museum of Antwerp founded?", "language": "en",
         "gold": [{"document_id": "en/museum.txt", "text": "founded in 1902"}]},
        {"id": "b", "question": "What does the maritime museum of Antwerp cost?", "language": "en", "answerable": False},
    ]  # fmt: skip
    asked.write_text("\n".join(json.dumps(one) for one in lines), encoding="utf-8")
    table = tmp_path / "near.csv"
    command = ["generate", str(docs), "--out", str(table), "--kinds", "near-misses", "--questions", str(asked), "--json"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["made"], told["questions"], told["near_misses"]) == (0, 0, 1)
    assert "Antwerp" not in rows(table)[0]["question"]


def test_a_formula_in_a_cell_does_not_run_and_comes_back_as_it_was(tmp_path):
    """`=HYPERLINK(...)` in a document reaches the person's program as text."""
    from surefoot_eval.generate import review

    one = Candidate(id="a", kind="near-miss", language="en", question="=cmd('x') is what?", note="-1 -> 2")
    review.write([one], tmp_path / "r.csv")
    assert rows(tmp_path / "r.csv")[0]["question"].startswith("'=")
    mark(tmp_path / "r.csv", ["yes"])
    assert main(["review", str(tmp_path / "r.csv"), "--docs", str(folder(tmp_path)), "--out", str(tmp_path / "q.jsonl")]) == 0
    assert json.loads((tmp_path / "q.jsonl").read_text("utf-8"))["question"] == "=cmd('x') is what?"


def test_a_models_questions_must_quote_their_passage(tmp_path):
    """What it invents, or answers otherwise than its quote says, is thrown out and counted; a model that does not follow is refused."""
    lines = [
        {
            "question": "When does the office at the harbour open?",
            "answer": "08:15",
            "quote": "The harbour office opens at 08:15 in the morning.",
        },
        {"question": "When does it close?", "answer": "18:00", "quote": "The harbour office closes at 18:00."},
        {"question": "How long are papers kept?", "answer": "60 days", "quote": "Kestrel Freight keeps papers of all ships for 45 days."},
    ]
    text = TEXTS["en/harbour.txt"] + " It is a long text, so that something may be asked about it, and nothing else stands here at all."
    here = Material([document("en/harbour.txt", text)])
    said = "<think>hm</think>\n" + "\n".join(json.dumps(one) for one in lines) + "\n{torn"
    with OpenAISim(answer=said) as sim:
        chat = ChatModel(Target("openai:gpt-5-mini", base_url=sim.url, api_key="sk-loopback"))
        found, dropped = written(chat, here, count=4)
        assert "keeps papers of all ships" in json.loads(sim.requests[0].body)["messages"][1]["content"]
    assert [(one.question, text[one.start : one.end]) for one in found] == [(lines[0]["question"], lines[0]["quote"])]
    assert dropped == {
        "the quote does not stand in the passage, or several times": 1,
        "the quote does not say the answer": 1,
        "a line is no JSON of question, answer and quote": 1,
    }
    miss = Candidate(id="m", kind="near-miss", language="en", question="When does the museum office open?")
    for answer, kept in (("NO", 1), ("Yes.", 0), ("I cannot tell", 0)):
        with OpenAISim(answer=answer) as sim:
            chat = ChatModel(Target("openai:gpt-5-mini", base_url=sim.url, api_key="sk-loopback"))
            assert len(confirmed(chat, [miss], here)) == kept
    with OpenAISim(answer="Here are some questions!") as sim:
        chat = ChatModel(Target("openai:gpt-5-mini", base_url=sim.url, api_key="sk-loopback"))
        with pytest.raises(Misconfigured, match="wrote no question that can be used"):
            written(chat, here, count=4)
