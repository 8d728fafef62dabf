"""Rows on the disk until the ledger has them: who is killed loses none, and the next process to start writes them.

A file a segment, a line of JSON a row; a segment is written to the ledger whole, under its name, so that one that was written and not yet
deleted is not written twice. Each process holds a lock as long as it lives; segments whose process holds none are taken over.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from surefoot.errors import Misconfigured
from surefoot.usage.rows import COLUMNS, Cells

try:
    import fcntl
except ImportError:  # Windows: nobody can tell whether a process has died, so rows wait in memory alone
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("surefoot.usage.ledger")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[str | int | float | None]).decode


class Spool:
    """The segments of one process in `folder`. While they cannot be written (a full disk), rows wait in memory alone; it is logged once.

    Raises Misconfigured for a folder that cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._segment = -1
        self._lock: IO[bytes] | None = None
        self._taken_over: list[IO[bytes]] = []
        self._is_well = True
        self._name = ""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            while self._lock is None and fcntl is not None:  # somebody who looks for the dead may hold a new lock for a moment
                self._name = f"{os.getpid()}-{secrets.token_hex(4)}"
                self._lock = _locked(folder / f"{self._name}.lock")
        except OSError as error:
            raise Misconfigured(f"the spool of the ledger, {folder}, cannot be used: {error}") from error

    def append(self, segment: str, row: Cells) -> None:
        """Put `row` behind those of `segment`."""
        if self._lock is None:
            return
        try:
            if self._segment < 0:
                self._segment = os.open(self._path(segment), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(self._segment, _encode(row) + b"\n")
            self._is_well = True
        except OSError as error:
            if self._is_well:
                self._is_well = False
                logger.warning("rows of the ledger cannot be put down in %s (%s): they wait in memory", self._folder, error)

    def next(self) -> str:
        """The name of a new segment; the one before gets no more rows."""
        if self._segment >= 0:
            os.close(self._segment)
            self._segment = -1
        self._count += 1
        return f"{self._name}.{self._count:08}"

    def written(self, segment: str) -> None:
        """The ledger has it."""
        self._path(segment).unlink(missing_ok=True)

    def left_behind(self) -> Iterator[tuple[str, list[Cells]]]:
        """The segments of processes that have died, which are this one's from now on."""
        for path in sorted(self._folder.glob("*.lock")):
            lock = None if self._lock is None else _locked(path)
            if lock is None:
                continue
            for segment in sorted(self._folder.glob(f"{path.stem}.*.rows")):
                rows = list(_rows(segment))
                if rows:
                    yield segment.name.removesuffix(".rows"), rows
                else:
                    segment.unlink(missing_ok=True)
            self._taken_over.append(lock)
            self._let_go(lock)

    def _let_go(self, lock: IO[bytes]) -> None:
        """Delete a lock of which no segment is left; the others are kept for who comes next."""
        path = Path(lock.name)
        if not any(self._folder.glob(f"{path.stem}.*.rows")):
            path.unlink(missing_ok=True)
            self._taken_over.remove(lock)
            lock.close()

    def close(self) -> None:
        """The process ends: what was not written is left for the next one."""
        self.next()
        if self._lock is not None:
            self._taken_over.append(self._lock)
        for lock in list(self._taken_over):
            self._let_go(lock)
        for lock in self._taken_over:
            lock.close()
        self._lock, self._taken_over = None, []

    def _path(self, segment: str) -> Path:
        return self._folder / f"{segment}.rows"


def _locked(path: Path) -> IO[bytes] | None:
    """The file at `path`, locked for as long as it is open; None where another process has it."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def _rows(path: Path) -> Iterator[Cells]:
    """The rows of a segment; a last line that a kill cut off is none: its call was not answered."""
    for line in path.read_bytes().splitlines():
        try:
            row = _decode(line)
        except msgspec.DecodeError:
            continue
        if len(row) == len(COLUMNS):
            yield tuple(row)
