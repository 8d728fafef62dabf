"""Vectors kept text by text, under the embedding space id and the role: what the cache layer does for embeddings.

A vector is a function of its text, so it never expires: re-indexing what has not changed asks nobody. What a broken or interrupted batch
had already finished is kept as it comes (the batch layer tells `call.state.parts`) and is not asked for again. A row
that is torn, foreign or of another space is a miss; one that is no vector is never kept.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, ParamSpec, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from surefoot import runtime
from surefoot.cache.envelope import packed, unpacked
from surefoot.cache.keys import canonical
from surefoot.core.stack import Handler
from surefoot.core.vectors import bad_rows, matrix_of, rows_of
from surefoot.errors import BatchFailed, Fault, SurefootError
from surefoot.events import CacheHit, CacheMiss, emit
from surefoot.text import plain
from surefoot.types import Call, EmbedReply, EmbedRequest, Store, VectorParts

P = ParamSpec("P")
T = TypeVar("T")


class VectorRow(Struct, frozen=True, array_like=True):
    """One text's vector, float32 little-endian, with the space and the model it must never be taken out of."""

    space: str
    model: str
    vector: bytes


_encode = msgspec.msgpack.Encoder(enc_hook=plain).encode
_decode = msgspec.msgpack.Decoder(VectorRow).decode
MANY = 500  # rows whose hashing and copying would hold the background loop for milliseconds: a thread does it
SAVING_S = 1.0  # a store that takes longer is in trouble
ROW_BYTES = 100  # an estimate of Row beside its vector; its space and model are shared strings

Later = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class VectorCache:
    """Rows from `store` where it has them, the others asked for once: `VectorCache(store, target="openai:m", space="...", later=...)`.

    `space` is the first target's space id, `target` its name; `later` runs a coroutine beside the call: nobody waits for a write.
    """

    def __init__(self, store: Store, *, target: str, space: str, later: Later) -> None:
        self.store = store
        self.target = target
        self.space = space
        self._later = later
        self._saving: set[asyncio.Task[None]] = set()
        self._unsaved: dict[int, list[tuple[str, VectorRow]]] = {}
        self._numbers = itertools.count()
        self._off_exit: Callable[[], None] | None = None
        self._recall: Callable[[str], Any] | None = getattr(store, "recall", None)
        self._remember: Callable[..., None] | None = getattr(store, "remember", None)

    async def __call__(self, call: Call[EmbedRequest], inner: Handler) -> EmbedReply:
        """The vectors of all texts, in order. An error's partial `.vectors` and `.replies` are for all texts too."""
        texts = call.request.texts
        keys = await _aside(len(texts), self._keys, call.tenant, call.request)
        found, why = await self._find(keys)
        missing = [i for i, row in enumerate(found) if row is None]
        if not missing and found:
            emit(call, CacheHit, key=keys[0])
            first: VectorRow = found[0]  # type: ignore[assignment]  # none is missing
            matrix = await _aside(len(texts), matrix_of, [row.vector for row in found if row is not None])
            return EmbedReply(vectors=matrix, model=first.model, target=self.target, space=first.space, cached=True, cost_usd=0.0)
        emit(call, CacheMiss, key=keys[missing[0]] if missing else "", why=why)
        key_of = dict(zip(texts, keys, strict=True))
        everything = list(range(len(texts)))
        if len(missing) == len(texts):
            return await self._ask(call, inner, key_of, everything, len(texts))
        wanted = {texts[i]: i for i in reversed(missing)}  # one a text, and of equal ones the first
        positions = sorted(wanted.values())
        part = replace(call, request=replace(call.request, texts=tuple(texts[i] for i in positions)))
        try:
            reply = await self._ask(part, inner, key_of, positions, len(texts))
        except SurefootError as error:
            self._widen(error, texts, found, part.request.texts)
            raise
        known = next(row for row in found if row is not None)
        if known.space != reply.space or len(known.vector) != reply.vectors.shape[1] * 4:
            # The model behind the name has changed: its rows and the old ones must not meet.
            return await self._ask(call, inner, key_of, everything, len(texts))
        return replace(reply, vectors=self._joined(texts, found, part.request.texts, reply.vectors))

    async def _ask(self, call: Call[EmbedRequest], inner: Handler, key_of: dict[str, str], positions: list[int], count: int) -> EmbedReply:
        """Ask, and keep each part as it comes; `positions` are the texts' places among the `count` that the user gave."""
        state = call.state

        def keep(texts: Sequence[str], matrix: Any, reply: EmbedReply) -> None:
            self._keep([key_of[text] for text in texts], matrix, reply)

        parts = state.parts = VectorParts(positions, count, keep)
        try:
            reply: EmbedReply = await inner(call)
        finally:
            state.parts = None
        if not parts.told:
            parts.tell(call.request.texts, reply.vectors, reply)
        return reply

    def _keep(self, keys: Sequence[str], matrix: Any, reply: EmbedReply) -> None:
        """Keep the rows of `matrix` that are vectors."""
        bad = set(bad_rows(matrix))
        rows = [VectorRow(reply.space, reply.model, raw) for raw in rows_of(matrix)]
        if self._remember is not None:
            for i, (key, row) in enumerate(zip(keys, rows, strict=True)):
                if i not in bad:
                    self._remember(key, row, size_bytes=len(row.vector) + ROW_BYTES)
            return
        good = [(key, row) for i, (key, row) in enumerate(zip(keys, rows, strict=True)) if i not in bad]
        if self._off_exit is None:
            self._off_exit = runtime.on_exit(self._at_exit)
        number = next(self._numbers)
        self._unsaved[number] = good
        task = self._later(self._save(number))
        self._saving.add(task)
        task.add_done_callback(self._saving.discard)

    async def _save(self, number: int) -> None:
        """Write the rows waiting under `number`; a program that ends meanwhile leaves them to the exit callbacks."""
        good = self._unsaved[number]
        await self._set_many(await _aside(len(good), _packed, good))
        self._unsaved.pop(number, None)
        if not self._unsaved and self._off_exit is not None:
            self._off_exit()
            self._off_exit = None

    async def _at_exit(self) -> None:
        """The background loop ends: write what is unwritten."""
        for good in list(self._unsaved.values()):
            await self._set_many(_packed(good))
        self._unsaved.clear()
        flush = getattr(self.store, "flush", None)
        if flush is not None:
            await flush()

    async def _set_many(self, rows: list[tuple[str, bytes]]) -> None:
        set_many = getattr(self.store, "set_many", None)
        if set_many is not None:
            await set_many(rows)
            return
        for key, value in rows:
            await self.store.set(key, value)

    async def _find(self, keys: list[str]) -> tuple[list[VectorRow | None], str]:
        """The row under each key, all of one space and size, and why some are missing."""
        if self._recall is not None:
            recall = self._recall
            return _alike([recall(key) for key in keys]), "absent"
        if self._saving:
            await asyncio.wait(self._saving, timeout=SAVING_S)  # what has just been paid for is on its way; asking for it again costs more
        get_many = getattr(self.store, "get_many", None)
        if get_many is not None:
            cached: list[bytes | None] = await get_many(keys)
        else:
            cached = list(await asyncio.gather(*(self.store.get(key) for key in keys)))
        rows, torn = await _aside(len(keys), _unpacked, keys, cached)
        return rows, "corrupt" if torn else "store down" if getattr(self.store, "is_down", False) else "absent"

    def _keys(self, tenant: str, request: EmbedRequest) -> list[str]:
        """One key a text: tenant, space, role and everything else that is asked, then the text."""
        state = blake2b(digest_size=20)
        for word in (tenant.encode("utf-8", "surrogatepass"), self.space.encode(), canonical(replace(request, texts=()))):
            state.update(b"%d:" % len(word) + word)
        keys: list[str] = []
        for text in request.texts:
            one = state.copy()
            one.update(text.encode())
            keys.append(f"e{one.hexdigest()}")
        return keys

    def _joined(self, texts: Sequence[str], found: list[VectorRow | None], asked: Sequence[str], matrix: Any) -> Any:
        """Rows found and rows asked for, in the order of `texts`: float32 [len(texts), dim]."""
        new = dict(zip(asked, rows_of(matrix), strict=True))
        return matrix_of([new[text] if row is None else row.vector for text, row in zip(texts, found, strict=True)])

    def _widen(self, error: SurefootError, texts: Sequence[str], found: list[VectorRow | None], asked: Sequence[str]) -> None:
        """What an error holds of the texts asked for becomes what there is of all texts."""
        if not isinstance(error, Fault | BatchFailed):
            return
        if error.vectors is None:
            size = next(len(row.vector) for row in found if row is not None)
            nothing = b"\xff" * size  # NaN in every place
            error.vectors = matrix_of([nothing if row is None else row.vector for row in found])
        else:
            error.vectors = self._joined(texts, found, asked, error.vectors)
        if isinstance(error, BatchFailed) and error.replies:
            new = dict(zip(asked, error.replies, strict=True))
            error.replies = [new.get(text, error.vectors[i]) for i, text in enumerate(texts)]


async def _aside(count: int, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`fn(*args)`, in a thread if it has many rows to go through."""
    return fn(*args, **kwargs) if count < MANY else await runtime.in_thread(fn, *args, **kwargs)


def _packed(rows: list[tuple[str, VectorRow]]) -> list[tuple[str, bytes]]:
    return [(key, packed(key, _encode(row))) for key, row in rows]


def _unpacked(keys: list[str], cached: list[bytes | None]) -> tuple[list[VectorRow | None], int]:
    """The rows, and how many of them are torn or foreign."""
    rows: list[VectorRow | None] = []
    torn = 0
    for key, raw in zip(keys, cached, strict=True):
        row = None
        if raw is not None:
            payload = unpacked(key, raw)
            with suppress(msgspec.MsgspecError):
                row = None if payload is None else _decode(payload)
            torn += row is None
        rows.append(row)
    return _alike(rows), torn


def _alike(rows: list[Any]) -> list[VectorRow | None]:
    """`rows`, or nothing if they are not all of one space and one size."""
    kinds = {(row.space, len(row.vector)) for row in rows if row is not None}
    return rows if len(kinds) < 2 else [None] * len(rows)
