"""OpenAI's Batch API: a file of requests goes up, a batch over it is made, files of answers and of errors come down.

Source: https://platform.openai.com/docs/guides/batch and the API reference, November 2026.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

import msgspec

from surefoot.errors import Fault
from surefoot.facts import provider_of
from surefoot.providers.batches.lane import BatchLook, SubmittedBatch
from surefoot.providers.batches.wire import BatchWire, Keys
from surefoot.settings import Target

ENDED = {"completed", "failed", "expired", "cancelled"}
PREFIX = "/v1"  # of an item's address, whatever the target's own is
BOUNDARY = "surefoot-8c1f0a52b7e94d36"
NAMED = "surefoot"  # under which a batch's metadata has our name

_model = msgspec.json.Decoder(dict[str, msgspec.Raw])


class OpenAIBatches:
    """The batches of one target."""

    most = (50_000, 190_000_000)  # requests, bytes of a file (the limit is 200 MB)

    def __init__(self, target: Target, keys: Keys) -> None:
        known = provider_of("openai")
        assert known is not None
        options = dict(target.options)
        headers = {f"openai-{name}": str(options[name]) for name in ("organization", "project") if options.get(name)}
        self._wire = BatchWire(target, keys, address=known.address, sign=lambda key: {"authorization": f"Bearer {key}"}, headers=headers)
        self.target = target.name

    def group(self, path: str, body: bytes) -> str:
        """One address and one model a batch."""
        return f"{path} {bytes(_model.decode(body).get('model', b''))!r}"

    async def submit(self, batch: SubmittedBatch, requests: Mapping[str, tuple[str, bytes]]) -> str:
        """File up, batch made."""
        path = PREFIX + next(iter(requests.values()))[0]
        file = await self._wire.ask(
            "POST", "/files", _form(_lines(batch, path, requests)), content_type=f"multipart/form-data; boundary={BOUNDARY}"
        )
        said = {"input_file_id": file["id"], "endpoint": path, "completion_window": "24h", "metadata": {NAMED: batch.name}}
        return str((await self._wire.ask("POST", "/batches", msgspec.json.encode(said)))["id"])

    async def find(self, batch: SubmittedBatch, taken: Collection[str]) -> str:
        """By the name in its metadata, among those made since it was noted."""
        del taken
        after = ""
        while True:
            page = await self._wire.ask("GET", f"/batches?limit=100{after}")
            for one in page["data"]:
                if (one.get("metadata") or {}).get(NAMED) == batch.name:
                    return str(one["id"])
            if not page.get("has_more") or not page["data"] or page["data"][-1].get("created_at", 0) < batch.begun_at - 3600:
                return ""
            after = f"&after={page['data'][-1]['id']}"

    async def look(self, batch: SubmittedBatch) -> BatchLook:
        """How far it is."""
        said = await self._wire.ask("GET", f"/batches/{batch.id}")
        refused = ""
        if said["status"] == "failed":
            errors = (said.get("errors") or {}).get("data") or []
            refused = "; ".join(f"{one.get('message')} (line {one.get('line')})" for one in errors[:3]) or "no reason was given"
        return BatchLook(is_over=said["status"] in ENDED, refused=refused, said=said)

    async def results(self, batch: SubmittedBatch, seen: BatchLook) -> AsyncIterator[tuple[str, int, bytes]]:
        """The lines of both files."""
        for name in (seen.said.get("output_file_id"), seen.said.get("error_file_id")):
            if not name:
                continue
            async for one in self._wire.rows(f"/files/{name}/content", _RequestLine):
                if one.response is not None:
                    yield batch.item_of(one.custom_id), one.response.status_code, bytes(one.response.body)
                else:
                    yield batch.item_of(one.custom_id), 503, msgspec.json.encode({"error": one.error})

    async def cancel(self, batch: SubmittedBatch) -> None:
        """End it."""
        try:
            await self._wire.ask("POST", f"/batches/{batch.id}/cancel")
        except Fault as error:
            if error.status != 409:  # over already
                raise

    async def aclose(self) -> None:
        """Let go of connections."""
        await self._wire.aclose()


class _LineResponse(msgspec.Struct):
    status_code: int
    body: msgspec.Raw


class _RequestLine(msgspec.Struct):
    custom_id: str
    response: _LineResponse | None = None
    error: Any = None


def _lines(batch: SubmittedBatch, path: str, requests: Mapping[str, tuple[str, bytes]]) -> bytes:
    rows = (
        {"custom_id": batch.custom_id(item), "method": "POST", "url": path, "body": msgspec.Raw(body)}
        for item, (_, body) in requests.items()
    )
    return b"\n".join(map(msgspec.json.encode, rows))


def _form(file: bytes) -> bytes:
    """The file and its purpose as multipart/form-data."""
    part = f"--{BOUNDARY}\r\ncontent-disposition: form-data; name="
    return b"".join(
        (
            f'{part}"purpose"\r\n\r\nbatch\r\n'.encode(),
            f'{part}"file"; filename="surefoot.jsonl"\r\ncontent-type: application/jsonl\r\n\r\n'.encode(),
            file,
            f"\r\n--{BOUNDARY}--\r\n".encode(),
        )
    )
