"""Files and batches in the database of the jobs. Every statement names the owner, so that no key finds what is another's."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import msgspec

from surefoot.gateway.batches.records import BatchAsked, BatchRecord, FileRecord
from surefoot.gateway.errors import HttpError
from surefoot.secret import Secret
from surefoot.storage.sql import Sql, TableSchema, open_database

FILES = TableSchema("files", "surefoot.gateway.batches")
KEPT_S = 30 * 86_400.0  # a file, as long as its batch's answers
MOST_BYTES = 1 << 30  # of one key's files

_asked = msgspec.json.Decoder(BatchAsked)


class FileStore:
    """Files and batches at `url`: "sqlite:PATH" or "postgresql://..."."""

    def __init__(self, url: Secret) -> None:
        self._database = open_database(url)

    async def add_file(self, owner: str, name: str, content: bytes) -> FileRecord:
        """Keep a file. Raises HttpError (413) where its owner has too much here already."""

        def add(sql: Sql) -> FileRecord:
            now = sql.now()
            sql.change("DELETE FROM sf_file WHERE created < ?", (now - KEPT_S,))
            held = sql.row("SELECT COALESCE(SUM(bytes), 0) FROM sf_file WHERE owner = ?", (owner,))
            if held is not None and held[0] + len(content) > MOST_BYTES:
                raise HttpError(413, "too_many_files", f"this key has {held[0]} bytes of files here, {MOST_BYTES} are allowed; delete some")
            made = FileRecord(id=f"file-{secrets.token_hex(12)}", name=name, purpose="batch", size_bytes=len(content), created=now)
            sql.change(
                "INSERT INTO sf_file (id, owner, name, purpose, bytes, created, content) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (made.id, owner, name, made.purpose, made.size_bytes, now, content),
            )
            return made

        return await self._database.run(add, FILES)

    async def file(self, owner: str, file_id: str) -> FileRecord:
        """One. Raises HttpError (404)."""
        rows = await self._rows("SELECT id, name, purpose, bytes, created FROM sf_file WHERE owner = ? AND id = ?", (owner, file_id))
        return _file(_one(rows, file_id))

    async def content(self, owner: str, file_id: str) -> bytes:
        """Its bytes. Raises HttpError (404)."""
        return bytes(_one(await self._rows("SELECT content FROM sf_file WHERE owner = ? AND id = ?", (owner, file_id)), file_id)[0])

    async def files(self, owner: str, *, after: str, limit: int) -> list[FileRecord]:
        """The owner's, newest first, at most `limit`, those behind the id `after`."""
        rows = await self._rows(
            "SELECT id, name, purpose, bytes, created FROM sf_file WHERE owner = ? AND (? = '' OR (created, id) < "
            "(SELECT created, id FROM sf_file WHERE owner = ? AND id = ?)) ORDER BY created DESC, id DESC LIMIT ?",
            (owner, after, owner, after, limit),
        )
        return [_file(row) for row in rows]

    async def delete_file(self, owner: str, file_id: str) -> None:
        """Delete one. Raises HttpError (404)."""
        statement = "DELETE FROM sf_file WHERE owner = ? AND id = ?"
        if not await self._database.run(lambda sql: sql.change(statement, (owner, file_id)), FILES):
            raise _nothing(file_id)

    async def add_batch(self, owner: str, job: str, asked: BatchAsked) -> BatchRecord:
        """Note whose batch a job is."""

        def add(sql: Sql) -> BatchRecord:
            made = BatchRecord(id=f"batch_{secrets.token_hex(12)}", job=job, asked=asked, created=sql.now())
            sql.change(
                "INSERT INTO sf_asked_batch (id, owner, job, said, created) VALUES (?, ?, ?, ?, ?)",
                (made.id, owner, job, msgspec.json.encode(asked).decode(), made.created),
            )
            return made

        return await self._database.run(add, FILES)

    async def batch(self, owner: str, batch_id: str) -> BatchRecord:
        """One. Raises HttpError (404)."""
        rows = await self._rows("SELECT id, job, said, created FROM sf_asked_batch WHERE owner = ? AND id = ?", (owner, batch_id))
        return _batch(_one(rows, batch_id))

    async def batches(self, owner: str, *, after: str, limit: int) -> list[BatchRecord]:
        """The owner's, newest first, at most `limit`, those behind the id `after`."""
        rows = await self._rows(
            "SELECT id, job, said, created FROM sf_asked_batch WHERE owner = ? AND (? = '' OR (created, id) < "
            "(SELECT created, id FROM sf_asked_batch WHERE owner = ? AND id = ?)) ORDER BY created DESC, id DESC LIMIT ?",
            (owner, after, owner, after, limit),
        )
        return [_batch(row) for row in rows]

    async def aclose(self) -> None:
        """Close the database."""
        await self._database.aclose()

    async def _rows(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        return list(await self._database.run(lambda sql: sql.rows(statement, values), FILES, reads=True))


def _file(row: tuple[Any, ...]) -> FileRecord:
    file_id, name, purpose, size, created = row
    return FileRecord(id=file_id, name=name, purpose=purpose, size_bytes=size, created=created)


def _batch(row: tuple[Any, ...]) -> BatchRecord:
    batch_id, job, said, created = row
    return BatchRecord(id=batch_id, job=job, asked=_asked.decode(said), created=created)


def _one(rows: list[tuple[Any, ...]], name: str) -> tuple[Any, ...]:
    if not rows:
        raise _nothing(name)
    return rows[0]


def _nothing(name: str) -> HttpError:
    return HttpError(404, "not_found", f"there is nothing named {name[:100]!r} for this key")
