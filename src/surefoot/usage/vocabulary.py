"""Exact token counts where a vocabulary is at hand offline: OpenAI's models, when the package tiktoken finds its tables on this machine.

tiktoken downloads its tables at first use, which fails where there is no network and waits where there is little. Here it is only handed
tables that are already there: its own cache, or those inside llama-index-core. Local models count for themselves. For everything else there
is the estimate of `surefoot.usage.tokens`. The first count of a vocabulary reads its table, some tenths of a second: not on the background
loop.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from surefoot.usage.tokens import estimate_text, family

TABLES = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"  # never asked: a table's file is named after its address
_LOWER, _UPPER = r"\p{Ll}\p{Lm}\p{Lo}\p{M}", r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"


class Encoding(NamedTuple):
    """One of OpenAI's vocabularies as tiktoken's openai_public has it: its name, the SHA-256 of its table, how it cuts text into words."""

    name: str
    sha256: str
    pattern: str


ENCODINGS = {  # by family of models
    "o200k": Encoding(
        "o200k_base",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+{_SHORT}|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*{_SHORT}"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "cl100k": Encoding(
        "cl100k_base",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    ),
}

Count = Callable[[str], int]


def count_text(text: str, *, model: str = "") -> tuple[int, bool]:
    """Tokens of `text` for `model` ("openai:gpt-5-mini"), and whether that is exact or an estimate."""
    exact = counter(model)
    return (estimate_text(text, model=model), False) if exact is None else (exact(text), True)


def counter(model: str) -> Count | None:
    """What counts exactly for `model`; None where no vocabulary is at hand."""
    encoding = ENCODINGS.get(family(model))
    return None if encoding is None else _counter(encoding)


@cache
def _counter(encoding: Encoding) -> Count | None:
    ranks = _ranks(encoding) if find_spec("tiktoken") is not None else None
    if ranks is None:
        return None
    import tiktoken

    # No special words: a user may write them, and the provider counts them as text.
    words = tiktoken.Encoding(encoding.name, pat_str=encoding.pattern, mergeable_ranks=ranks, special_tokens={})
    return lambda text: len(words.encode_ordinary(text))


def _ranks(encoding: Encoding) -> dict[bytes, int] | None:
    """The table that tiktoken would fetch, if it is here and is what it should be; else None."""
    address = TABLES.format(encoding.name)
    name = hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()  # tiktoken's own name for it
    for folder in _folders():
        path = folder / name
        if path.is_file():
            raw = path.read_bytes()
            if hashlib.sha256(raw).hexdigest() == encoding.sha256:
                return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in raw.splitlines() if line)}
    return None


def _folders() -> list[Path]:
    spec = find_spec("llama_index.core") if find_spec("llama_index") is not None else None
    inside = [Path(root) / "_static" / "tiktoken_cache" for root in (spec.submodule_search_locations or ())] if spec is not None else []
    return [Path(tempfile.gettempdir()) / "data-gym-cache", *inside]
