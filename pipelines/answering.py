"""What both frameworks' pipelines share: ranking the candidates, and turning what the model said into an Answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from pipelines.library import Library
from pipelines.prompting import citations, is_refusal
from pipelines.records import Answer, Passage
from pipelines.retrieval import fuse, weight_for

TOP_K = 5  # passages shown to the model: hit@5 on XQuAD is .98 and more in both languages; more only dilutes


def ranked(library: Library, question: str, cosines: Mapping[str, float], *, k: int) -> list[Passage]:
    """The best `k` passages by fused score; each carries its cosine, None where only the lexical side found it."""
    order = fuse(cosines, library.lexical.search(question), weight=weight_for(question))
    best = [library.passages[key] for key in list(order)[:k] if key in library.passages]
    return [replace(one, score=cosines.get(one.id)) for one in best]


def assemble(
    text: str, found: Sequence[Passage], *, framework: str, seconds: float, meta: Mapping[str, Any], tokens: tuple[int, int]
) -> Answer:
    """The Answer, with citations checked against the passages that were shown."""
    refused = is_refusal(text)
    return Answer(
        text=text,
        citations=() if refused else citations(text, found),
        passages=tuple(found),
        refused=refused,
        model=str(meta.get("target") or meta.get("model_name") or meta.get("model") or ""),
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        seconds=seconds,
        cost_usd=meta.get("cost_usd"),
        attempts=int(meta.get("attempts", 0)),
        framework=framework,
    )
