"""The batches that a gateway serves: its files, its jobs, and the worker that does them beside the requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import msgspec

from surefoot.errors import SurefootError
from surefoot.gateway.batches.items import ENDPOINTS, ItemAnswer, ServingModels
from surefoot.gateway.batches.records import BatchAsked, BatchRecord, FileRecord
from surefoot.gateway.batches.store import FileStore
from surefoot.gateway.batches.uploads import requests_of
from surefoot.gateway.errors import HttpError
from surefoot.gateway.exchange import HttpExchange
from surefoot.gateway.services import Services
from surefoot.jobs.queue import Jobs
from surefoot.secret import Secret

CHUNK = 20  # requests asked at once of a batch, two of which are under way: few beside the places for those who wait
KEPT_DAYS = 30


class Batches:
    """Files and batches at `url`, worked on from the start until it is closed. Lives on one loop."""

    def __init__(self, url: Secret, services: Services) -> None:
        self.files = FileStore(url)
        self.jobs = Jobs(url, models=ServingModels(services))
        self._services = services
        self._worker: asyncio.Task[Any] | None = None

    def start(self) -> None:
        """Work on what is there and on what comes."""
        self._worker = asyncio.get_running_loop().create_task(self.jobs.work(forever=True))

    async def aclose(self) -> None:
        """Give back what is under way, to be asked again by who starts next, and close."""
        if self._worker is not None:
            self._worker.cancel()
            with suppress(asyncio.CancelledError, SurefootError):
                await self._worker
        await self.jobs.aclose()
        await self.files.aclose()

    async def create(self, exchange: HttpExchange, asked: BatchAsked) -> dict[str, Any]:
        """A new batch, as it is shown. Raises HttpError: 400 naming the line that could never be asked, 404 for a model or a file."""
        owner = exchange.grant.key_id
        if asked.endpoint not in ENDPOINTS:
            raise HttpError(400, "invalid_request", f"endpoint is one of {', '.join(ENDPOINTS)}", param="endpoint")
        requests = requests_of(await self.files.content(owner, asked.input_file_id), asked.endpoint)
        find = self._services.chat if asked.endpoint == "/v1/chat/completions" else self._services.embed
        for name in dict.fromkeys(one["model"] for one in requests):
            find(exchange, name)
        job = await self.jobs.asubmit(
            "gateway",
            requests,
            tenant=exchange.grant.tenant,
            tags={"key": owner},
            chunk=CHUNK,
            ttl_days=KEPT_DAYS,
            endpoint=asked.endpoint,
            owner=owner,
        )
        return (await self.files.add_batch(owner, job, asked)).shown(await self.jobs.astatus(job))

    async def shown(self, record: BatchRecord) -> dict[str, Any]:
        """A batch as it stands."""
        return record.shown(await self.jobs.astatus(record.job))

    async def cancel(self, record: BatchRecord) -> dict[str, Any]:
        """End it; what was done is kept."""
        await self.jobs.acancel(record.job)
        return await self.shown(record)

    async def output(self, owner: str, file_id: str) -> tuple[FileRecord, AsyncGenerator[bytes, None]] | None:
        """The file that a batch's answers are, and its lines; None for a name of no such file. Raises HttpError (404)."""
        name, _, kind = file_id.removeprefix("file-").partition("-")
        if kind not in {"output", "errors"}:
            return None
        record = await self.files.batch(owner, f"batch_{name}")
        if await self._missing(record, kind):
            raise HttpError(404, "not_found", f"there is no file {file_id[:100]!r}: the batch has not ended, or nothing came of it")
        size = 0
        async for line in self._lines(record, kind):
            size += len(line)
        made = FileRecord(id=file_id, name=f"{record.id}_{kind}.jsonl", purpose="batch_output", size_bytes=size, created=record.created)
        return made, self._lines(record, kind)

    async def _missing(self, record: BatchRecord, kind: str) -> bool:
        status = await self.jobs.astatus(record.job)
        return not status.is_over or not (status.done if kind == "output" else status.failed)

    async def _lines(self, record: BatchRecord, kind: str) -> AsyncGenerator[bytes, None]:
        items = self.jobs.ainputs(record.job)
        seen, item = -1, dict[str, Any]()
        async for n, value in self.jobs.aresults(record.job):
            while seen < n:
                seen, item = await anext(items)
            if isinstance(value, ItemAnswer) == (kind == "output"):
                yield _line(record.job, n, item["id"], value)


def _line(job: str, n: int, name: str, value: Any) -> bytes:
    """What came of one request, as OpenAI writes it."""
    if isinstance(value, ItemAnswer):
        status, request_id, body = 200, value.request_id, msgspec.Raw(value.body.encode())
    else:
        status, request_id = getattr(value, "status", None) or 500, getattr(value, "request_id", "")
        body = msgspec.Raw(HttpError(status, getattr(value, "code", "") or "internal_error", str(value)).openai())
    said = {
        "id": f"batch_req_{job}_{n}", "custom_id": name, "error": None,
        "response": {"status_code": status, "request_id": request_id, "body": body},
    }  # fmt: skip
    return msgspec.json.encode(said) + b"\n"
