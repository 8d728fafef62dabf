"""A model as a judge of groundedness or correctness, and the card that says how far to trust it: python -m surefoot_eval judge --chat MODEL

The card sets its verdicts beside people's labels (`labels.py`): Cohen's kappa and balanced accuracy with intervals, agreement with
itself, cost. Below `FLOOR`, or without a card, a judge is advisory: its figures are shown and decide nothing. A verdict that cannot be
read is an error, never a 0.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import msgspec
import numpy as np

from surefoot import ChatModel, Message, load, scope
from surefoot.errors import Misconfigured, SurefootError
from surefoot_eval.data.dataset import Dataset
from surefoot_eval.data.records import Cost
from surefoot_eval.data.suite import Judging
from surefoot_eval.run.labels import Labelled, Task, begin, own, sample, without_a_model
from surefoot_eval.run.recording import TAG, Recording, Taped, total
from surefoot_eval.score.scores import Score, failed, not_applicable, score
from surefoot_eval.score.scoring import ScoredRow, spoken
from surefoot_eval.score.stats import Interval, kappa

__all__ = ["FLOOR", "METRICS_OF", "Card", "Judge", "card", "grading", "main"]

FLOOR = 0.6  # kappa, the lower end of its interval: "substantial" agreement begins there (Landis and Koch, 1977)
RESAMPLES = 2_000
TEMPLATES = Path(__file__).parent / "templates"
METRICS_OF: Mapping[str, Task] = {"judged": "groundedness", "judged_right": "correctness"}
_VERDICTS: Mapping[Task, re.Pattern[str]] = {  # a good word, or in the group `bad` what makes it a bad one
    "groundedness": re.compile(r"\b(?P<bad>UN|NOT )?GROUNDED\b", re.IGNORECASE),
    "correctness": re.compile(r"\b(?:(?P<not>NOT )?RIGHT|(?P<bad>WRONG))\b", re.IGNORECASE),
}


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge is worth. `prompt` and `judge` say whose card it is; `base_rate` is the share that people call grounded.

    `consistency` is the share of answers on which all repeats agreed; `lexical_kappa` that of the free lexical metric on the same answers.
    `sensitivity` and `specificity` are the shares of good and of bad answers that it calls so.
    """

    judge: str
    prompt: str
    task: Task
    answers: int
    unread: int
    base_rate: float
    kappa: float
    kappa_interval: Interval
    balanced_accuracy: float
    balanced_interval: Interval
    sensitivity: float
    specificity: float
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
            f"{self.judge} on {self.answers} labelled answers for {self.task} ({self.base_rate:.0%} good, {self.unread} verdicts unread)\n"
            f"  kappa {self.kappa:.3f} {self.kappa_interval}, the lexical metric's on the same answers {self.lexical_kappa:.3f}\n"
            f"  balanced accuracy {self.balanced_accuracy:.3f} {self.balanced_interval}; calls {self.sensitivity:.1%} of the good good "
            f"and {self.specificity:.1%} of the bad bad\n"
            f"  agrees with itself on {self.consistency:.1%} ({self.repeats} times each)\n"
            f"  {self.cost.calls} calls, {self.cost.input_tokens + self.cost.output_tokens:,} tokens, {usd}, {self.cost.seconds:.1f} s\n"
            f"  {trust}"
        )


class Judge:
    """Grades answers: `Judge(ChatModel("openai:gpt-5-mini"), tape)`. Equal questions are asked once, as long as the recording lives."""

    def __init__(self, chat: ChatModel, tape: Recording, *, task: Task = "groundedness") -> None:
        self.name = chat.targets[0]
        self.task = task
        mark = hashlib.sha256("\0".join([chat.describe(), *chat.targets]).encode()).hexdigest()
        self._taped = Taped(chat, tape, mark=mark)

    def grade(
        self, answer: str, passages: Sequence[str] = (), *, question: str = "", accepted: Sequence[str] = (), repeat: int = 0
    ) -> tuple[Score, Cost]:
        """1.0 grounded (or right), 0.0 not, or an error: nobody answered, or not in words that can be read."""
        system, user = prompt(self.task)
        slots = {
            "passages": "\n".join(f'<passage id="{at}">{_escape(one)}</passage>' for at, one in enumerate(passages, 1)),
            "accepted": "\n".join(f"- {_escape(one)}" for one in accepted),
            "question": _escape(question),
            "answer": _escape(answer),
        }
        body = re.sub(r"\{(\w+)\}", lambda slot: slots.get(slot[1], slot[0]), user)
        tag = f"judge/{hashlib.sha256(body.encode()).hexdigest()}#{repeat}"
        try:
            with scope(tags={TAG: tag}):
                said = self._taped.model.invoke([Message.system(system), Message.user(body)], temperature=0.0)
        except Misconfigured:
            raise
        except SurefootError as error:
            return failed(f"{type(error).__name__}: {error}"[:200]), self._taped.take(tag)
        return verdict(said.text, self.task), self._taped.take(tag)


def verdict(said: str, task: Task = "groundedness") -> Score:
    """The one verdict in a reply; none, or both, is an error."""
    found = {not any(match.groups()) for match in _VERDICTS[task].finditer(said)}
    return score(float(found.pop())) if len(found) == 1 else failed(f"no single verdict in {said[:80]!r}")


@cache
def prompt(task: Task) -> tuple[str, str]:
    """The judge's two messages."""
    parts = re.fullmatch(r"\s*# System\n(.+)\n# User\n(.+)", _template(task).read_text(encoding="utf-8"), re.DOTALL)
    assert parts is not None
    return parts[1].strip(), parts[2].strip()


def _template(task: Task) -> Path:
    return TEMPLATES / f"{task}.md"


def _mark(task: Task) -> str:
    return hashlib.sha256(_template(task).read_bytes()).hexdigest()


def card(judge: Judge, rows: Sequence[Labelled], *, repeats: int, progress: bool = False) -> Card:
    """Grade every answer `repeats` times; the first verdict is the one set beside people's. Raises Misconfigured if none can be read."""
    from tqdm import tqdm

    found = []
    for row in tqdm(rows, unit="answer", disable=None if progress else True, dynamic_ncols=True):
        graded = [judge.grade(row.answer, row.passages, question=row.question, accepted=row.accepted, repeat=at) for at in range(repeats)]
        free = without_a_model[judge.task](row)
        found.append((row.good, [one.value for one, _ in graded], free, total([cost for _, cost in graded])))
    read = [one for one in found if one[1][0] is not None]
    if not read:
        raise Misconfigured(f"{judge.name}: not one of {len(rows)} verdicts could be read; it does not follow the judge's prompt")
    humans, said, lexical = (np.array([one[at] if at != 1 else one[1][0] == 1.0 for one in read]) for at in (0, 1, 2))
    draw = np.random.default_rng(0).integers(0, len(read), size=(RESAMPLES, len(read)))
    return Card(
        judge=judge.name,
        prompt=_mark(judge.task),
        task=judge.task,
        answers=len(rows),
        unread=len(rows) - len(read),
        base_rate=float(humans.mean()),
        kappa=kappa(said, humans),
        kappa_interval=_interval([kappa(said[at], humans[at]) for at in draw]),
        balanced_accuracy=_balanced(said, humans),
        balanced_interval=_interval([_balanced(said[at], humans[at]) for at in draw]),
        sensitivity=_share(said, humans),
        specificity=_share(~said, ~humans),
        consistency=float(np.mean([len(Counter(one[1])) == 1 for one in found])),
        repeats=repeats,
        lexical_kappa=kappa(lexical, humans),
        cost=total([one[3] for one in found]),
    )


def grading(
    asked: Judging, metrics: Sequence[str], material: Dataset, *, near: Path, tape: Recording
) -> tuple[dict[str, Callable[[ScoredRow], Score]], tuple[str, ...]]:
    """A measure for each metric that wants a judge, and which of them are only advisory: those without a card of this judge and prompt."""
    chat = load(near / asked.models).chat(asked.chat[0]) if asked.models else ChatModel(*asked.chat)
    cards = {"judged": asked.card, "judged_right": asked.right_card}
    measures, advisory = {}, []
    for name, task in METRICS_OF.items():
        if name in metrics:
            judge = Judge(chat, tape, task=task)
            measures[name] = _grounded(judge, material) if task == "groundedness" else _right(judge, material)
            if not cards[name] or not _may_decide(near / cards[name], judge):
                advisory.append(name)
    return measures, tuple(advisory)


def _may_decide(file: Path, judge: Judge) -> bool:
    try:
        held = msgspec.json.decode(file.read_bytes(), type=Card)
    except (OSError, msgspec.MsgspecError) as exc:
        raise Misconfigured(f"{file}: no judge's card ({exc}); make one by  python -m surefoot_eval judge ... --card FILE") from exc
    return not held.advisory and held.judge == judge.name and held.prompt == _mark(judge.task)


def _grounded(judge: Judge, material: Dataset) -> Callable[[ScoredRow], Score]:
    def measure(row: ScoredRow) -> Score:
        assert row.record is not None
        if row.record.refused:
            return not_applicable("refused")
        return judge.grade(spoken(row.record.answer), [material.shown(one) for one in row.record.passages])[0]

    return measure


def _right(judge: Judge, material: Dataset) -> Callable[[ScoredRow], Score]:
    """As the strict metric scores them, what is refused, and what nothing answers; a model is asked about the others."""

    def measure(row: ScoredRow) -> Score:
        assert row.record is not None
        query = row.asked.query
        if row.record.refused or not query.answerable:
            return score(float(row.record.refused and not query.answerable))
        if not query.answers:
            return not_applicable("no accepted answer is known")
        return judge.grade(spoken(row.record.answer), question=material.in_context(row.asked), accepted=query.answers)[0]

    return measure


def main(args: argparse.Namespace) -> int:
    """Print the card; returns 0 if the judge may decide, 1 if it is advisory."""
    if args.labels:
        rows = own(args.of, args.labels)
    elif args.of == "correctness":
        rows = own(args.of)
    elif args.data is None:
        raise Misconfigured("labels of groundedness: --data FOLDER of public data sets (BEGIN), or --labels FILE of your own")
    else:
        rows = begin(args.data)
    chat = load(args.models).chat(args.chat[0]) if args.models else ChatModel(*args.chat)
    tape = Recording(args.tape)
    try:
        found = card(Judge(chat, tape, task=args.of), sample(rows, args.answers), repeats=args.repeats, progress=True)
    finally:
        tape.close()
    print(found)
    if args.card:
        args.card.write_bytes(msgspec.json.format(msgspec.json.encode(found, order="sorted"), indent=1) + b"\n")
    return int(found.advisory)


def _share(said: np.ndarray, among: np.ndarray) -> float:
    """Of `among`, how many are `said`; 1 where there are none."""
    return float(said[among].mean()) if among.any() else 1.0


def _balanced(said: np.ndarray, humans: np.ndarray) -> float:
    """Mean of the shares of grounded and of ungrounded answers told rightly; of one where the other is absent."""
    shares = [float((said == humans)[humans == kind].mean()) for kind in (True, False) if (humans == kind).any()]
    return sum(shares) / len(shares)


def _interval(values: Sequence[float]) -> Interval:
    low, high = np.quantile(np.array(values), [0.025, 0.975])
    return Interval(float(low), float(high))


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
