"""Answers with people's labels, beside which a judge is set: BEGIN's for groundedness, ours for correctness, or a file of your own."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from surefoot.errors import Misconfigured
from surefoot_eval.score.correctness import says_any
from surefoot_eval.score.metrics import GROUNDED, groundedness
from surefoot_eval.score.stats import POSITIVE

__all__ = ["TASKS", "Labelled", "Task", "begin", "own", "sample", "without_a_model"]

Task = Literal["groundedness", "correctness"]
TASKS: tuple[Task, ...] = get_args(Task)
OURS = Path(__file__).parent.parent / "labels/correctness.jsonl"


class Labelled(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, what it is to be judged by (passages; or a question with its accepted answers), and whether people call it good."""

    answer: str
    good: bool
    passages: tuple[str, ...] = ()
    question: str = ""
    accepted: tuple[str, ...] = ()
    language: str = "und"


class _LabelLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of a file of labels."""

    answer: str
    grounded: bool | None = None
    right: bool | None = None
    passages: tuple[str, ...] = ()
    passage: str = ""
    question: str = ""
    accepted: tuple[str, ...] = ()
    language: str = "und"
    held_back: bool = False


def begin(folder: Path) -> list[Labelled]:
    """BEGIN's test answers; generic ones, which state nothing, are left out as in the paper's binary task."""
    file = folder / "begin-wow/begin_test_wow.jsonl"
    if not file.is_file():
        raise Misconfigured(f"{file}: no such file; --data names the folder of public data sets")
    rows: list[Mapping[str, Any]] = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [
        Labelled(answer=row["response"], passages=(row["context"],), good=row["label"] == POSITIVE)
        for row in rows
        if row["label"] != "Generic"
    ]


def own(task: Task, file: Path = OURS) -> list[Labelled]:
    """Lines of JSON: `{"answer": ..., "passages": [...], "grounded": true}`, or for correctness with `question`, `accepted` and `right`.

    Raises Misconfigured naming the line that is not so.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as exc:
        raise Misconfigured(f"{file}: cannot be read ({exc.strerror}); --labels names a file of labelled answers") from exc
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line, type=_LabelLine)
        except msgspec.MsgspecError as exc:
            raise Misconfigured(f"{file}, line {number}: {exc}") from exc
        passages = row.passages or ((row.passage,) if row.passage else ())
        good, needed, wanted = (
            (row.grounded, passages, "grounded and passages") if task == "groundedness" else (row.right, row.accepted, "right and accepted")
        )
        if good is None or not needed:
            raise Misconfigured(f"{file}, line {number}: labels of {task} need {wanted}")
        found.append(
            Labelled(answer=row.answer, good=good, passages=passages, question=row.question, accepted=row.accepted, language=row.language)
        )
    return found


def sample(rows: list[Labelled], count: int, *, seed: int = 0) -> list[Labelled]:
    """So many of them, the same by the same seed."""
    return random.Random(f"{seed}:judge").sample(rows, min(count, len(rows)))


def _is_grounded(row: Labelled) -> bool:
    return (groundedness(row.answer, row.passages).value or 0.0) >= GROUNDED


def _is_right(row: Labelled) -> bool:
    return says_any(row.answer, row.accepted, language=row.language, question=row.question)


without_a_model: Mapping[Task, Callable[[Labelled], bool]] = {"groundedness": _is_grounded, "correctness": _is_right}
"""What the free metric says of the same answers: a judge that does no better is not worth its money."""
