"""A model as a judge of groundedness, and the card that says how far to trust it: python -m surefoot_eval judge --data FOLDER --chat MODEL

The card sets its verdicts beside human labels (BEGIN, TACL 2022): Cohen's kappa and balanced accuracy with intervals, agreement with
itself, cost. Below `FLOOR`, or without a card, a judge is advisory: its figures are shown and decide nothing. A verdict that cannot be
read is an error, never a 0.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from surefoot import ChatModel, Message, load, scope
from surefoot.errors import Misconfigured, SurefootError
from surefoot_eval.data.dataset import Dataset
from surefoot_eval.data.records import Cost
from surefoot_eval.data.suite import Judging
from surefoot_eval.run.recording import TAG, Recording, Taped, total
from surefoot_eval.score.metrics import GROUNDED, groundedness
from surefoot_eval.score.scores import Score, failed, not_applicable, score
from surefoot_eval.score.scoring import ScoredRow, spoken
from surefoot_eval.score.stats import POSITIVE, Interval, kappa

__all__ = ["FLOOR", "Card", "Judge", "Labelled", "card", "grading", "labelled", "main"]

FLOOR = 0.6  # kappa, the lower end of its interval: "substantial" agreement begins there (Landis and Koch, 1977)
RESAMPLES = 2_000
PROMPT = Path(__file__).parent / "templates" / "judge.md"
_WORD = re.compile(r"\b(UN|NOT )?GROUNDED\b", re.IGNORECASE)


class Labelled(NamedTuple):
    """An answer, what it was to rest on, and what people said of it."""

    answer: str
    passage: str
    grounded: bool


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge is worth. `prompt` and `judge` say whose card it is; `base_rate` is the share that people call grounded.

    `consistency` is the share of answers on which all repeats agreed; `lexical_kappa` that of the free lexical metric on the same answers.
    """

    judge: str
    prompt: str
    answers: int
    unread: int
    base_rate: float
    kappa: float
    kappa_interval: Interval
    balanced_accuracy: float
    balanced_interval: Interval
    consistency: float
    repeats: int
    lexical_kappa: float
    cost: Cost

    @property
    def advisory(self) -> bool:
        """True where it may not decide anything."""
        return self.kappa_interval.low < FLOOR

    def __str__(self) -> str:
        """For a terminal."""
        usd = "price unknown" if self.cost.usd is None else f"${self.cost.usd:.4f}"
        trust = f"ADVISORY: the lower end of kappa is below {FLOOR}" if self.advisory else f"may decide: kappa is above {FLOOR}"
        return (
            f"{self.judge} on {self.answers} labelled answers ({self.base_rate:.0%} grounded, {self.unread} verdicts unread)\n"
            f"  kappa {self.kappa:.3f} {self.kappa_interval}, the lexical metric's on the same answers {self.lexical_kappa:.3f}\n"
            f"  balanced accuracy {self.balanced_accuracy:.3f} {self.balanced_interval}\n"
            f"  agrees with itself on {self.consistency:.1%} ({self.repeats} times each)\n"
            f"  {self.cost.calls} calls, {self.cost.input_tokens + self.cost.output_tokens:,} tokens, {usd}, {self.cost.seconds:.1f} s\n"
            f"  {trust}"
        )


class Judge:
    """Grades answers: `Judge(ChatModel("openai:gpt-5-mini"), tape)`. Equal questions are asked once, as long as the recording lives."""

    def __init__(self, chat: ChatModel, tape: Recording) -> None:
        self.name = chat.targets[0]
        mark = hashlib.sha256("\0".join([chat.describe(), *chat.targets]).encode()).hexdigest()
        self._taped = Taped(chat, tape, mark=mark)

    def grade(self, answer: str, passages: Sequence[str], *, repeat: int = 0) -> tuple[Score, Cost]:
        """1.0 grounded, 0.0 ungrounded, or an error: nobody answered, or not in words that can be read."""
        system, user = prompt()
        shown = "\n".join(f'<passage id="{at}">{_escape(one)}</passage>' for at, one in enumerate(passages, 1))
        body = re.sub(r"\{(passages|answer)\}", lambda slot: shown if slot[1] == "passages" else _escape(answer), user)
        tag = f"judge/{hashlib.sha256(body.encode()).hexdigest()}#{repeat}"
        try:
            with scope(tags={TAG: tag}):
                said = self._taped.model.invoke([Message.system(system), Message.user(body)], temperature=0.0)
        except Misconfigured:
            raise
        except SurefootError as error:
            return failed(f"{type(error).__name__}: {error}"[:200]), self._taped.take(tag)
        return verdict(said.text), self._taped.take(tag)


def verdict(said: str) -> Score:
    """The one verdict in a reply; none, or both, is an error."""
    found = {bool(match[1]) for match in _WORD.finditer(said)}
    return score(float(not found.pop())) if len(found) == 1 else failed(f"no single verdict in {said[:80]!r}")


@cache
def prompt() -> tuple[str, str]:
    """The judge's two messages."""
    parts = re.fullmatch(r"\s*# System\n(.+)\n# User\n(.+)", PROMPT.read_text(encoding="utf-8"), re.DOTALL)
    assert parts is not None
    return parts[1].strip(), parts[2].strip()


def labelled(folder: Path, count: int, *, seed: int = 0) -> list[Labelled]:
    """So many of BEGIN's test answers, by seed; generic ones, which state nothing, are left out as in the paper's binary task."""
    file = folder / "begin-wow/begin_test_wow.jsonl"
    if not file.is_file():
        raise Misconfigured(f"{file}: no such file; --data names the folder of public data sets")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    kept = [Labelled(row["response"], row["context"], row["label"] == POSITIVE) for row in rows if row["label"] != "Generic"]
    return random.Random(f"{seed}:judge").sample(kept, min(count, len(kept)))


def card(judge: Judge, rows: Sequence[Labelled], *, repeats: int, progress: bool = False) -> Card:
    """Grade every answer `repeats` times; the first verdict is the one set beside people's. Raises Misconfigured if none can be read."""
    from tqdm import tqdm

    found = []
    for row in tqdm(rows, unit="answer", disable=None if progress else True, dynamic_ncols=True):
        graded = [judge.grade(row.answer, [row.passage], repeat=at) for at in range(repeats)]
        lexical = groundedness(row.answer, [row.passage]).value
        found.append((row.grounded, [one.value for one, _ in graded], (lexical or 0.0) >= GROUNDED, total([cost for _, cost in graded])))
    read = [one for one in found if one[1][0] is not None]
    if not read:
        raise Misconfigured(f"{judge.name}: not one of {len(rows)} verdicts could be read; it does not follow the judge's prompt")
    humans, said, free = (np.array([one[at] if at != 1 else one[1][0] == 1.0 for one in read]) for at in (0, 1, 2))
    draw = np.random.default_rng(0).integers(0, len(read), size=(RESAMPLES, len(read)))
    return Card(
        judge=judge.name,
        prompt=hashlib.sha256(PROMPT.read_bytes()).hexdigest(),
        answers=len(rows),
        unread=len(rows) - len(read),
        base_rate=float(humans.mean()),
        kappa=kappa(said, humans),
        kappa_interval=_interval([kappa(said[at], humans[at]) for at in draw]),
        balanced_accuracy=_balanced(said, humans),
        balanced_interval=_interval([_balanced(said[at], humans[at]) for at in draw]),
        consistency=float(np.mean([len(Counter(one[1])) == 1 for one in found])),
        repeats=repeats,
        lexical_kappa=kappa(free, humans),
        cost=total([one[3] for one in found]),
    )


def grading(asked: Judging, material: Dataset, *, near: Path, tape: Recording) -> tuple[Callable[[ScoredRow], Score], bool]:
    """A measure for rows of a run, and whether it is only advisory: it is without a card of this judge and this prompt."""
    judge = Judge(load(near / asked.models).chat(asked.chat[0]) if asked.models else ChatModel(*asked.chat), tape)
    advisory = True
    if asked.card:
        try:
            held = msgspec.json.decode((near / asked.card).read_bytes(), type=Card)
        except (OSError, msgspec.MsgspecError) as exc:
            raise Misconfigured(
                f"{near / asked.card}: no judge's card ({exc}); make one by  python -m surefoot_eval judge ... --card FILE"
            ) from exc
        same = held.judge == judge.name and held.prompt == hashlib.sha256(PROMPT.read_bytes()).hexdigest()
        advisory = held.advisory or not same

    def measure(row: ScoredRow) -> Score:
        assert row.record is not None
        if row.record.refused:
            return not_applicable("refused")
        texts = [material.text[one.document][one.start : one.end] for one in row.record.passages]
        return judge.grade(spoken(row.record.answer), texts)[0]

    return measure, advisory


def main(args: argparse.Namespace) -> int:
    """Print the card; returns 0 if the judge may decide, 1 if it is advisory."""
    chat = load(args.models).chat(args.chat[0]) if args.models else ChatModel(*args.chat)
    tape = Recording(args.tape)
    try:
        found = card(Judge(chat, tape), labelled(args.data, args.answers), repeats=args.repeats, progress=True)
    finally:
        tape.close()
    print(found)
    if args.card:
        args.card.write_bytes(msgspec.json.format(msgspec.json.encode(found, order="sorted"), indent=1) + b"\n")
    return int(found.advisory)


def _balanced(said: np.ndarray, humans: np.ndarray) -> float:
    """Mean of the shares of grounded and of ungrounded answers told rightly; of one where the other is absent."""
    shares = [float((said == humans)[humans == kind].mean()) for kind in (True, False) if (humans == kind).any()]
    return sum(shares) / len(shares)


def _interval(values: Sequence[float]) -> Interval:
    low, high = np.quantile(np.array(values), [0.025, 0.975])
    return Interval(float(low), float(high))


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
