"""A small suite of one's own: four documents, a dozen questions, nothing but BM25 and the offline reader; no vectors, no framework."""

from __future__ import annotations

import json
from pathlib import Path

SHIFTS = [
    ("harbour", "The harbour office", "opens at 08:15", "closes at 17:40", "is led by Ada Lovelace"),
    ("museum", "The maritime museum", "opens at 10:05", "closes at 19:30", "is led by Grace Hopper"),
    ("library", "The town library", "opens at 09:20", "closes at 18:10", "is led by Alan Turing"),
    ("market", "The fish market", "opens at 04:45", "closes at 11:25", "is led by Mary Somerville"),
]
SUITE = """
name = "small"
kind = "rag"
metrics = ["right", "refusal", "covered", "answer_f1", "citation_precision", "citation_recall", "groundedness", "nDCG@3", "R@3"]
in_flight = 1

[data]
path = "questions"

[[system]]
name = "lexical"
framework = "lexical"
k = 3
"""


def write(folder: Path, *, suite: str = SUITE) -> Path:
    """The suite's file, with its documents and questions beside it."""
    docs = folder / "questions/docs"
    docs.mkdir(parents=True)
    lines = []
    for name, who, *facts in SHIFTS:
        text = "".join(f"{who} {fact}. " for fact in facts) + "Visitors are welcome all year.\n"
        (docs / f"{name}.txt").write_text(text, encoding="utf-8")
        for at, (ask, fact) in enumerate(zip(("When does {} open?", "When does {} close?", "Who leads {}?"), facts, strict=True)):
            said = f"{who} {fact}."
            start = text.index(said)
            gold = {"document_id": f"{name}.txt", "start": start, "end": start + len(said), "text": said}
            question = ask.format(who[0].lower() + who[1:])
            row = {"id": f"{name}-{at}", "question": question, "language": "en", "gold": [gold], "answer": fact.rpartition(" ")[2]}
            lines.append(json.dumps(row))
    lines.append(json.dumps({"id": "none-1", "question": "What does a ticket to the moon cost?", "language": "en", "answerable": False}))
    (folder / "questions/questions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    file = folder / "small.toml"
    file.write_text(suite, encoding="utf-8")
    return file
