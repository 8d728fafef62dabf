"""The reference pipeline, end to end, with the real store, the real embedding model and the real reader; once a framework."""

from __future__ import annotations

from pathlib import Path

import pytest

from surefoot import ChatModel, EmbedModel, Policy, Target
from surefoot.errors import Misconfigured
from surefoot.testing.wire import OK, OpenAISim, fault
from surefoot_rag import demo
from surefoot_rag.__main__ import main
from surefoot_rag.demo import SAMPLE, is_right, questions
from surefoot_rag.documents import corpus
from surefoot_rag.frameworks import CHAT, EMBED, MODULES, framework
from surefoot_rag.retrieval.library import Library
from tests.pipelines.conftest import scripted_embed

FRAMEWORKS = sorted(MODULES)

ENGLISH = """# Quarry Lane allotments

The allotment gate is locked every evening at 19:45. Plot holders borrow a key from Maud Pettigrew, who lives in the yellow house.

Water is turned off from the first of November until the middle of March, because the pipes freeze.
"""
TURKISH = """Yelkenli kiralama kuralları

Günlük kira bedeli 1.450 liradır ve dönüşte ödenir. Tekneler en geç saat 18.30'da iskeleye getirilmelidir.

Depozito olarak 3.000 lira alınır; hasar yoksa aynı gün geri verilir. Kaptan belgesi olmayanlara tekne verilmez.
"""
PDF_LINES = (
    "Lantern festival handbook",
    "The lantern parade begins at the old mill and ends at the ferry landing.",
    "Each lantern carries two candles.",
)


def pdf(lines: tuple[str, ...]) -> bytes:
    """One page of text, written by hand: no tool to make it is needed."""
    text = "BT /F1 12 Tf 50 780 Td 16 TL " + " ".join(f"({line}) Tj T*" for line in lines) + " ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text.encode("latin-1")),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % start


@pytest.fixture(scope="module")
def unseen(tmp_path_factory):
    """A folder nobody has seen: English, Turkish, a PDF."""
    folder = tmp_path_factory.mktemp("unseen")
    (folder / "allotments.md").write_text(ENGLISH, encoding="utf-8")
    (folder / "yelken.txt").write_text(TURKISH, encoding="utf-8")
    (folder / "festival.pdf").write_bytes(pdf(PDF_LINES))
    return folder


@pytest.fixture(scope="module")
def embed():
    """The offline embedding model; what was embedded once is not embedded again."""
    return EmbedModel(EMBED, cache="memory")


@pytest.fixture(scope="module", params=FRAMEWORKS)
def opened(request, unseen, embed, tmp_path_factory):
    """The unseen folder's index, opened through one framework."""
    library = Library(tmp_path_factory.mktemp("index"), framework=request.param, embed=embed, create=True)
    module = framework(request.param)
    module.index(library, corpus.load(unseen), progress=False)
    return library, module


@pytest.mark.parametrize(
    ("question", "document", "word"),
    [
        ("When is the allotment gate locked?", "allotments.md", "19:45"),
        ("Who lends the key to plot holders?", "allotments.md", "Maud Pettigrew"),
        ("Günlük kira bedeli ne kadar?", "yelken.txt", "1.450"),
        ("Tekneler en geç saat kaçta getirilmelidir?", "yelken.txt", "18.30"),
        ("Where does the lantern parade begin?", "festival.pdf", "old mill"),
    ],
)
def test_a_question_is_answered_from_the_document_that_holds_it_and_cites_it(opened, question, document, word):
    """Three files never seen before, one Turkish, one PDF."""
    library, module = opened
    answer = module.answer(library, question, ChatModel(CHAT))
    assert not answer.refused
    assert word in answer.text
    assert document in {cited.document_id for cited in answer.citations}
    for cited in answer.citations:
        passage = library.passages[cited.passage_id]
        assert passage.text[cited.start - passage.start : cited.end - passage.start] == cited.text


@pytest.mark.parametrize(
    "question", ["How high is Mount Everest?", "Türkiye'nin nüfusu kaçtır?", "What is the wifi password of the library?"]
)
def test_a_question_that_none_answers_is_refused(opened, question):
    """Plainly, without a citation."""
    library, module = opened
    answer = module.answer(library, question, ChatModel(CHAT))
    assert answer.refused
    assert answer.citations == ()


def test_an_unchanged_folder_costs_nothing_and_a_deleted_file_disappears(opened, unseen, tmp_path):
    """Indexing again is what everybody does every night."""
    library, module = opened
    heard = []
    end = library.embed.subscribe(heard.append, inline=True)
    assert module.index(library, corpus.load(unseen), progress=False)[:2] == (0, 0)
    assert heard == []
    for name in ("allotments.md", "festival.pdf"):
        (tmp_path / name).write_bytes((unseen / name).read_bytes())
    added, removed, _ = module.index(library, corpus.load(tmp_path), progress=False)
    assert (added, removed > 0) == (0, True)
    assert {one.document_id for one in library.passages.values()} == {"allotments.md", "festival.pdf"}
    module.index(library, corpus.load(unseen), progress=False)
    end()


def test_a_provider_that_fails_twice_gets_exactly_three_calls(opened):
    """One retry owner, through either framework."""
    library, module = opened
    with OpenAISim() as sim:
        sim.script([fault("status_503"), fault("status_503"), OK])
        chat = ChatModel(Target("openai:m", base_url=f"{sim.url}/v1", api_key="k"), policy=Policy(backoff_base_s=0.001))
        answer = module.answer(library, "When is the allotment gate locked?", chat)
        assert len(sim.requests) == 3
        assert answer.attempts == 3


def test_an_index_of_another_space_is_refused(opened):
    """Same length is not same meaning."""
    from surefoot.testing import Scripted
    from surefoot.types import Traits

    library, _ = opened
    other = EmbedModel(Scripted("x", traits=Traits(space="another/384")))
    with pytest.raises(Misconfigured, match="another/384"):
        Library(library.path, framework=library.framework, embed=other)


def test_both_frameworks_say_the_same_to_every_question(tmp_path):
    """From the same passages, with the same spans; vectors that cost nothing, since no figure is taken here."""
    embed, chat = scripted_embed()[1], ChatModel(CHAT)
    said = {}
    for name in ("langchain", "llamaindex"):
        library = Library(tmp_path / name, framework=name, embed=embed, create=True)
        module = framework(name)
        module.index(library, corpus.load(SAMPLE / "docs"), progress=False)
        said[name] = {one.id: module.answer(library, one.question, chat) for one in questions()}
    assert len(said["langchain"]) == 74
    assert sum(not one.refused for one in said["langchain"].values()) > 20
    for key, one in said["langchain"].items():
        other = said["llamaindex"][key]
        assert (one.text, one.refused, one.citations) == (other.text, other.refused, other.citations), key
        assert [(it.id, it.start, it.end) for it in one.passages] == [(it.id, it.start, it.end) for it in other.passages], key


def test_the_sample_corpus_is_answered_rightly_for_most_questions(embed, tmp_path):
    """What `make demo` shows, over every question: most are right in either language."""
    library = Library(tmp_path, framework="langchain", embed=embed, create=True)
    module = framework("langchain")
    module.index(library, corpus.load(SAMPLE / "docs"), progress=False)
    chat = ChatModel(CHAT)
    for language in ("en", "tr"):
        asked = [one for one in questions() if one.language == language and not one.cross_lingual]
        right = sum(is_right(module.answer(library, one.question, chat), one) for one in asked)
        print(f"sample, {language}: {right} of {len(asked)} right")
        assert right >= 0.6 * len(asked)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ask", "Why?", "--index", "NOWHERE"], ["no index in", "python -m surefoot_rag index"]),
        (["index", "--docs", "EMPTY", "--index", "NOWHERE"], ["EMPTY"]),
        (["index", "--docs", "MISSING", "--index", "NOWHERE"], ["MISSING"]),
        (["index", "--docs", "BROKEN", "--index", "NOWHERE"], ["broken.pdf"]),
        (["ask", "Why?", "--config", "MISSING.toml"], ["cannot be read"]),
        (["ask", "  "], ["question is empty"]),
        (["ask", "Why?", "--where", "language"], ["--where language", "FIELD=VALUE"]),
    ],
)
def test_bad_input_is_one_clear_line(arguments, words, tmp_path, monkeypatch, capsys):
    """Naming the remedy, before anything is sent."""
    monkeypatch.chdir(tmp_path)
    Path("EMPTY").mkdir()
    Path("BROKEN").mkdir()
    Path("BROKEN/broken.pdf").write_bytes(b"%PDF-1.4 nothing follows")
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1  # no traceback, and nothing muttered by the libraries underneath
    for word in words:
        assert word in error


def test_a_missing_extra_is_named_with_the_command_that_installs_it(monkeypatch, capsys):
    """A clone with the core alone is where a newcomer starts."""
    monkeypatch.setattr("surefoot_rag.frameworks.NEEDS", ("no_such_store",))
    assert main(["ask", "Why?"]) == 1
    error = capsys.readouterr().err
    assert "no_such_store" in error
    assert "surefoot[rag]" in error


def test_a_model_that_refuses_is_told_loudly_and_not_hidden_behind_the_reader(monkeypatch, capsys):
    """A wrong key: every answer came from the reader behind it, and looked like the model's."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-CANARY")
    with OpenAISim(expected_key="sk-another") as sim:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{sim.url}/v1")
        chat, who = demo._chat(None)
        assert chat.targets == ("local:extractive",)
        assert "openai:gpt-5-mini refuses" in who
        out = capsys.readouterr().out
        assert "!! openai:gpt-5-mini was found, and refuses:" in out
        assert "surefoot doctor" in out
        assert "CANARY" not in out
    with OpenAISim() as sim:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{sim.url}/v1")
        chat, who = demo._chat(None)
        assert chat.targets == ("openai:gpt-5-mini", "local:extractive")
        assert "OPENAI_API_KEY stands in the environment" in who
        assert "!!" not in capsys.readouterr().out
