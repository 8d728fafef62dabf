"""Office files, data files, notebooks and books: their words, their headings, and rows that name their columns."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from surefoot_rag.documents.corpus import load, passages, read
from surefoot_rag.documents.data_text import csv_to_text, rst_to_markdown
from surefoot_rag.documents.readers import UnreadableDocument
from surefoot_rag.documents.tables import as_text, spread
from surefoot_rag.records import Document


def document(tmp_path, name: str, data: bytes | str) -> Document:
    file = tmp_path / name
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    return read(file, tmp_path)


PORTS = [["port", "depth", "cranes"], *([f"Port{n:03}", f"{n}.5 m", str(n % 7)] for n in range(200))]


@pytest.mark.parametrize("name", ["a.md", "a.csv", "a.tsv"])
def test_every_piece_of_a_long_table_names_its_columns(tmp_path, name):
    """A row without its header answers nothing: which of "31.5 m | 3" is the depth?"""
    if name == "a.md":
        lines = [f"| {' | '.join(row)} |" for row in PORTS]
        data = "# Depths\n\n" + "\n".join([lines[0], "|---|:-:|---|", *lines[1:]]) + "\n\nAfter it.\n"
    else:
        data = "\n".join(("," if name == "a.csv" else "\t").join(row) for row in PORTS)
    cut = passages(document(tmp_path, name, data))
    assert len(cut) > 5
    holding = [one for one in cut if "Port137" in one.text]
    assert len(holding) == 1
    assert "- port: Port137; depth: 137.5 m; cranes: 4." in holding[0].text


def test_a_short_table_stays_a_table_and_code_stays_code():
    """Only what would be cut is changed."""
    short = "| a | b |\n|---|---|\n| 1 | 2 |\n"
    assert spread(short) == short
    lines = "\n".join(f"| {n} | value number {n} |" for n in range(99))
    code = f"```\n| a | b |\n|---|---|\n{lines}\n```\n"
    assert spread(code) == code
    assert spread(f"| a \\| b | c |\n|---|---|\n{lines}\n").startswith("- a | b: 0; c: value number 0.\n")
    assert as_text([["a", "b"], ["1|2", ""], ["", ""]]) == "| a | b |\n|---|---|\n| 1&#124;2 |  |"


def test_csv_of_many_kinds(tmp_path):
    """Semicolons and a Turkish code page, as Excel writes them there; line breaks in cells; a table without a header."""
    doc = document(tmp_path, "a.csv", 'şehir;not\nİzmir;"iki\nsatır"\n'.encode("cp1254"))
    assert doc.text == "- şehir: İzmir; not: iki satır."
    assert csv_to_text("1,2\n3,4\n") == "- 1; 2.\n- 3; 4."
    with pytest.raises(UnreadableDocument, match="holds no text"):
        document(tmp_path, "b.csv", "\n\n")


def test_json_lines_and_notebooks(tmp_path):
    """A record is a paragraph, long values stand apart; a notebook's words and code, not what it printed. What is neither says so."""
    long = "The ferry leaves at nine. " * 20
    rows = [{"name": "ferry", "seats": 40, "stops": ["A", "B"], "owner": {"name": "Maud"}, "none": None}, {"name": "log", "text": long}]
    doc = document(tmp_path, "a.jsonl", "\n".join(json.dumps(row) for row in rows))
    assert doc.text == f"name: ferry; seats: 40; stops: A, B; owner.name: Maud.\n\nname: log.\ntext: {long.strip()}"
    with pytest.raises(UnreadableDocument, match="line 2 is no JSON"):
        document(tmp_path, "b.jsonl", '{"a": 1}\n{"a": ')
    cells = [("markdown", ["# Tides\n", "High at nine."]), ("code", ["# not a heading\n", "print(1)"]), ("markdown", "Low at three.")]
    book = {"cells": [{"cell_type": kind, "source": source, "outputs": ["no"]} for kind, source in cells], "metadata": {}}
    doc = document(tmp_path, "a.ipynb", json.dumps(book))
    assert doc.title == "Tides"
    assert [one.text for one in doc.headings] == ["Tides"]
    assert doc.text == "# Tides\nHigh at nine.\n\n```python\n# not a heading\nprint(1)\n```\n\nLow at three.\n"
    with pytest.raises(UnreadableDocument, match="no Jupyter notebook"):
        document(tmp_path, "b.ipynb", "[]")


def test_json_of_any_shape(tmp_path):
    """A list of records, records inside an object, one record, a value; broken JSON says so."""
    rows = '[{"port": "Bergen", "depth": 11.2}, {"port": "Oslo", "depth": 9}]'
    assert document(tmp_path, "a.json", rows).text == "port: Bergen; depth: 11.2.\n\nport: Oslo; depth: 9."
    inside = document(tmp_path, "b.json", f'{{"owner": "Maud", "ports": {rows}, "tags": ["a", "b"]}}')
    assert inside.text == "owner: Maud; tags: a, b.\n\n# ports\n\nport: Bergen; depth: 11.2.\n\nport: Oslo; depth: 9."
    assert [one.text for one in inside.headings] == ["ports"]
    assert document(tmp_path, "c.json", '"just words"').text == "just words"
    with pytest.raises(UnreadableDocument, match="no JSON"):
        document(tmp_path, "d.json", '{"a": ')


def test_tables_of_pages_are_tables(tmp_path):
    """Short ones as Markdown, long ones a line a row with their columns' names; what only lays out a page is no table."""
    row = "<tr><td>Port{0}<td><p>{0}.5 m</p><td>{0}</tr>"
    head = "<table><caption>Depths</caption><tr><th>port<th>depth<th>cranes</tr>"
    short = document(tmp_path, "a.html", f"<body><h1>P</h1>{head}{row.format(7)}<tr><td colspan=2>all | none<td>8</table></body>")
    assert "Depths\n\n| port | depth | cranes |\n|---|---|---|\n| Port7 | 7.5 m | 7 |\n| all &#124; none |  | 8 |\n" in short.text
    long = document(tmp_path, "b.html", f"<body>{head}{''.join(row.format(n) for n in range(200))}</table></body>")
    (holding,) = (one for one in passages(long) if "Port137" in one.text)
    assert "- port: Port137; depth: 137.5 m; cranes: 137." in holding.text
    laid = "<body><table><tr><td>menu<td><table><tr><td>a<td>b</tr><tr><td>1<td>2</tr></table></tr></table></body>"
    assert "| a | b |\n|---|---|\n| 1 | 2 |" in document(tmp_path, "c.html", laid).text


def test_rst_headings_have_the_levels_of_their_first_appearance():
    """Any mark may be any level there; a transition or a table is no heading."""
    text = "=====\nTitle\n=====\n\nOne\n---\n\nTwo\n~~~\n\nOther\n-----\n\nwords\n\n----\n\n====  ====\na     b\n====  ====\n"
    made = rst_to_markdown(text)
    assert [line for line in made.splitlines() if line.startswith("#")] == ["# Title", "## One", "### Two", "## Other"]
    assert made.endswith("words\n\n----\n\n====  ====\na     b\n====  ====\n")


def test_a_word_document(tmp_path):
    """Headings, lists, tables in their place."""
    docx = pytest.importorskip("docx", reason="extra formats")
    made, out = docx.Document(), io.BytesIO()
    made.core_properties.title = "Harbour rules"
    made.add_heading("Berths", level=1)
    made.add_paragraph("Berth four is free on Sundays.")
    made.add_paragraph("bring a rope", style="List Bullet")
    table = made.add_table(rows=0, cols=2)
    for row in (("port", "depth"), ("Bergen", "11.2 m")):
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.text = text
    made.add_paragraph("The end.")
    made.save(out)
    doc = document(tmp_path, "a.docx", out.getvalue())
    assert (doc.title, doc.metadata["type"]) == ("Harbour rules", "docx")
    assert doc.text == (
        "# Berths\n\nBerth four is free on Sundays.\n\n- bring a rope\n\n| port | depth |\n|---|---|\n| Bergen | 11.2 m |\n\nThe end."
    )
    assert passages(doc)[0].metadata["section"] == "Berths"


def test_slides_and_their_notes(tmp_path):
    """A slide's title is a heading; what is said beside it counts."""
    pptx = pytest.importorskip("pptx", reason="extra formats")
    made, out = pptx.Presentation(), io.BytesIO()
    slide = made.slides.add_slide(made.slide_layouts[1])
    slide.shapes.title.text = "Ferry plan"
    slide.placeholders[1].text = "Forty cars a day"
    slide.notes_slide.notes_text_frame.text = "Say that Maud pays."
    made.save(out)
    other = made.slides.add_slide(made.slide_layouts[1])
    other.shapes.title.text = "Costs"
    made.save(out := io.BytesIO())
    doc = document(tmp_path, "a.pptx", out.getvalue())
    assert doc.text == "## Ferry plan\n\nForty cars a day\n\nSay that Maud pays.\n\n## Costs"
    assert doc.text[doc.page_starts[1] :] == "## Costs"
    assert passages(doc)[0].page == 1


def test_sheets(tmp_path):
    """Each under its name; numbers and dates as people write them; a long one a line a row."""
    openpyxl = pytest.importorskip("openpyxl", reason="extra formats")
    import datetime as dt

    book, out = openpyxl.Workbook(), io.BytesIO()
    book.active.title = "Fees"
    since = dt.datetime(2026, 3, 1)  # noqa: DTZ001 - sheets know no zones
    for row in ([None], ["port", "fee", "since"], ["Bergen", 0.1 + 0.2, since], [None, None, None]):
        book.active.append(row)
    other = book.create_sheet("Depths")
    for row in PORTS:
        other.append(row)
    book.save(out)
    text = document(tmp_path, "a.xlsx", out.getvalue()).text
    assert text.startswith("## Fees\n\n| port | fee | since |\n|---|---|---|\n| Bergen | 0.3 | 2026-03-01 |\n\n## Depths\n\n")
    assert "\n- port: Port137; depth: 137.5 m; cranes: 4.\n" in text


def epub(**extra: str) -> bytes:
    out = io.BytesIO()
    files = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
        "OEBPS/book.opf": (
            '<package><metadata><dc:title>The tug</dc:title></metadata><manifest><item id="b" href="two.xhtml"/>'
            '<item id="a" href="one%20.xhtml"/></manifest><spine><itemref idref="a"/><itemref idref="b"/></spine></package>'
        ),
        "OEBPS/one .xhtml": "<html><body><h1>First</h1><p>The captain is Ada.</p></body></html>",
        "OEBPS/two.xhtml": "<html><body><h1>Second</h1><p>She sails.</p></body></html>",
        **extra,
    }
    with zipfile.ZipFile(out, "w") as packed:
        for name, text in files.items():
            packed.writestr(name, text)
    return out.getvalue()


def test_a_book_is_read_in_its_order(tmp_path):
    """The spine's, not the files'; one with rights management says so."""
    doc = document(tmp_path, "a.epub", epub())
    assert doc.title == "The tug"
    assert doc.text.split("\n") == ["# First", "", "The captain is Ada.", "", "", "# Second", "", "She sails.", ""]
    with pytest.raises(UnreadableDocument, match="DRM"):
        document(tmp_path, "b.epub", epub(**{"META-INF/rights.xml": "<x/>"}))


@pytest.mark.parametrize("kind", ["docx", "pptx", "xlsx", "epub"])
def test_damaged_and_locked_packages_are_left_out_with_their_reason(tmp_path, kind, monkeypatch):
    """Each of the ways in which such a file comes broken; a small file that unpacks to a terabyte, too."""
    pytest.importorskip({"docx": "docx", "pptx": "pptx", "xlsx": "openpyxl", "epub": "selectolax"}[kind], reason="extra formats")
    (tmp_path / "good.md").write_text("# Good")
    (tmp_path / f"a.{kind}").write_bytes(b"no zip")
    (tmp_path / f"b.{kind}").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600)
    with zipfile.ZipFile(tmp_path / f"c.{kind}", "w") as packed:
        packed.writestr("nothing.txt", "x")
    (tmp_path / f"d.{kind}").write_bytes(epub())
    monkeypatch.setattr("surefoot_rag.documents.office.MOST_BYTES", 300)
    reasons = [one.reason for one in load(tmp_path, unreadable="skip").skipped]
    assert len(reasons) == 4
    for reason, words in zip(reasons, ("damaged", "password", "not a sound", "unpack"), strict=True):
        assert words in reason


def test_a_reader_that_is_not_installed_is_named(tmp_path, monkeypatch):
    """With the command that installs it."""
    monkeypatch.setitem(__import__("sys").modules, "docx", None)
    with pytest.raises(UnreadableDocument, match=r'python-docx: pip install "surefoot\[formats\]"'):
        document(tmp_path, "a.docx", b"PK")
