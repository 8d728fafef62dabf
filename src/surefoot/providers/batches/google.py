"""Gemini's Batch API, with the requests in the body ("inline"): at most 20 MB a batch.

Source: https://ai.google.dev/gemini-api/docs/batch-api, November 2026.
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

API_VERSION = "v1beta"
KEY_HEADER = "x-goog-api-key"
ENDED = {"SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"}
STATUS = {3: 400, 5: 404, 7: 403, 8: 429, 9: 400, 14: 503, 16: 401}  # gRPC's codes


class GoogleBatches:
    """The batches of one target."""

    most = (50_000, 19_000_000)  # requests, bytes of the body (the limit is 20 MB)

    def __init__(self, target: Target, keys: Keys) -> None:
        known = provider_of("google")
        assert known is not None
        self._version = f"/{dict(target.options).get('api_version', API_VERSION)}"
        self._wire = BatchWire(target, keys, address=known.address, sign=lambda key: {KEY_HEADER: key}, headers={})
        self.target = target.name

    def group(self, path: str, body: bytes) -> str:
        """One model a batch, which the path names."""
        del body
        return path

    async def submit(self, batch: SubmittedBatch, requests: Mapping[str, tuple[str, bytes]]) -> str:
        """One request."""
        path = next(iter(requests.values()))[0].replace(":generateContent", ":batchGenerateContent")
        rows = [{"request": msgspec.Raw(body), "metadata": {"key": batch.custom_id(item)}} for item, (_, body) in requests.items()]
        said = {"batch": {"displayName": batch.name, "inputConfig": {"requests": {"requests": rows}}}}
        return str((await self._wire.ask("POST", f"{self._version}{path}", msgspec.json.encode(said)))["name"])

    async def find(self, batch: SubmittedBatch, taken: Collection[str]) -> str:
        """By its display name."""
        del taken
        after = ""
        while True:
            page = await self._wire.ask("GET", f"{self._version}/batches?pageSize=100{after}")
            for one in page.get("operations", []):
                if one.get("metadata", {}).get("displayName") == batch.name:
                    return str(one["name"])
            if not page.get("nextPageToken"):
                return ""
            after = f"&pageToken={page['nextPageToken']}"

    async def look(self, batch: SubmittedBatch) -> BatchLook:
        """How far it is."""
        said = await self._wire.ask("GET", f"{self._version}/{batch.id}")
        state = str(said.get("metadata", {}).get("state", "")).removeprefix("BATCH_STATE_")
        why = (said.get("error") or {}).get("message", "no reason was given") if state == "FAILED" else ""
        return BatchLook(is_over=state in ENDED or bool(said.get("done")), refused=why, said=said)

    async def results(self, batch: SubmittedBatch, seen: BatchLook) -> AsyncIterator[tuple[str, int, bytes]]:
        """The answers in the batch itself."""
        output: Mapping[str, Any] = seen.said.get("response") or seen.said.get("metadata", {}).get("output") or {}
        for one in output.get("inlinedResponses", {}).get("inlinedResponses", []):
            item = batch.item_of(str(one.get("metadata", {}).get("key", "")))
            if "response" in one:
                yield item, 200, msgspec.json.encode(one["response"])
            else:
                error = one.get("error") or {}
                yield item, STATUS.get(error.get("code", 0), 500), msgspec.json.encode({"error": error})

    async def cancel(self, batch: SubmittedBatch) -> None:
        """End it."""
        try:
            await self._wire.ask("POST", f"{self._version}/{batch.id}:cancel", b"{}")
        except Fault as error:
            if error.status != 400:  # over already
                raise

    async def aclose(self) -> None:
        """Let go of connections."""
        await self._wire.aclose()
