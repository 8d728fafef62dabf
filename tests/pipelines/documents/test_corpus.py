"""Files become documents, documents become passages; every span points where it says."""

from __future__ import annotations

import hashlib
import io
import re
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pypdf import PdfWriter

from surefoot.errors import Misconfigured
from surefoot_rag.answers.prompting import place
from surefoot_rag.documents.corpus import Outline, find, load, passages, read
from surefoot_rag.documents.folder import listed
from surefoot_rag.documents.language import language_of
from surefoot_rag.documents.pdf_text import unwrap, unwrapped
from surefoot_rag.documents.readers import READERS, UnreadableDocument, headings_of
from surefoot_rag.documents.sentences import sentence_spans
from surefoot_rag.records import Document

TURKISH = "Işıklar söndüğünde günlükleri açın; çağrı yedeğe geçer, müşteri bunu fark etmez. Nöbet pazartesi günü değişir."
ENGLISH = "When the lights go out, open the logs: the call goes to the fallback and nobody notices. The café closes at nine."
SAMPLE = Path(__file__).parents[3] / "pipelines/surefoot_rag/sample" / "docs"


def folder(root: Path, **files: bytes | str) -> Path:
    """Write files; `__` in a name stands for a slash and `_` before the last word for a dot."""
    for name, content in files.items():
        stem, _, kind = name.replace("__", "/").rpartition("_")
        path = root / f"{stem}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def document(text: str, kind: str = "markdown") -> Document:
    return Document(id="a/b.md", title="T", text=text, source="a/b.md", language="en", metadata={"type": kind}, headings=headings_of(text))


def pdf(*, pages: int = 1, password: str | None = None) -> bytes:
    writer, out = PdfWriter(), io.BytesIO()
    for _ in range(pages):
        writer.add_blank_page(width=300, height=300)
    if password is not None:
        writer.encrypt(password, algorithm="RC4-128")
    writer.write(out)
    return out.getvalue()


def test_documents_are_named_by_their_path_from_the_folder(tmp_path):
    """Two files of one name in two folders must stay apart, on every operating system."""
    docs = load(folder(tmp_path, b__read_md="# Second", a__read_md="# First", a__notes_txt="plain words"))
    assert [(each.id, each.title) for each in docs] == [("a/notes.txt", "notes"), ("a/read.md", "First"), ("b/read.md", "Second")]
    assert all(each.source == each.id for each in docs)


def test_one_file_may_be_loaded_by_itself(tmp_path):
    """Trying one document should not take a folder."""
    folder(tmp_path, one_md="# One", two_md="# Two")
    assert [each.id for each in load(tmp_path / "one.md")] == ["one.md"]


def test_unknown_types_are_listed_not_swallowed(tmp_path):
    """Whoever wonders why a spreadsheet is never cited finds it named; dotfiles are nobody's documents."""
    docs = load(folder(tmp_path, a_md="# A", b_png=b"\x00\x01", _git__config_md="# no"))
    (tmp_path / ".hidden.md").write_text("# no")
    assert [each.source for each in docs.skipped] == ["b.png"]
    assert ".png" in docs.skipped[0].reason
    assert ".md" in listed(docs.skipped, known=READERS)
    assert "hidden" not in str(find(tmp_path))


@pytest.mark.parametrize("make", [lambda _: None, lambda root: root.mkdir(), lambda root: folder(root, a_zip="x,y")])
def test_nothing_to_read_is_said_at_once(tmp_path, make):
    """A missing folder, an empty one and one without documents fail before anything is embedded."""
    root = tmp_path / "docs"
    make(root)
    with pytest.raises(Misconfigured, match="docs: no "):
        load(root)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("scan_pdf", pdf(pages=2), "2 page.s. hold no text.*OCR"),
        ("locked_pdf", pdf(password="secret"), "password"),
        ("torn_pdf", b"%PDF-1.7\nthis is no PDF", "not a sound PDF"),
        ("empty_md", b"  \n", "holds no text"),
        ("menu_html", b"<nav>Home</nav><script>x()</script>", "holds no text"),
        ("image_txt", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x01", "binary"),
        ("russian_txt", "Привет, мир! Это обычный текст на русском языке.".encode("cp1251"), "save it as UTF-8"),
        ("dos_txt", TURKISH.encode("cp857"), "save it as UTF-8"),
        ("cut_txt", "Merhaba".encode("utf-16")[:-1], "truncated"),
    ],
)
def test_an_unreadable_document_is_named_with_its_reason(tmp_path, name, content, why):
    """An index that silently lacks a document gives wrong refusals for months."""
    root = folder(tmp_path, good_md="# Good", **{name: content})
    file = name.replace("_", ".")
    with pytest.raises(UnreadableDocument, match=rf"{file}: cannot be read: .*{why}"):
        load(root)
    docs = load(root, unreadable="skip")
    assert [each.id for each in docs] == ["good.md"]
    assert docs.skipped[0].source == file


def test_a_folder_of_nothing_but_unreadable_documents_fails_even_when_they_may_be_skipped(tmp_path):
    """Skipping everything would leave an empty index that refuses every question."""
    with pytest.raises(Misconfigured, match="none of its 1 documents"):
        load(folder(tmp_path, a_txt=b""), unreadable="skip")


def test_a_pdf_locked_only_against_printing_is_read(tmp_path):
    """An empty user password locks nothing; it is blank here, which is what the message must say."""
    with pytest.raises(UnreadableDocument, match="OCR"):
        load(folder(tmp_path, a_pdf=pdf(password="")))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1254"])
@pytest.mark.parametrize("kind", ["txt", "md", "html"])
def test_turkish_survives_its_encodings(tmp_path, encoding, kind):
    """Old office files are cp1254, Windows tools write UTF-16: `ş` must not become `þ`."""
    docs = load(folder(tmp_path, **{f"a_{kind}": TURKISH.encode(encoding)}))
    assert docs[0].text.strip() == TURKISH
    assert docs[0].language == "tr"


def test_western_europe_survives_its_code_page(tmp_path):
    """Without a letter that only Turkish has, cp1252 is meant."""
    docs = load(folder(tmp_path, a_txt=("“" + ENGLISH + "” £40").encode("cp1252")))
    assert docs[0].text == "“" + ENGLISH + "” £40"
    assert docs[0].metadata["encoding"] == "cp1252"


def test_a_page_that_names_its_encoding_is_believed_unless_it_lies(tmp_path):
    """The declaration settles what no guess could; many pages declare UTF-8 and are not."""
    greek = "<meta charset='iso-8859-7'><p>Καλημέρα κόσμε".encode("iso-8859-7")
    liar = b"<meta charset=utf-8><p>" + TURKISH.encode("cp1254")
    browser = b"<meta charset=iso-8859-1><p>" + f"“{ENGLISH}”".encode("cp1252")
    docs = load(folder(tmp_path, a_html=greek, b_html=liar, c_html=browser, d_html="<meta charset=utf-16><p>" + TURKISH))
    assert docs[0].text.strip() == "Καλημέρα κόσμε"
    assert docs[1].text.strip() == docs[3].text.strip() == TURKISH
    assert docs[2].text.strip() == f"“{ENGLISH}”"


def test_letters_typed_in_two_parts_are_joined(tmp_path):
    """A PDF's `s` plus cedilla is not found by a search for `ş` otherwise; soft hyphens and odd line ends likewise."""
    docs = load(folder(tmp_path, a_txt="s\u0327ifre \ufb01\r\nde\u00adfter\u00a0no\rson"))
    assert docs[0].text == "şifre fi\ndefter no\nson"


def test_markdown_keeps_its_text_and_knows_its_headings(tmp_path):
    """Front matter is about the document, not in it; a `#` in code is a comment."""
    text = "---\ntitle: Real title\ntags: x\n---\n# One\n\ntext\n\n```sh\n# not a heading\n```\n\nTwo\n---\n\n### Three ###\n"
    docs = load(folder(tmp_path, a_md=text))
    got = docs[0]
    assert got.title == "Real title"
    assert got.text.startswith("# One")
    assert [(each.level, each.text) for each in got.headings] == [(1, "One"), (2, "Two"), (3, "Three")]
    assert [got.text[each.start : each.end].split("\n")[0] for each in got.headings] == ["# One", "Two", "### Three ###"]


def test_html_gives_the_article_and_not_the_site(tmp_path):
    """Menus, scripts, banners and hidden text would be retrieved as if somebody had written them for the reader."""
    page = """<!doctype html><title>Name | Site</title><style>p{}</style><body><header>Banner</header><nav>Menu</nav>
    <main><h1>Real <em>name</em></h1><p>First<b> bold</b>, &amp; more.<p>Second &lt;tag&gt;.<ul><li>one<li><p>two</p></ul>
    <table><tr><th>k<th>v<tr><td><p>x</p></td><td>1</td></tr></table><p hidden>secret</p><p style="display: none">secret</p></main>
    <aside>Related</aside><footer>Imprint</footer><script>var secret = 1</script>"""
    got = load(folder(tmp_path, a_html=page))[0]
    assert got.title == "Real name"
    assert got.text == "# Real name\n\nFirst bold, & more.\n\nSecond <tag>.\n\n- one\n- two\n\n| k | v |\n|---|---|\n| x | 1 |\n"
    assert [each.text for each in got.headings] == ["Real name"]


def test_html_nested_deeper_than_the_stack_is_read(tmp_path):
    """Generated pages nest thousands of elements deep; recursion would die on them."""
    assert load(folder(tmp_path, a_html="<div>" * 20_000 + "deep"))[0].text == "deep\n"


def test_a_pdf_with_some_scanned_pages_is_read_and_the_loss_is_told(tmp_path, caplog):
    """Half a contract in the index looks whole from outside."""
    writer = PdfWriter(clone_from=SAMPLE / "tr" / "lodos-kesinti-raporu.pdf")
    writer.add_blank_page()
    writer.write(tmp_path / "part.pdf")
    got = load(tmp_path)[0]
    assert "ambar-5" in got.text
    assert got.metadata["blank_pages"] == 1
    assert "part.pdf: 1 of its 3 pages" in caplog.text


def test_pdf_lines_become_sentences():
    """A sentence cut by the paper's edge can be neither found nor cited; a heading is not the end of a sentence."""
    page = (
        "A title\nThe breaker opened at noon because eight of the last\nten calls had failed. Nobody was called, since the fall-\n"
        "back answered.\nWhat we learned\n1. Call somebody when a breaker stays open for ten\nminutes.\n2. Drill."
    )
    assert unwrap(page) == (
        "A title\n\nThe breaker opened at noon because eight of the last ten calls had failed. Nobody was called, since the fallback "
        "answered.\n\nWhat we learned\n1. Call somebody when a breaker stays open for ten minutes.\n2. Drill."
    )


def test_pdf_passages_know_their_page():
    """A reader with the paper in hand looks for a page, not for a character."""
    got = read(SAMPLE / "tr" / "lodos-kesinti-raporu.pdf", SAMPLE)
    assert got.metadata["pages"] == len(got.page_starts) == 2
    assert got.title == "Martı hizmet kesintisi raporu: 2 Ekim gecesi"
    cut = passages(got)
    assert [(each.page, each.metadata["last_page"]) for each in cut] == [(1, 1), (1, 1), (1, 1), (1, 2), (2, 2)]
    assert passages(document("no pages"))[0].page is None


TEXTS = st.lists(
    st.sampled_from(
        [
            "# Başlık\n\n",
            "## Two\n",
            "Bir cümle. ",
            "Another sentence, longer than that! ",
            "- madde\n",
            "\n\n",
            "```\ncode\n```\n",
        ]
    )
    | st.text(max_size=30),
    max_size=30,
).map("".join)


@given(TEXTS, st.integers(1, 200), st.integers(0, 50), st.sampled_from(["markdown", "text"]))
def test_every_passage_is_the_text_its_span_names(text, size_chars, overlap_chars, kind):
    """Citations, gold answers and highlighting all rest on this."""
    got = document(text, kind)
    cut = passages(got, size_chars=size_chars, overlap_chars=min(overlap_chars, size_chars - 1))
    assert all(got.text[each.start : each.end] == each.text for each in cut)
    assert len({each.id for each in cut}) == len(cut)
    covered = set().union(*(range(each.start, each.end) for each in cut))
    assert not [char for at, char in enumerate(text) if at not in covered and char.isalnum()]


@given(TEXTS)
def test_sentences_lose_no_letter_and_do_not_overlap(text):
    """A sentence nobody can cite would be a hole in every document."""
    spans = sentence_spans(text)
    assert all(start < end for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    covered = set().union(*(range(start, end) for start, end in spans))
    assert not [char for at, char in enumerate(text) if at not in covered and char.isalpha()]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It ended at 22.00. Nobody knew.", ["It ended at 22.00.", "Nobody knew."]),
        ("Ask Dr. Lind, e.g. by phone. He knows!", ["Ask Dr. Lind, e.g. by phone.", "He knows!"]),
        ("Anlaşmanın 3. Maddesi açık. İşte şöyle yazıyor.", ["Anlaşmanın 3. Maddesi açık.", "İşte şöyle yazıyor."]),
        ("It invented 31 of those 80. After that it was better.", ["It invented 31 of those 80.", "After that it was better."]),
        ("# Title\nText goes\non here. And on.", ["Title", "Text goes\non here.", "And on."]),
        ("- one item. More of it\n- two\n3. three", ["one item.", "More of it", "two", "three"]),
        ("Forty seconds.[1] The rest [2]. And so. [1, 3] End.", ["Forty seconds.[1]", "The rest [2].", "And so. [1, 3]", "End."]),
    ],
)
def test_sentences_end_where_readers_say(text, sentences):
    """Times, abbreviations, Turkish ordinals, lists and citation marks are where simple rules go wrong."""
    assert [text[start:end] for start, end in sentence_spans(text)] == sentences


def test_a_heading_never_stands_alone():
    """A passage that is only a heading wins searches by its few words and answers nothing."""
    got = document("# One\n\n## Two\n\n" + "A sentence of some length stands here. " * 6 + "\n\n## Last")
    cut = passages(got, size_chars=120)
    assert cut[0].text.startswith("# One\n\n## Two\n\nA sentence")
    assert [each.text for each in cut[1:] if each.text.startswith("#")] == ["## Last"]


def test_passages_carry_what_a_reader_and_a_filter_need():
    """Retrieval filters by language and kind; the section says what a passage is about when its words do not."""
    got = document("# One\n\nalpha beta\n\n## Two\n\ngamma delta\n\n# Three\n\nepsilon")
    cut = passages(got, size_chars=20)
    assert [each.metadata["section"] for each in cut] == ["One", "One > Two", "Three"]
    assert {(each.title, each.source, each.document_id, each.metadata["language"]) for each in cut} == {("T", "a/b.md", "a/b.md", "en")}


def test_unchanged_documents_keep_their_ids_and_changed_passages_do_not():
    """Incremental indexing compares ids alone."""
    old = "# One\n\nalpha beta gamma\n\n# Two\n\ndelta epsilon zeta"
    before = [each.id for each in passages(document(old), size_chars=30)]
    assert before == [each.id for each in passages(document(old), size_chars=30)]
    after = [each.id for each in passages(document(old.replace("zeta", "zero")), size_chars=30)]
    assert after[0] == before[0]
    assert after[1] != before[1]
    assert before[0] == "a/b.md#" + hashlib.sha256(b"# One\n\nalpha beta gamma").hexdigest()[:16]
    moved = [each.id for each in passages(document("# New\n\nline line line line line\n\n" + old), size_chars=30)]
    assert moved[1:] == before
    twice = [each.id for each in passages(document("same words here\n\n" * 3, "text"), size_chars=20)]
    assert twice == [twice[0], f"{twice[0]}.2", f"{twice[0]}.3"]


HEADINGS = st.lists(st.sampled_from(["# A\n", "## B\n\n", "### C\n", "words\n", "\n", "#### D\n\n", "more words here\n\n"]), max_size=30)


@given(HEADINGS, st.data())
def test_the_outline_finds_what_reading_from_the_top_finds(lines, data):
    """Bisection against the plain rule."""
    doc = document("".join(lines))
    outline = Outline(doc)
    at = data.draw(st.integers(0, len(doc.text)))
    path = []
    for heading in doc.headings:
        if heading.start <= at:
            path = [*(one for one in path if one.level < heading.level), heading]
    assert outline.above(at) == tuple(one.text for one in path)
    end = data.draw(st.integers(at, len(doc.text)))
    assume(at < end)
    shown = [*doc.text]
    for heading in doc.headings:
        shown[heading.start : heading.end] = " " * (heading.end - heading.start)
    holds = any(one.start < end and one.end > at for one in doc.headings)
    assert outline.is_all(at, end) == (holds and not "".join(shown)[at:end].strip())


def test_a_document_of_ten_thousand_headings_is_cut_in_seconds():
    """Reading the headings from the top for each passage took two minutes for 10 MB."""
    doc = document("".join(f"## Heading {n}\n\nIt is number {n}, and this line says so at some length.\n\n" for n in range(10_000)))
    begun = time.process_time()
    assert len(passages(doc, size_chars=100)) == 10_000
    assert time.process_time() - begun < 20  # 1.5 s here; 60 s before


@pytest.mark.parametrize(("size_chars", "overlap_chars"), [(0, 0), (100, 100), (100, -1)])
def test_impossible_sizes_are_refused(size_chars, overlap_chars):
    """An overlap as large as the passage would never come to an end."""
    with pytest.raises(Misconfigured, match="overlap_chars"):
        passages(document("text"), size_chars=size_chars, overlap_chars=overlap_chars)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (TURKISH, "tr"),
        (ENGLISH, "en"),
        ("Bu belge de Turkce harf olmadan yazildi ve bir sey var", "tr"),
        ("Mit freundlichen Grüßen aus Köln", "und"),
        ("42 17 9", "und"),
        ("", "und"),
    ],
)
def test_the_language_is_told_or_left_open(text, language):
    """A wrong language picks the wrong stemmer; an unknown one must not be called English."""
    assert language_of(text) == language


def test_a_passage_of_a_pdf_knows_the_printed_line_of_each_of_its_words():
    """A citation names page and line; lines are the paper's, though sentences were joined over them."""
    page = (
        "Harbour rules\n\nShips that are longer than forty metres must tell the harbour mas-\n"
        "ter a day before they come in, on the phone or in a letter. He\nanswers within the hour."
    )
    got = unwrapped(page)
    assert [got.text[at:].split(maxsplit=1)[0] for at in got.line_starts] == ["Harbour", "Ships", "ter", "answers"]
    assert got.text == unwrap(page)
    document = read(SAMPLE / "tr" / "lodos-kesinti-raporu.pdf", SAMPLE)
    cut = passages(document)
    assert len(document.page_starts) == 2
    assert any(one.page == 1 and one.metadata["last_page"] == 2 for one in cut)
    seen = set()
    for one in cut:
        for match in re.finditer(r"\w+", one.text):
            at = one.start + match.start()
            number = sum(start <= at for start in document.page_starts)
            before = document.page_starts[number - 1]
            line = sum(before <= start <= at for start in document.line_starts)
            assert place(one, match.start()) == (number, line)
            seen.add((number, line))
    assert len(seen) == len(document.line_starts)
