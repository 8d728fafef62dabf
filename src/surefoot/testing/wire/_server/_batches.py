"""The vendors' batches as a simulator keeps them: files, batches, what came of each item. Their shapes: `_vendors/_batches.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import msgspec

Ends: TypeAlias = Literal["completed", "expired", "failed"]
Answered: TypeAlias = "tuple[int, bytes]"  # an item's status and body


class SimBatch(msgspec.Struct, kw_only=True):
    """One batch: its items by the id that the client gave each, in order, and what came of them."""

    id: str
    name: str
    created_s: float
    items: dict[str, tuple[str, bytes]]
    state: Literal["running", "stopping", "completed", "expired", "failed", "cancelled"] = "running"
    looks: int = 0
    answers: dict[str, Answered] = {}
    said: Mapping[str, object] = {}

    @property
    def is_over(self) -> bool:
        """Nothing more will come of it."""
        return self.state not in {"running", "stopping"}


class BatchDesk:
    """All batches and files of a simulator. `looks` says how often a batch is looked at until it ends, `ends` how it then does.

    One that expires, or is cancelled, has answered the first half of its items.
    """

    def __init__(self) -> None:
        self.looks = 1
        self.ends: Ends = "completed"
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, SimBatch] = {}

    def keep(self, body: bytes) -> str:
        """Keep a file; its id."""
        name = f"file-{len(self.files):08x}"
        self.files[name] = body
        return name

    def add(self, batch: SimBatch) -> SimBatch:
        """Take a batch up."""
        self.batches[batch.id] = batch
        return batch

    def look(self, batch: SimBatch, ask: Callable[[str, bytes], Answered]) -> SimBatch:
        """The batch as it is now; it ends at the look that is its last, and then `ask` answers its items."""
        batch.looks += 1
        if batch.state == "stopping":
            self._end(batch, "cancelled", ask)
        elif batch.state == "running" and batch.looks >= self.looks:
            self._end(batch, self.ends, ask)
        return batch

    def _end(self, batch: SimBatch, state: Literal["completed", "expired", "failed", "cancelled"], ask: Callable[..., Answered]) -> None:
        batch.state = state
        share = {"completed": len(batch.items), "failed": 0}.get(state, len(batch.items) // 2)
        for item in list(batch.items)[:share]:
            batch.answers[item] = ask(*batch.items[item])
