"""Promises of every embedding model: count, order, numbers, size, length, roles, the space's name."""

from __future__ import annotations

from typing import Any

from surefoot.errors import ContextTooLong, SurefootError, Unsupported
from surefoot.testing._provider import Promises, ProviderUnderTest, needing

VECTORS: Promises = {}
TEXTS = ("a harbour", "İskele nerede?", "two cats", "東京の天気", "tax law", "a harbour in winter", "x")
CLOSE = 1e-3  # between a text embedded alone and among others: engines that compute in 4 bits differ by so much
TOO_LONG = "word " * 40_000


@needing(VECTORS, "embed")
async def embeds_in_order(it: ProviderUnderTest) -> None:
    """One float32 row a text, in order, of unit length, in the space that the model's traits name; tokens counted."""
    import numpy as np

    reply = await it.embed(*TEXTS)
    rows: Any = reply.vectors
    assert rows.dtype == np.float32, f"{rows.dtype} where float32 belongs"
    assert rows.shape[0] == len(TEXTS), f"{rows.shape[0]} rows for {len(TEXTS)} texts"
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=CLOSE), "rows are not of unit length"
    assert reply.space == it.provider.traits.space != "", f"space {reply.space!r}, the traits say {it.provider.traits.space!r}"
    assert reply.usage.input_tokens > 0, "no tokens counted"
    assert reply.target, "the answer does not say which target gave it"
    for at in (0, 3, len(TEXTS) - 1):
        alone: Any = (await it.embed(TEXTS[at])).vectors[0]
        nearest = int((rows @ alone).argmax())
        assert nearest == at, f"text {at} embedded alone is row {nearest}"
        assert np.allclose(alone, rows[at], atol=0.03), f"text {at} has another vector alone"


@needing(VECTORS, "embed")
async def embeds_queries_into_the_same_space(it: ProviderUnderTest) -> None:
    """A query may be treated otherwise, but what it is compared with is in the same space, and it finds what it asks for."""
    documents = await it.embed(*TEXTS)
    query = await it.embed(TEXTS[2], role="query")
    assert query.space == documents.space, "queries and documents live in different spaces"
    assert query.vectors.shape == (1, documents.vectors.shape[1])
    assert int((documents.vectors @ query.vectors[0]).argmax()) == 2, "a text as a query does not find itself"


@needing(VECTORS, "embed")
async def names_a_text_that_is_too_long(it: ProviderUnderTest) -> None:
    """Cut in silence, half a document would be embedded; named, the batch can be split around it."""
    await it.failure("a text of 40,000 words", it.embed("short", TOO_LONG, "short too"), ContextTooLong)
    if it.sim is not None:
        assert it.server.request_count == 1, f"{it.server.request_count} requests for one call"


@needing(VECTORS, "embed", "dimensions")
async def gives_the_size_asked(it: ProviderUnderTest) -> None:
    """Vectors of another size are another space."""
    narrow = await it.embed(*TEXTS, dimensions=8)
    assert narrow.vectors.shape == (len(TEXTS), 8), f"{narrow.vectors.shape} where 8 numbers a text were asked for"
    assert narrow.space != it.provider.traits.space, "the space's name does not tell the size"


@needing(VECTORS, "embed", "as_is")
async def tells_scaled_from_unscaled(it: ProviderUnderTest) -> None:
    """Vectors as the model made them are another space than those brought to unit length."""
    assert (await it.embed(*TEXTS, unit_length=False)).space != it.provider.traits.space, "the space's name does not tell the scaling"


@needing(VECTORS)
async def says_by_its_traits_what_it_cannot_do(it: ProviderUnderTest) -> None:
    """Traits are what fallback and users go by: they must agree with what was declared, and a call of the wrong kind is refused."""
    traits = it.provider.traits
    for what in ("chat", "embed", "tools", "vision", "pdf", "schema"):
        if what in {"chat", "embed"} or "chat" not in it.cannot:
            assert getattr(traits, what) == (what not in it.cannot), f"traits.{what} is {getattr(traits, what)}"
    if "embed" in it.cannot:
        await it.refuses("embed", it.embed("a"), kinds=(Unsupported, SurefootError))
    if "chat" in it.cannot:
        await it.refuses("chat", it.ask(it.request("a"), stream=False), kinds=SurefootError)
