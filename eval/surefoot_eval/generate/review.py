"""What a person looks through: a table of made questions with a column `keep`, and what is read back from it.

surefoot eval generate docs/ --out review.csv          # then write yes or no in the column keep, in any program for tables
surefoot eval review review.csv --docs docs/ --out questions.jsonl
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from surefoot.errors import Misconfigured
from surefoot_eval.data.formats import span_of
from surefoot_eval.data.questions import read
from surefoot_eval.generate.candidates import Candidate, documents_of

__all__ = ["main", "write"]

COLUMNS = ("keep", "id", "kind", "language", "question", "answer", "document", "quote", "start", "rank", "margin", "note")
_YES, _NO = frozenset({"yes", "y", "keep", "1", "x", "true", "evet", "e"}), frozenset({"no", "n", "drop", "0", "false", "hayır", "h"})
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that programs for tables would run


def write(candidates: Sequence[Candidate], file: Path) -> None:
    """A table with an empty column `keep`; cells that programs for tables would take for formulas begin with an apostrophe."""
    with file.open("w", encoding="utf-8-sig", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(COLUMNS)
        for one in candidates:
            row = msgspec.structs.asdict(one)
            table.writerow(["", *(_safe(row[name]) for name in COLUMNS[1:])])


def main(args: argparse.Namespace) -> int:
    """Read the marks back, check every question once more and write those that are kept. Raises Misconfigured naming the line."""
    documents, _ = documents_of(args.docs, args.format)
    text = {one.id: one.text for one in documents}
    kept, dropped, undecided = [], 0, []
    for line, row in _rows(args.file):
        mark = row["keep"].strip().lower()
        if mark not in _YES | _NO | {""}:
            raise Misconfigured(f"{args.file}, line {line}: keep = {row['keep']!r}: write yes or no")
        if not mark:
            undecided.append(line)
        if mark in _YES or (not mark and args.undecided == "keep"):
            kept.append(_question(row, text, f"{args.file}, line {line}"))
        else:
            dropped += 1
    if undecided and args.undecided == "refuse":
        shown = f"{len(undecided)} questions are not decided, line {undecided[0]} first"
        raise Misconfigured(f"{args.file}: {shown}; write yes or no in the column keep, or give --undecided keep or drop")
    if not kept:
        raise Misconfigured(f"{args.file}: no question is kept, so nothing was written")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in kept), encoding="utf-8")
    found = read(args.out, text, groups={key: key for key in text})
    misses = sum(not one.query.answerable for one in found)
    told = {"kept": len(found), "near_misses": misses, "dropped": dropped, "undecided": len(undecided), "out": str(args.out)}
    print(json.dumps(told) if args.json else f"{len(found)} questions kept ({misses} near misses), {dropped} dropped: {args.out}")
    return 0


def _question(row: dict[str, str], text: dict[str, str], where: str) -> dict[str, Any]:
    """A line of questions.jsonl. What a person changed is checked: a quote must stand in its document, at its offset or else once."""
    question: dict[str, Any] = {"id": row["id"], "question": row["question"].strip(), "language": row["language"] or "und"}
    if row["kind"] == "near-miss":
        return {**question, "answerable": False, "note": row["note"]}
    if row["document"] not in text:
        raise Misconfigured(f"{where}: no document {row['document']!r}; --docs must be the folder they were made from")
    held, quote = text[row["document"]], row["quote"]
    at = int(row["start"]) if row["start"].isdigit() else None
    start, end = span_of(held, quote, at if at is not None and held.startswith(quote, at) else None, where=where)
    gold = {"document_id": row["document"], "start": start, "end": end, "text": held[start:end]}
    return {**question, "gold": [gold], "answer": row["answer"].strip(), "note": row["note"]}


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        lines = file.open(encoding="utf-8-sig", newline="")
    except OSError as exc:
        raise Misconfigured(f"{file}: cannot be read ({exc.strerror})") from exc
    with lines:
        head = lines.readline()
        lines.seek(0)
        table = csv.DictReader(lines, delimiter=";" if head.count(";") > head.count(",") else ",")  # as Excel writes it in Turkish
        missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
        if missing:
            raise Misconfigured(f"{file}, line 1: no column {missing[0]!r}; it is a file that  surefoot eval generate  wrote")
        for row in table:
            yield table.line_num, {name: _plain(row[name] or "") for name in COLUMNS}


def _safe(value: object) -> str:
    text = str(value)
    return f"'{text}" if text.startswith((*_FORMULA, "'")) else text


def _plain(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith((*_FORMULA, "'")) else cell
