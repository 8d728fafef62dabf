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
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any

from surefoot.usage.tokens import estimate_text, family

ENCODINGS = {"o200k": "o200k_base", "cl100k": "cl100k_base"}

Count = Callable[[str], int]


def count_text(text: str, *, model: str = "") -> tuple[int, bool]:
    """Tokens of `text` for `model` ("openai:gpt-5-mini"), and whether that is exact or an estimate."""
    exact = counter(model)
    return (estimate_text(text, model=model), False) if exact is None else (exact(text), True)


def counter(model: str) -> Count | None:
    """What counts exactly for `model`; None where no vocabulary is at hand."""
    name = ENCODINGS.get(family(model))
    return None if name is None else _counter(name)


@cache
def _counter(name: str) -> Count | None:
    if find_spec("tiktoken") is None:
        return None
    import tiktoken

    build: Any = getattr(import_module("tiktoken_ext.openai_public"), name)
    # The constructor with another loader: the original one would ask the network for what is not in its cache.
    offline = FunctionType(build.__code__, {**build.__globals__, "load_tiktoken_bpe": _load})
    try:
        encoding = tiktoken.Encoding(**offline())
    except FileNotFoundError:
        return None
    return lambda text: len(encoding.encode_ordinary(text))


def _load(url: str, expected_hash: str | None = None) -> dict[bytes, int]:
    """The table that tiktoken would fetch from `url`, if it is here and is what it should be. Raises FileNotFoundError otherwise."""
    name = hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()  # tiktoken's own name for it
    for folder in _folders():
        path = folder / name
        if path.is_file():
            raw = path.read_bytes()
            if expected_hash is None or hashlib.sha256(raw).hexdigest() == expected_hash:
                return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in raw.splitlines() if line)}
    raise FileNotFoundError(name)


def _folders() -> list[Path]:
    spec = find_spec("llama_index.core") if find_spec("llama_index") is not None else None
    inside = [Path(root) / "_static" / "tiktoken_cache" for root in (spec.submodule_search_locations or ())] if spec is not None else []
    return [Path(tempfile.gettempdir()) / "data-gym-cache", *inside]
