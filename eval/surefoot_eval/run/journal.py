"""An append-only file of JSON lines that outlives kill -9: one record a line, on disk before the next question counts as done.

What a kill in the middle of a write leaves is a last line without its end; opening the journal takes that off, and nothing else.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from surefoot.errors import Misconfigured

__all__ = ["Journal", "records_of"]

R = TypeVar("R", bound=msgspec.Struct)


class Journal(Generic[R]):
    """Records of one type in `path`, in the order they came; safe for threads, one process at a time.

    Raises Misconfigured for a whole line that is no record: the file was edited, and guessing would hide it; and where another
    process holds the file.
    """

    def __init__(self, path: Path, kind: type[R]) -> None:
        self.path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self._hold()
            self.records: list[R] = self._read(kind)
        except BaseException:
            os.close(self._file)
            raise

    def append(self, record: R) -> None:
        """Write one line and wait until it is on disk."""
        line = msgspec.json.encode(record, order="sorted") + b"\n"
        with self._lock:
            self._write(line)
            os.fsync(self._file)
            self.records.append(record)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _write(self, line: bytes) -> None:
        while line:
            line = line[os.write(self._file, line) :]

    def _hold(self) -> None:
        try:
            import fcntl
        except ImportError:  # pragma: no cover - Windows has no such lock; two runs at once are then the caller's care
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise Misconfigured(f"{self.path}: another run is writing it; wait for that, or name another folder with --out") from exc

    def _read(self, kind: type[R]) -> list[R]:
        records, whole = _parsed(self.path, kind)
        if whole < self.path.stat().st_size:
            os.ftruncate(self._file, whole)
        return records


def records_of(path: Path, kind: type[R]) -> list[R]:
    """The whole records in `path`, for who only reads: a torn last line is passed over, and nothing is locked or changed."""
    return _parsed(path, kind)[0]


def _parsed(path: Path, kind: type[R]) -> tuple[list[R], int]:
    """The records, and how many bytes of whole lines they took."""
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    records = []
    for number, line in enumerate(whole.split(b"\n")[:-1], 1):
        try:
            records.append(msgspec.json.decode(line, type=kind))
        except msgspec.MsgspecError as exc:
            raise Misconfigured(f"{path}, line {number}: not a record of this program ({exc})") from exc
    return records, len(whole)
