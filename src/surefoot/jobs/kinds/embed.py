"""The kind `embed`: every item is a text, every result its vector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from surefoot.errors import BadRequest, BudgetExceeded, SurefootError
from surefoot.jobs.kinds import ItemResult, Put
from surefoot.jobs.kinds._asking import DEADLINE_S, failed, patiently
from surefoot.jobs.models import ModelSource
from surefoot.jobs.records import OpenChunk
from surefoot.models.requests import embed_request, scope


class EmbedKind:
    """Items are texts, or mappings {"text": "..."}; the job's options are those of `EmbedModel.embed`: `role`, `dimensions`, ..."""

    asks = "embed"

    def check(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options, checked as a call's are."""
        said = dict(options)
        request = embed_request(["text"], said.pop("role", "document"), said)
        fields = {"role": request.role, "dimensions": request.dimensions, "unit_length": request.unit_length, "extra": request.extra}
        default = {"dimensions": None, "unit_length": True, "extra": ""}
        return {name: value for name, value in fields.items() if name not in default or value != default[name]}

    def item(self, given: Any) -> Any:
        """The text, alone or with an id beside it."""
        text = given.get("text") if isinstance(given, Mapping) else given
        if not isinstance(text, str):
            raise BadRequest(f"an item to embed is text or {{'text': '...'}}, not {type(given).__name__}")
        embed_request([text], "document", {})
        notes = {word: given[word] for word in ("id", "metadata") if isinstance(given, Mapping) and word in given}
        return {"text": str(text), **notes} if notes else str(text)

    def open(self, chunk: OpenChunk, models: ModelSource, limited: Any) -> EmbedRunner:
        """The runner over the job's model."""
        return EmbedRunner(limited(models.model("embed", chunk.spec.model)))

    def value(self, body: bytes) -> Any:
        """The vector: float32 [dim]."""
        import numpy as np

        return np.frombuffer(body, dtype="<f4")

    columns = ("id", "text", "vector")

    def asked(self, item: Any) -> dict[str, Any]:
        """What was embedded, for a file of vectors."""
        return {"text": item} if isinstance(item, str) else dict(item)

    def row(self, value: Any) -> dict[str, Any]:
        """A vector, for a file of vectors."""
        return {"vector": value.tolist()}


class EmbedRunner:
    """Embeds a chunk in one call, which its model cuts as its provider needs."""

    def __init__(self, model: Any) -> None:
        self._model = model

    async def run(self, chunk: OpenChunk, put: Put) -> str:
        """Embed every item; where some fail, the others' vectors are kept."""
        spec = chunk.spec
        if not chunk.items:
            return ""
        texts = [item if isinstance(item, str) else item["text"] for _, item in chunk.items]
        numbers = [n for n, _ in chunk.items]
        said = {
            "tenant": chunk.tenant or None,
            "tags": {"job": chunk.job, **spec.tags},
            "priority": "batch" if chunk.priority else "interactive",
        }
        with scope(**said, deadline_s=spec.deadline_s or DEADLINE_S):  # type: ignore[arg-type]
            try:
                reply = await patiently(lambda: self._model.areply(texts, **spec.options, deadline_s=None))
            except BudgetExceeded as error:
                return str(error)
            except SurefootError as error:
                _put_some(numbers, getattr(error, "vectors", None), error, put)
                return ""
        share = (reply.cost_usd or 0.0) / len(numbers)
        for n, vector in zip(numbers, reply.vectors, strict=True):
            put(ItemResult(n, ok=True, body=_bytes(vector), cost_usd=share))
        return ""


def _put_some(numbers: list[int], vectors: Any, error: SurefootError, put: Put) -> None:
    """Of a call that failed in part the vectors that came; NaN marks those that did not."""
    for row, n in enumerate(numbers):
        vector = None if vectors is None else vectors[row]
        if vector is None or math.isnan(float(vector[0])):
            put(failed(n, error))
        else:
            put(ItemResult(n, ok=True, body=_bytes(vector)))


def _bytes(vector: Any) -> bytes:
    return vector.astype("<f4").tobytes()  # type: ignore[no-any-return]
