"""Rows on their way to where they are kept."""

from __future__ import annotations

import secrets
import threading
from collections import deque

from surefoot.usage.rows import COLUMNS, Cells
from surefoot.usage.rows.spool import Spool

ROWS_AT_ONCE = 5_000  # in one commit, some 20 ms: no other process waits longer
MAX_WAITING_BYTES = 64 * 2**20  # rows in memory: two minutes of a thousand calls a second, two hours of fifteen
ROW_BYTES = 500  # what a row takes in memory beside its texts
COST_AT = COLUMNS.index("cost_usd")


class WaitingRows:
    """At most MAX_WAITING_BYTES of rows; of what comes beyond, the count and the cost are kept. With a `spool` they are on disk, too."""

    def __init__(self, spool: Spool | None = None) -> None:
        self._spool = spool
        self._rows: deque[Cells] = deque()
        self._size = 0
        self._lost = self._lost_usd = 0.0
        self._batches: deque[tuple[str, int]] = deque()  # those that are closed, and their rows
        self._open, self._in_open = self._new(), 0
        self._lock = threading.Lock()
        for batch, rows in spool.left_behind() if spool is not None else ():
            self._rows.extend(rows)
            self._size += sum(map(_size, rows))
            self._batches.append((batch, len(rows)))

    def _new(self) -> str:
        return secrets.token_hex(8) if self._spool is None else self._spool.next()

    def __len__(self) -> int:
        """Rows that wait."""
        return len(self._rows)

    def add(self, row: Cells) -> None:
        """Put `row` behind the others, or count it where there is no room."""
        size = _size(row)
        with self._lock:
            if self._size + size > MAX_WAITING_BYTES:
                self._lost, self._lost_usd = self._lost + 1, self._lost_usd + (row[COST_AT] or 0.0)
                return
            self._size += size
            self._rows.append(row)
            self._in_open += 1
            if self._spool is not None:
                self._spool.append(self._open, row)
            if self._in_open >= ROWS_AT_ONCE:
                self._close()

    def _close(self) -> None:
        self._batches.append((self._open, self._in_open))
        self._open, self._in_open = self._new(), 0

    def take(self) -> tuple[str, list[Cells]]:
        """The first ROWS_AT_ONCE rows, which are then in the caller's hands, under a name of their own: the same one if they come again."""
        with self._lock:
            if not self._batches:
                self._close()
            batch, count = self._batches.popleft()
            rows = [self._rows.popleft() for _ in range(count)]
            self._size -= sum(map(_size, rows))
            return batch, rows

    def put_back(self, batch: str, rows: list[Cells]) -> None:
        """It is not known that `rows` were written: they come first the next time."""
        with self._lock:
            self._batches.appendleft((batch, len(rows)))
            self._rows.extendleft(reversed(rows))
            self._size += sum(map(_size, rows))

    def written(self, batch: str) -> None:
        """They are where they are kept."""
        if self._spool is not None:
            self._spool.written(batch)

    def close(self) -> None:
        """The process ends: nothing comes any more."""
        if self._spool is not None:
            self._spool.close()

    def lost(self) -> str:
        """What to say of rows there was no room for; "" if there are none."""
        return f"{self._lost:.0f} rows of ${self._lost_usd:.6f} found no room in memory and are in no sum" if self._lost else ""

    def lost_was_told(self) -> None:
        """It is put down: begin to count anew."""
        self._lost = self._lost_usd = 0.0


def _size(row: Cells) -> int:
    return ROW_BYTES + sum(len(cell) for cell in row if type(cell) is str)
