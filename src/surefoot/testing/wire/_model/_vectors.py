"""Embeddings one can reason about: hashed bags of words, unit length, the same for the same text everywhere.

Each word (and each pair of neighbours, at half weight) adds to a few places of the vector, chosen and signed by a hash. Texts that
share words have a high cosine; texts that share none are near orthogonal.
"""

from __future__ import annotations

import math
import re
import struct
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise

_WORD = re.compile(r"\w+")
_FLOAT = struct.Struct("<f")
PLACES = 4  # coordinates a word touches: enough to tell words apart, few enough to be quick


@lru_cache(maxsize=65_536)
def _places(word: str, dim: int) -> tuple[tuple[int, float], ...]:
    digest = blake2b(word.encode("utf-8", "replace"), digest_size=PLACES * 4).digest()
    return tuple(((number >> 1) % dim, 1.0 if number & 1 else -1.0) for number in struct.unpack(f"<{PLACES}I", digest))


def sparse(text: str, dim: int, *, salt: str = "") -> dict[int, float]:
    """The coordinates that are not zero, scaled to unit length (L2). `salt` (the model's name) keeps two models' spaces apart."""
    words = [w.lower() for w in _WORD.findall(text)] or [text]
    found: dict[int, float] = {}
    for word in words:
        for at, sign in _places(salt + word, dim):
            found[at] = found.get(at, 0.0) + sign
    for left, right in pairwise(words):
        for at, sign in _places(f"{salt}{left} {right}", dim):
            found[at] = found.get(at, 0.0) + 0.5 * sign
    length = math.sqrt(sum(x * x for x in found.values()))
    return {at: x / length for at, x in found.items()} if length else {0: 1.0}


def embed(text: str, dim: int, *, salt: str = "") -> list[float]:
    """A vector of `dim` numbers, unit length (L2)."""
    vector = [0.0] * dim
    for at, x in sparse(text, dim, salt=salt).items():
        vector[at] = x
    return vector


def embed_bytes(text: str, dim: int, *, salt: str = "") -> bytes:
    """The same vector as little-endian float32, as OpenAI's base64 form carries it."""
    packed = bytearray(4 * dim)
    for at, x in sparse(text, dim, salt=salt).items():
        _FLOAT.pack_into(packed, 4 * at, x)
    return bytes(packed)


def as_bytes(vector: list[float]) -> bytes:
    """Any vector as little-endian float32."""
    return struct.pack(f"<{len(vector)}f", *vector)
