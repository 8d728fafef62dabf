"""A copy as a file: JSON lines, gzipped. First what it is; of each table its columns, then a row a line; last the counts and a checksum.

A cell is JSON, but bytes are {"b64": "..."} and the floats that JSON lacks {"float": "inf"}. The checksum is the SHA-256 of all lines
before the last: it finds damage and careless hands, it is no signature.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import math
import os
import secrets
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from surefoot._documented import Documented
from surefoot.backup.snapshots import Snapshot
from surefoot.errors import Misconfigured

FORMAT = 1
LEVEL = 6  # of gzip


class Head(Struct, Documented, frozen=True, kw_only=True, tag="backup", tag_field="surefoot"):
    """The first line."""

    format: int
    """The version of this layout."""
    versions: dict[str, int]
    """The version of each part's tables."""


class TableHead(Struct, Documented, frozen=True, kw_only=True, tag="table", tag_field="surefoot"):
    """The line before a table's rows."""

    name: str
    """The table, by its name in Postgres."""
    columns: list[str]
    """What each row's cells are."""


class End(Struct, Documented, frozen=True, kw_only=True, tag="end", tag_field="surefoot"):
    """The last line."""

    rows: dict[str, int]
    """How many rows each table has."""
    sha256: str
    """Of all lines before this one, 64 hex digits."""


_encode = msgspec.json.Encoder().encode
_line = msgspec.json.Decoder(Head | TableHead | End)
_row = msgspec.json.Decoder(list[Any])


def write_copy(path: Path, found: Snapshot) -> dict[str, int]:
    """Write `found` into the new file `path`; rows by table. Raises Misconfigured where it cannot be written."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=LEVEL, mtime=0) as packed:
                counts = _write(packed, found)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)  # refused where another one has come meanwhile
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink()
    return counts


def _write(file: gzip.GzipFile, found: Snapshot) -> dict[str, int]:
    digest, counts = hashlib.sha256(), dict[str, int]()

    def put(value: Any) -> None:
        line = _encode(value) + b"\n"
        digest.update(line)
        file.write(line)

    put(Head(format=FORMAT, versions=found.versions))
    for name, columns, rows in found.tables():
        put(TableHead(name=name, columns=columns))
        counts[name] = 0
        for row in rows:
            put([_packed(cell) for cell in row])
            counts[name] += 1
    file.write(_encode(End(rows=counts, sha256=digest.hexdigest())) + b"\n")
    return counts


def _packed(cell: Any) -> Any:
    if isinstance(cell, bytes | bytearray | memoryview):
        return {"b64": base64.b64encode(cell).decode()}
    if isinstance(cell, float) and not math.isfinite(cell):
        return {"float": str(cell)}
    return cell


def _unpacked(cell: Any) -> Any:
    if not isinstance(cell, dict):
        return cell
    ((kind, said),) = cell.items()
    return base64.b64decode(said) if kind == "b64" else float(said)


class Copy(Struct, Documented, frozen=True):
    """A copy that was read from its first line to its last, and is whole."""

    path: Path
    """Where it is."""
    versions: dict[str, int]
    """The version of each part's tables."""
    counts: dict[str, int]
    """How many rows each table has."""

    def tables(self) -> Iterator[tuple[str, list[str], Iterator[list[Any]]]]:
        """(name, columns, rows) of each; its rows are there until the next one is asked for."""
        with gzip.open(self.path) as file:
            lines = iter(file)
            next(lines)
            for line in lines:
                head = _line.decode(line)
                if isinstance(head, TableHead):
                    rows = (_row.decode(next(lines)) for _ in range(self.counts[head.name]))
                    yield head.name, head.columns, ([_unpacked(cell) for cell in row] for row in rows)
                    for _ in rows:  # of a table that was passed over
                        pass


def read_copy(path: Path) -> Copy:
    """Check the whole file. Raises Misconfigured saying what is wrong with it."""
    digest, counts = hashlib.sha256(), dict[str, int]()
    name, end = "", None
    try:
        with gzip.open(path) as file:
            first = next(file, b"")
            head = _line.decode(first)
            if not isinstance(head, Head):
                raise Misconfigured(f"{path} is no copy that `surefoot backup` made")
            if head.format != FORMAT:
                raise Misconfigured(f"{path} has layout {head.format}, and this surefoot reads {FORMAT}: upgrade it")
            digest.update(first)
            for line in file:
                if end is not None:
                    raise Misconfigured(f"{path} goes on after its end: it was altered")
                if line.startswith(b"["):
                    counts[name] += 1
                elif isinstance(said := _line.decode(line), End):
                    end = said
                    continue
                else:
                    assert isinstance(said, TableHead)
                    name, counts[said.name] = said.name, 0
                digest.update(line)
    except FileNotFoundError as error:
        raise Misconfigured(f"there is no file {path}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile, msgspec.MsgspecError, KeyError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} is cut, altered, or no copy of surefoot's ({error}); nothing was written") from error
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror or error}") from error
    if end is None:
        raise Misconfigured(f"{path} ends in the middle: it was cut; nothing was written")
    if end.sha256 != digest.hexdigest() or end.rows != counts:
        raise Misconfigured(f"{path} was altered after it was made: its checksum does not fit; nothing was written")
    return Copy(path, head.versions, counts)
