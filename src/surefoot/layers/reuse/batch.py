"""Many texts to embed, in requests a provider takes; one bad text never loses the others.

Equal texts are asked for once. The rest is split by count and by estimated tokens, the parts are asked side by side, and the rows come
back in order. A part that the provider refuses for what is in it (too long, bad, malformed answer) is halved until the bad text stands
alone: at most 2 * ceil(log2 n) further requests for one among n. When nothing at all gets through, that is hardly the texts' fault: eight
of them, from all over, are tried alone, and if they fail too, no more is sent.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from surefoot import runtime
from surefoot.core.stack import Handler
from surefoot.core.vectors import check, total
from surefoot.errors import BadRequest, BatchFailed, ContextTooLong, Exhausted, Fault, MalformedReply, SurefootError
from surefoot.types import Call, CallState, EmbedReply, EmbedRequest, Traits
from surefoot.usage.tokens import estimate_text

MOST_TEXTS = Traits().max_batch_texts
NAMED = 10  # failures told in full; a thousand bad texts make no readable message
IN_FLIGHT = 8  # parts at once: enough to hide latency, few enough that a large job leaves room for others
PROBES = 8  # texts tried alone then: if half of all texts were really bad, one in 256 such batches would be given up too early
SMALL = 2  # parts of so many texts are taken apart anyhow
SUSPICIOUS = 8  # so many parts failed and none got through: perhaps it is not the texts
CONTENT = (BadRequest, ContextTooLong, MalformedReply)  # what one text may do to its neighbours


class Batch:
    """Splits embedding calls: `Batch(max_texts=2048, max_tokens=300_000)`; chats pass.

    `max_texts` may be a function, for a provider learns its limit from its first refusal: what was refused then is cut to that size, and
    so is all that follows. `max_tokens` bounds the estimated tokens of one request, None does not; `in_flight` the requests at once. Raises
    the failure itself (ContextTooLong, BadRequest, ...) naming the texts, or BatchFailed if they failed differently; `.vectors` of either
    holds the others' rows and NaN in theirs. A failure that is not about the texts ends the batch: what is under way is still waited for
    and delivered.
    """

    def __init__(
        self,
        *,
        max_texts: int | Callable[[], int] = MOST_TEXTS,
        max_tokens: int | None = None,
        in_flight: int = IN_FLIGHT,
    ) -> None:
        self._max_texts = max_texts
        self.max_tokens = max_tokens
        self.in_flight = in_flight

    @property
    def max_texts(self) -> int:
        """Texts of one request at most, as far as the provider has said by now."""
        return self._max_texts() if callable(self._max_texts) else self._max_texts

    def describe(self) -> str:
        """One line for `describe()`."""
        tokens = f" and {self.max_tokens} tokens" if self.max_tokens is not None else ""
        return f"batch: at most {self.max_texts} texts{tokens} a request, {self.in_flight} at once"

    async def __call__(self, call: Call[Any], inner: Handler) -> Any:
        """The vectors of all texts, in order."""
        request = call.request
        if not isinstance(request, EmbedRequest):
            return await inner(call)
        texts = tuple(dict.fromkeys(request.texts))
        return await _Work(self, call, inner, texts).run()

    def parts(self, texts: Sequence[str]) -> list[tuple[int, int]]:
        """Where the requests begin and end."""
        max_texts = self.max_texts
        if self.max_tokens is None:
            return [(at, min(at + max_texts, len(texts))) for at in range(0, len(texts), max_texts)]
        parts: list[tuple[int, int]] = []
        begin = tokens = 0
        for i, text in enumerate(texts):
            size = estimate_text(text)
            if i > begin and (i - begin >= max_texts or tokens + size > self.max_tokens):
                parts.append((begin, i))
                begin, tokens = i, 0
            tokens += size
        return [*parts, (begin, len(texts))] if texts else parts


class _Work:
    """One call's texts, part by part. `texts` are the distinct ones."""

    def __init__(self, layer: Batch, call: Call[EmbedRequest], inner: Handler, texts: tuple[str, ...]) -> None:
        self._layer = layer
        self._call = call
        self._inner = inner
        self._texts = texts
        self._todo = deque(layer.parts(texts))
        self._replies: list[tuple[int, EmbedReply]] = []  # where its first text stands, what came
        self._errors: dict[int, SurefootError] = {}  # the text that failed, why
        self._halt: SurefootError | None = None  # what ended it all
        self._failed = 0
        self._is_probed = False
        self._parts = call.state.parts

    async def run(self) -> EmbedReply:
        """Ask until every text has a row or an error."""
        if len(self._todo) < 2 and len(self._texts) == len(self._call.request.texts):
            await self._ask_as_it_stands()
        workers = min(self._layer.in_flight, len(self._todo))
        if workers > 1:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(workers):
                        group.create_task(self._work())
            except BaseExceptionGroup as broken:
                raise broken.exceptions[0] from None  # a fault that is none of ours: as itself
        else:
            await self._work()
        if self._errors:
            raise self._failure()
        return self._reply()

    async def _ask_as_it_stands(self) -> None:
        """The usual case: one request, no copy of anything."""
        begin, end = self._todo.popleft() if self._todo else (0, 0)
        try:
            self._take(begin, end, await self._inner(self._call))
        except SurefootError as error:
            if not _is_about_texts(error) or (end - begin < 2 and (self._parts is None or self._parts.count < 2)):
                raise
            if end - begin < 2:
                self._errors[begin] = self._named(error, begin)
            elif not self._is_cut(begin, end):
                self._split(begin, end, error)

    def _is_cut(self, begin: int, end: int) -> bool:
        """Cut a part that is larger than the provider takes, as a refusal has told meanwhile; False where it is not."""
        most = self._layer.max_texts
        if end - begin <= most:
            return False
        self._todo.extendleft(reversed([(at, min(at + most, end)) for at in range(begin, end, most)]))
        return True

    async def _work(self) -> None:
        """Take part after part, until none is left."""
        while self._todo:
            begin, end = self._todo.popleft()
            if self._is_cut(begin, end):
                continue
            try:
                self._take(begin, end, await self._ask(begin, end))
            except SurefootError as error:
                self._failed += 1
                if not _is_about_texts(error):
                    self._stop(error, begin, end)
                elif end - begin == 1:
                    self._errors[begin] = self._named(error, begin)
                elif not self._is_cut(begin, end):
                    self._split(begin, end, error)
                    if end - begin > SMALL:
                        await self._suspect(error)

    async def _ask(self, begin: int, end: int) -> EmbedReply:
        """One request. It has a state of its own: the attempts a call may make are meant for each request, not for all together."""
        call = self._call
        state = CallState(call.state.listeners, call.state.call_id)
        state.deadline_at = call.state.deadline_at
        state.whole = call.state
        request = replace(call.request, texts=self._texts[begin:end])
        try:
            return await self._inner(replace(call, request=request, state=state))  # type: ignore[no-any-return]
        except asyncio.CancelledError as cancelled:
            runtime.check_stray(cancelled)  # a group would pass over a worker that ended so, and its texts would have no rows
            raise
        finally:
            ours = call.state
            for attempt in state.trail:
                attempt.number = len(ours.trail) + 1
                ours.trail.append(attempt)
            ours.attempts += state.attempts
            ours.hedges += state.hedges

    def _take(self, begin: int, end: int, reply: EmbedReply) -> None:
        """Put `reply` by; rows that are no vectors become errors. Raises MalformedReply if rows and texts cannot be matched."""
        first = self._replies[0][1] if self._replies else None
        dimensions = first.vectors.shape[1] if first is not None else self._call.request.dimensions
        bad = check(reply, end - begin, dimensions)
        if first is not None and first.space != reply.space:
            raise MalformedReply(
                f"{reply.target} answered in space {reply.space!r}, not {first.space!r}", target=reply.target, code="space"
            )
        for row in bad:
            fault = MalformedReply(f"{reply.target}: the vector is zero or holds NaN", target=reply.target)
            self._errors[begin + row] = self._named(fault, begin + row)
        if len(bad) < end - begin or not bad:
            self._replies.append((begin, reply))
        if self._parts is not None:
            self._parts.tell(self._texts[begin:end], reply.vectors, reply)

    def _split(self, begin: int, end: int, error: SurefootError) -> None:
        """In halves; or around the text, where the provider says which one it is."""
        index = _text_of(error)
        if index is None or not 0 <= index < end - begin:
            middle = begin + (end - begin + 1) // 2
            self._todo.extend([(begin, middle), (middle, end)])
            return
        at = begin + index
        self._todo.extend(part for part in ((begin, at), (at, at + 1), (at + 1, end)) if part[0] < part[1])

    async def _suspect(self, error: SurefootError) -> None:
        """When nothing gets through, try some texts from all over alone before taking everything apart."""
        if self._failed < SUSPICIOUS or self._replies or self._is_probed or isinstance(_last(error), ContextTooLong):
            return
        self._is_probed = True
        last = len(self._texts) - 1
        for at in sorted({last * i // (PROBES - 1) for i in range(PROBES)}):
            try:
                self._take(at, at + 1, await self._ask(at, at + 1))
            except SurefootError as failed:
                error = failed
            else:
                return
        if not self._replies:
            self._stop(error, 0, len(self._texts))

    def _stop(self, error: SurefootError, begin: int, end: int) -> None:
        """No further requests: what is not asked yet fails with `error`."""
        self._halt = self._halt or error
        for first, last in ((begin, end), *self._todo):
            for at in range(first, last):
                self._errors.setdefault(at, error)
        self._todo.clear()

    def _reply(self) -> EmbedReply:
        """All parts as one reply."""
        if len(self._replies) == 1 and self._replies[0][1].vectors.shape[0] == len(self._call.request.texts):
            return self._replies[0][1]
        self._replies.sort(key=lambda part: part[0])
        return replace(self._replies[0][1], vectors=self._matrix(), usage=total(reply.usage for _, reply in self._replies))

    def _matrix(self) -> Any:
        """float32 [len(texts), dim] for the texts as they were given; NaN where there is no vector."""
        import numpy as np

        if not self._replies:
            return None
        rows = np.full((len(self._texts), self._replies[0][1].vectors.shape[1]), np.nan, dtype=np.float32)
        for begin, reply in self._replies:
            rows[begin : begin + len(reply.vectors)] = reply.vectors
        rows[sorted(self._errors)] = np.nan
        if len(self._texts) == len(self._call.request.texts):
            return rows
        place = {text: i for i, text in enumerate(self._texts)}
        return rows[[place[text] for text in self._call.request.texts]]

    def _failure(self) -> SurefootError:
        """One error for all texts that failed: of their own kind if that is one, with the others' vectors."""
        if self._halt is not None and not self._replies:
            return self._halt
        errors = {at: self._errors[at] for at in sorted(self._errors)}
        distinct = list({id(error): error for error in errors.values()}.values())
        matrix = self._matrix()
        kind = type(distinct[0])
        failure: Any
        if issubclass(kind, Fault) and all(type(error) is kind for error in distinct):
            failure = distinct[0]
            if len(distinct) > 1:
                failure = _like(distinct, self._summary(errors, distinct, matrix))
        else:
            row_of = {self._texts[at]: error for at, error in errors.items()}
            texts = self._call.request.texts
            replies = [row_of.get(text, None if matrix is None else matrix[i]) for i, text in enumerate(texts)]
            failure = BatchFailed(self._summary(errors, distinct, matrix), distinct, replies=replies)
        failure.vectors = matrix
        return failure  # type: ignore[no-any-return]

    def _summary(self, errors: dict[int, SurefootError], distinct: list[SurefootError], matrix: Any) -> str:
        rest = f"; and {len(distinct) - NAMED} more" if len(distinct) > NAMED else ""
        held = "; .vectors holds the others" if matrix is not None else ""
        said = "; ".join(str(error) for error in distinct[:NAMED])
        return f"{len(errors)} of {len(self._texts)} texts could not be embedded{held}: {said}{rest}"

    def _named(self, error: SurefootError, at: int) -> SurefootError:
        """`error`, saying which of the user's texts it is about."""
        at = self._call.request.texts.index(self._texts[at])
        position = at if self._parts is None else self._parts.positions[at]
        cause = _last(error)
        said = str(cause)
        twin = copy.copy(cause)
        twin.args = (f"text {position}{said.removeprefix('text 0')}" if said.startswith("text 0 ") else f"text {position}: {said}",)
        twin.__cause__ = error if error is not cause else cause.__cause__
        return twin


def _like(errors: Sequence[SurefootError], summary: str) -> SurefootError:
    """One error of the kind that all of `errors` are of, saying `summary`."""
    if isinstance(errors[0], Exhausted):
        return Exhausted(summary, [one for error in errors for one in error.exceptions])  # type: ignore[attr-defined]
    twin = copy.copy(errors[0])
    twin.args = (summary,)
    return twin


def _last(error: SurefootError) -> SurefootError:
    return error.last if isinstance(error, Exhausted) else error


def _is_about_texts(error: SurefootError) -> bool:
    """True if the failure may be one text's doing; a wrong size or space is the model's."""
    last = _last(error)
    return isinstance(last, CONTENT) and last.code not in {"dimensions", "space"}


def _text_of(error: SurefootError) -> int | None:
    """Which text of the request it is about, where the provider says so (code "text:3")."""
    kind, _, number = str(getattr(_last(error), "code", "")).partition(":")
    return int(number) if kind == "text" and number.isdecimal() else None
