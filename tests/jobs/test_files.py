"""Items out of files, answers into files."""

from __future__ import annotations

import csv
import json

import pytest
from pyarrow import parquet

from surefoot.errors import Misconfigured
from surefoot.jobs import files, kinds
from surefoot.types import ChatReply, Usage


def test_a_line_or_a_row_is_an_item(tmp_path):
    """JSON lines as they are; of CSV the column with a customary name, the rest beside it."""
    (tmp_path / "a.jsonl").write_text('"one"\n\n{"prompt": "two", "id": 7}\n')
    assert list(files.read_items(tmp_path / "a.jsonl")) == ["one", {"prompt": "two", "id": 7}]
    (tmp_path / "b.csv").write_text('﻿id,Question,expected\n1,"what, exactly?",x\n2,"two\nlines",y\n', encoding="utf-8")
    assert list(files.read_items(tmp_path / "b.csv")) == [
        {"text": "what, exactly?", "id": "1", "metadata": {"expected": "x"}},
        {"text": "two\nlines", "id": "2", "metadata": {"expected": "y"}},
    ]
    (tmp_path / "c.csv").write_text("anything\nx\n")
    assert list(files.read_items(tmp_path / "c.csv")) == [{"text": "x"}]
    (tmp_path / "d.ndjson").write_text('{"q": "x", "gold": 1}\n{"q": [{"role": "user", "content": "y"}]}\n')
    assert list(files.read_items(tmp_path / "d.ndjson", "q")) == [
        {"text": "x", "metadata": {"gold": 1}},
        {"messages": [{"role": "user", "content": "y"}]},
    ]


WRONG = {
    "a.txt": ("x", None, r"ends in \.jsonl, \.csv"),
    "b.jsonl": ('"fine"\n{broken\n', None, "line 2: not JSON"),
    "c.csv": ("id,body\n1,x\n", None, "which of its columns"),
    "d.csv": ("id,question\n1\n", None, "line 2: it has not as many cells"),
    "e.jsonl": ('{"a": 1}\n', "q", "line 1: there is no 'q'"),
    "f.csv": ("a,b\n1,2\n", "q", "which of its columns"),
    "g.jsonl": (b"\xff\xfe", None, "not UTF-8"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_cannot_be_read_is_told_by_line(name, tmp_path):
    """And one that is not there."""
    content, column, told = WRONG[name]
    path = tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)
    with pytest.raises(Misconfigured, match=told):
        list(files.read_items(path, column))
    with pytest.raises(Misconfigured, match="cannot be read"):
        list(files.read_items(tmp_path / "gone.csv"))


def rows():
    reply = ChatReply(text='Ümit, "one"\n2', model="m", target="t:m", usage=Usage(input_tokens=3, output_tokens=4), cost_usd=0.5)
    inputs = iter([(0, "q0"), (1, {"request": {"messages": [{"role": "user", "content": "q1"}]}, "id": "x"}), (2, "q2")])
    return files.rows_of(kinds.find("chat"), [(0, reply), (2, ValueError("no\nway"))], inputs)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_answers_stand_in_the_file_in_order(ending, tmp_path):
    """With the question, what it cost, and the error where there is one; the file appears whole."""
    path = tmp_path / "deep" / f"answers.{ending}"
    assert files.write_rows(path, rows(), ("n", *kinds.find("chat").columns, "error", "message")) == 2
    if ending == "jsonl":
        found = [json.loads(line) for line in path.read_text().splitlines()]
    elif ending == "csv":
        with path.open(newline="") as file:
            found = list(csv.DictReader(file))
    else:
        found = parquet.read_table(path).to_pylist()
    assert [str(one["n"]) for one in found] == ["0", "2"]
    assert found[0]["text"] == 'Ümit, "one"\n2'
    assert (found[0]["question"], found[1]["question"]) == ("q0", "q2")
    assert float(found[0]["cost_usd"]) == 0.5
    assert (found[1]["error"], found[1]["message"]) == ("ValueError", "no\\nway")
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    """Also when the rows themselves fail."""
    path = tmp_path / "a.jsonl"
    path.write_text("old")

    def failing():
        yield {"n": 1}
        raise KeyError("x")

    with pytest.raises(KeyError):
        files.write_rows(path, failing(), ("n",))
    assert path.read_text() == "old"
    with pytest.raises(Misconfigured, match="cannot be written"):
        files.write_rows(tmp_path / "a.jsonl" / "b.csv", iter([{"n": 1}]), ("n",))
