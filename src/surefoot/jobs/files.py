"""Items out of files and answers into files, for the command line: JSON lines, CSV, Parquet. Read and written in parts."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

import msgspec

from surefoot.errors import Misconfigured
from surefoot.jobs.kinds import JobKind
from surefoot.text import one_line, plain

COLUMNS = ("prompt", "question", "input", "text", "messages")  # what a column with the items may be called
NOTES = ("id", "metadata")  # kept with the item for whoever reads the answers, and not sent
READS, WRITES = ("jsonl", "csv"), ("jsonl", "csv", "parquet")
ROWS_AT_ONCE = 5_000  # a row group of Parquet
FIELD_BYTES = 2**27  # the longest cell of CSV: Python's own limit of 128 KiB is less than some documents

_encode = msgspec.json.Encoder(enc_hook=plain).encode
Row = dict[str, Any]


def ending_of(path: Path, known: tuple[str, ...]) -> str:
    """What the file is, by its ending. Raises Misconfigured for another one."""
    ending = {"ndjson": "jsonl", "pq": "parquet"}.get(path.suffix.lower().lstrip("."), path.suffix.lower().lstrip("."))
    if ending not in known:
        raise Misconfigured(f"{path}: name a file that ends in {', '.join(f'.{one}' for one in known)}")
    return ending


def check_writable(path: Path) -> None:
    """Raise Misconfigured for a file of answers that cannot be written here: its ending, or a package that it needs."""
    if ending_of(path, WRITES) == "parquet" and find_spec("pyarrow") is None:
        raise _no_parquet()


def _no_parquet() -> Misconfigured:
    return Misconfigured('Parquet needs pyarrow: run  pip install "surefoot[parquet]", or write .jsonl or .csv')


def digest_of(path: Path, *said: Any) -> str:
    """Names what a job is made from: the file's bytes (of a folder names, sizes and times) and how it is asked.

    Raises Misconfigured for a file that cannot be read.
    """
    state = blake2b(repr(said).encode(), digest_size=12)
    try:
        if path.is_dir():
            for one in sorted(path.rglob("*")):
                about = one.stat()
                state.update(f"{one.relative_to(path)} {about.st_size} {about.st_mtime_ns}\n".encode())
            return state.hexdigest()
        with path.open("rb") as file:
            while block := file.read(2**20):
                state.update(block)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from error
    return state.hexdigest()


def read_items(path: Path, column: str | None = None) -> Iterator[Any]:
    """The items of a file: a line each (JSON lines: text, or an object) or a row each (CSV, with a heading).

    `column` names the field or column that holds the item; all others are then kept beside it. Of CSV it may be left out where one has a
    customary name (prompt, question, text, ...), or there is but one. Raises Misconfigured naming the line.
    """
    ending = ending_of(path, READS)
    try:
        with path.open(encoding="utf-8-sig", newline="" if ending == "csv" else None) as file:
            yield from _csv_items(path, file, column) if ending == "csv" else _json_items(path, file, column)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error


def _json_items(path: Path, file: TextIO, column: str | None) -> Iterator[Any]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            item = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            raise Misconfigured(
                f"{path}, line {number}: not JSON ({error}); each line is one item: text in quotes, or an object"
            ) from error
        yield item if column is None else _by_column(path, number, item, column)


def _csv_items(path: Path, file: TextIO, column: str | None) -> Iterator[Any]:
    csv.field_size_limit(FIELD_BYTES)
    rows = csv.DictReader(file)
    names = list(rows.fieldnames or ())
    found = [column] if column is not None else [name for name in names if name.lower() in COLUMNS]
    if column is None and not found and len(names) == 1:
        found = names
    if len(found) != 1 or found[0] not in names:
        raise Misconfigured(f"{path}: which of its columns ({', '.join(names) or 'none'}) holds the items? name it with --column")
    try:
        for row in rows:
            if None in row or None in row.values():
                raise Misconfigured(f"{path}, line {rows.line_num}: it has not as many cells as the heading")
            yield _by_column(path, rows.line_num, row, found[0])
    except csv.Error as error:
        raise Misconfigured(f"{path}, line {rows.line_num}: {error}") from error


def _by_column(path: Path, number: int, item: Any, column: str) -> Any:
    """The item under `column`; what stands beside it is kept with it."""
    if not isinstance(item, Mapping) or column not in item:
        raise Misconfigured(f"{path}, line {number}: there is no {column!r}")
    word = "messages" if isinstance(item[column], list) else "text"
    rest = {name: value for name, value in item.items() if name not in {column, *NOTES}}
    return {word: item[column]} | {name: item[name] for name in NOTES if name in item} | ({"metadata": rest} if rest else {})


def rows_of(kind: JobKind, results: Iterable[tuple[int, Any]], inputs: Iterator[tuple[int, Any]]) -> Iterator[Row]:
    """One flat row a result: number, what was asked, the answer, or the error."""
    row_of: Callable[[Any], Row] = getattr(kind, "row", lambda value: {"value": value})
    asked_of: Callable[[Any], Row] = getattr(kind, "asked", lambda item: {"item": item})
    n, item = next(inputs, (-1, None))
    for number, value in results:
        while n < number:
            n, item = next(inputs)
        row = {"n": number, **asked_of(item)}
        if isinstance(value, Exception):
            row |= {"error": type(value).__name__, "message": one_line(str(value))}
        else:
            row |= row_of(value)
        yield row


def write_rows(path: Path, rows: Iterable[Row], columns: tuple[str, ...]) -> int:
    """Write rows to a file that appears whole, in place of one that was there; how many. Raises Misconfigured if it cannot be written."""
    ending = ending_of(path, WRITES)
    part = path.with_name(f"{path.name}.part")
    write = {"jsonl": _jsonl, "csv": _csv, "parquet": _parquet}[ending]
    count = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write(part, columns) as put:
            for row in rows:
                put(row)
                count += 1
        part.replace(path)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return count


Put = Callable[[Row], None]


@contextmanager
def _jsonl(path: Path, columns: tuple[str, ...]) -> Iterator[Put]:
    del columns
    with path.open("wb") as file:
        yield lambda row: file.writelines((_encode(row), b"\n"))


@contextmanager
def _csv(path: Path, columns: tuple[str, ...]) -> Iterator[Put]:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        yield lambda row: writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: Any) -> Any:
    return _encode(value).decode() if isinstance(value, list | dict) else value


def _parquet(path: Path, columns: tuple[str, ...]) -> AbstractContextManager[Put]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise _no_parquet() from error

    @contextmanager
    def opened() -> Iterator[Put]:
        waiting: list[Row] = []
        writer: Any = None

        def flush() -> None:
            nonlocal writer
            table = pa.table({name: pa.array([_plain_cell(row.get(name)) for row in waiting], type=_type(pa, name)) for name in columns})
            writer = writer or parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
            waiting.clear()

        def put(row: Row) -> None:
            waiting.append(row)
            if len(waiting) >= ROWS_AT_ONCE:
                flush()

        try:
            yield put
            if waiting or writer is None:
                flush()
        finally:
            if writer is not None:
                writer.close()

    return opened()


FLOATS, WHOLE = ("cost_usd",), ("n", "input_tokens", "output_tokens")


def _type(pa: Any, name: str) -> Any:
    if name == "vector":
        return pa.list_(pa.float32())
    return pa.int64() if name in WHOLE else pa.float64() if name in FLOATS else pa.string()


def _plain_cell(value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], float):
        return value
    return _encode(value).decode() if isinstance(value, list | dict) else value
