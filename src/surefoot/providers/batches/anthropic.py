"""Anthropic's Message Batches API: requests in one body, results as lines.

Source: https://docs.anthropic.com/en/docs/build-with-claude/batch-processing and the API reference, November 2026. A batch has no name
there; one that may be ours is told by the names of its items, which its results repeat.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime
from typing import Any

import msgspec

from surefoot.facts import provider_of
from surefoot.providers.batches.lane import LOOKS_S, BatchLook, SubmittedBatch
from surefoot.providers.batches.wire import BatchWire, Keys
from surefoot.settings import Target

PATH = "/v1/messages/batches"
API_VERSION = "2023-06-01"
SUBMIT_S = 900.0  # a batch that was made later than so long after it was noted is not the one that was noted
CLOCKS_S = 60.0  # how far the vendor's clock may be from ours
STATUS = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403, "not_found_error": 404,
    "request_too_large": 413, "rate_limit_error": 429, "overloaded_error": 529,
}  # fmt: skip


class AnthropicBatches:
    """The batches of one target."""

    most = (100_000, 240_000_000)  # requests, bytes of the body (the limit is 256 MB)

    def __init__(self, target: Target, keys: Keys) -> None:
        known = provider_of("anthropic")
        assert known is not None
        headers = {"anthropic-version": API_VERSION}
        if beta := dict(target.options).get("beta"):
            headers["anthropic-beta"] = str(beta)
        self._wire = BatchWire(target, keys, address=known.address, sign=lambda key: {"x-api-key": key}, headers=headers)
        self.target = target.name

    def group(self, path: str, body: bytes) -> str:
        """All messages may go into one batch."""
        del body
        return path

    async def submit(self, batch: SubmittedBatch, requests: Mapping[str, tuple[str, bytes]]) -> str:
        """One request."""
        rows = [{"custom_id": batch.custom_id(item), "params": msgspec.Raw(body)} for item, (_, body) in requests.items()]
        return str((await self._wire.ask("POST", PATH, msgspec.json.encode({"requests": rows})))["id"])

    async def find(self, batch: SubmittedBatch, taken: Collection[str]) -> str:
        """Among those made when it was noted, with at most as many items: the one whose results name ours. Waits until they have ended."""
        after = ""
        while True:
            page = await self._wire.ask("GET", f"{PATH}?limit=100{after}")
            for one in page["data"]:
                made_s = datetime.fromisoformat(one["created_at"]).timestamp() - batch.begun_at
                if made_s < -CLOCKS_S:
                    return ""
                may_be = made_s <= SUBMIT_S and sum(one["request_counts"].values()) <= len(batch.items) and one["id"] not in taken
                if may_be and await self._is_ours(batch, one["id"]):
                    return str(one["id"])
            if not page.get("has_more") or not page["data"]:
                return ""
            after = f"&after_id={page['last_id']}"

    async def _is_ours(self, batch: SubmittedBatch, name: str) -> bool:
        wait_s, most_s = LOOKS_S
        while (await self._wire.ask("GET", f"{PATH}/{name}"))["processing_status"] != "ended":
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, most_s)
        async for one in self._wire.rows(f"{PATH}/{name}/results", _MessageLine):
            return batch.item_of(one.custom_id) != ""
        return False

    async def look(self, batch: SubmittedBatch) -> BatchLook:
        """How far it is."""
        said = await self._wire.ask("GET", f"{PATH}/{batch.id}")
        return BatchLook(is_over=said["processing_status"] == "ended", said=said)

    async def results(self, batch: SubmittedBatch, seen: BatchLook) -> AsyncIterator[tuple[str, int, bytes]]:
        """The lines of the file of results."""
        del seen
        async for one in self._wire.rows(f"{PATH}/{batch.id}/results", _MessageLine):
            item, result = batch.item_of(one.custom_id), one.result
            if result.type == "succeeded":
                yield item, 200, bytes(result.message)
            elif result.type == "errored":
                kind = ((result.error or {}).get("error") or {}).get("type", "")
                yield item, STATUS.get(kind, 500), msgspec.json.encode(result.error)
            # canceled and expired have no answer, and are told as such

    async def cancel(self, batch: SubmittedBatch) -> None:
        """End it."""
        await self._wire.ask("POST", f"{PATH}/{batch.id}/cancel")

    async def aclose(self) -> None:
        """Let go of connections."""
        await self._wire.aclose()


class _MessageResult(msgspec.Struct):
    type: str
    message: msgspec.Raw = msgspec.Raw(b"")
    error: Any = None


class _MessageLine(msgspec.Struct):
    custom_id: str
    result: _MessageResult
