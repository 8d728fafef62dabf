"""What a run keeps of one question: the answer with its spans, what it took, and what went wrong. One JSON line each."""

from __future__ import annotations

import msgspec

from surefoot_eval.data.formats import TextSpan

__all__ = ["Cost", "Record", "Shown"]


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A passage that was found; its text stands in the document at `[start, end)`.

    `text` holds it only where no document of ours does: a service may show passages of its own.
    """

    id: str
    document: str
    start: int
    end: int
    score: float | None = None
    text: str = ""

    @property
    def window(self) -> TextSpan:
        """Where it stands."""
        return TextSpan(self.document, self.start, self.end)


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What the model calls of one question took, from surefoot's own events.

    `seconds` are the calls' own, waiting and retries included; `usd` is None where a price is unknown. `replayed` says that they were
    taken from a recording: the figures are still those of the day they were recorded.
    """

    calls: int = 0
    seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = 0.0
    attempts: int = 0
    retries: int = 0
    fallbacks: int = 0
    hedges: int = 0
    replayed: bool = False


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One question asked of one system under one seed; the last record of a key counts. `tries` counts the records of that key."""

    system: str
    question: str
    seed: int = 0
    answer: str = ""
    refused: bool = False
    citations: tuple[TextSpan, ...] = ()
    passages: tuple[Shown, ...] = ()
    model: str = ""
    cost: Cost = Cost()
    pipeline_s: float = 0.0
    error: str = ""
    tries: int = 1

    @property
    def key(self) -> tuple[str, str, int]:
        """What was asked of whom."""
        return (self.system, self.question, self.seed)
