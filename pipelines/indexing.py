"""Make an index hold exactly the documents given, and pay only for what is new.

Passage ids are made of document, span and content, so the difference between the ids wanted and the ids present is all there is to do:
unchanged documents cost nothing, deleted ones disappear. New passages are added before old ones go, so an interrupted run leaves an index
that still answers, and the next run finishes it.

A passage that is too long for the embedding model is cut in halves until its parts fit: only the model knows its own tokens. The parts
name the passage they were cut from (`WHOLE`), so that the next run does not ask again for what was refused.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from msgspec.structs import replace

from pipelines.corpus import halves, passage_at
from pipelines.corpus import passages as cut
from pipelines.library import Library, is_unchanged, parts
from pipelines.records import Document, Passage, Scalar
from surefoot.errors import BadRequest, BatchFailed, ContextTooLong, Exhausted, MalformedReply, SurefootError

_log = logging.getLogger(__name__)

STEP = 64  # passages embedded and stored at a time: what a local model takes at once, and all that an interruption can cost
WINDOW = 4096  # new passages put in order of length, so that a model pads little; documents stay near each other
WHOLE = "whole"  # metadata of a part: the id of the passage it was cut from
CONTENT = (BadRequest, ContextTooLong, MalformedReply)  # what a text may do to itself; all else is the model's trouble

Stored = Callable[[Passage], Mapping[str, Scalar]]  # the metadata the framework keeps for a passage


class Refused(NamedTuple):
    """A passage that the embedding model does not take for what is in it, and why; it is not in the index."""

    passage: Passage
    reason: str


class Indexed(NamedTuple):
    """What an indexing run did: passages added, passages removed, and those that the model refused."""

    added: int
    removed: int
    refused: tuple[Refused, ...] = ()


def bring(library: Library, documents: Sequence[Document], *, stored: Stored, progress: bool) -> Indexed:
    """Add what is missing, correct metadata that changed (nothing is embedded for it), delete the rest."""
    present = library.present()
    wanted = _wanted(documents, present)
    new = [passage for key, passage in wanted.items() if key not in present]
    stale = [passage for key, passage in wanted.items() if key in present and not is_unchanged(passage, present[key])]
    run = _Run(library, documents, stored, held=present.keys())
    for part in _steps(new, progress=progress):
        run.add(part)
    for part in parts(stale, library.client.get_max_batch_size()):
        # A store merges metadata: what a passage has no longer must be told as None.
        fields = [dict.fromkeys(present[one.id]) | dict(stored(one)) for one in part]
        library.collection.update(ids=[one.id for one in part], metadatas=fields)
    gone = present.keys() - wanted.keys() - run.kept
    library.forget(gone)
    if new or stale or gone:
        library.refresh()
    if run.refused:
        _log.warning("%d passages are not in the index: %s refused them", len(run.refused), library.embed.targets[0])
    return Indexed(run.added, len(gone), tuple(run.refused))


def _wanted(documents: Sequence[Document], present: Mapping[str, Mapping[str, Scalar]]) -> dict[str, Passage]:
    """The passages of all documents by id; one that was cut before, since it was too long, stands as its parts."""
    cut_before: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in present.values():
        if WHOLE in row:
            cut_before[str(row[WHOLE])].append((int(row["start"]), int(row["end"])))
    wanted: dict[str, Passage] = {}
    for document in documents:
        for passage in cut(document):
            spans = sorted(cut_before.get(passage.id, ()))
            if spans and not _left_between(passage, spans):
                wanted.update((one.id, one) for one in (_part(document, passage.id, *span) for span in spans))
            else:
                wanted[passage.id] = passage
    return wanted


def _part(document: Document, whole: str, start: int, end: int) -> Passage:
    one = passage_at(document, start, end)
    return replace(one, metadata={**one.metadata, WHOLE: whole})


def _left_between(passage: Passage, spans: Sequence[tuple[int, int]]) -> str:
    """What of a passage lies in none of `spans`: more than white space where a run was interrupted between two parts."""
    left, at = "", passage.start
    for start, end in spans:
        left += passage.text[at - passage.start : max(at, start) - passage.start]
        at = max(at, end)
    return (left + passage.text[at - passage.start :]).strip()


class _Run:
    """What one indexing run adds to a library, and what the model refused on the way."""

    def __init__(self, library: Library, documents: Sequence[Document], stored: Stored, *, held: AbstractSet[str]) -> None:
        self._library = library
        self._documents = {one.id: one for one in documents}
        self._stored = stored
        self._held = held
        self.kept: set[str] = set()  # parts that an interrupted run had stored
        self.added = 0
        self.refused: list[Refused] = []

    def add(self, passages: Sequence[Passage]) -> None:
        """Embed and store passages, those too long in parts."""
        todo = list(passages)
        while todo:
            vectors, failed = self._embed([one.text for one in todo])
            good = [i for i in range(len(todo)) if i not in failed]
            if good:
                self._library.store([todo[i] for i in good], [vectors[i] for i in good], [self._stored(todo[i]) for i in good])
                self.added += len(good)
            again: list[Passage] = []
            for i, error in failed.items():
                halved = self._halved(todo[i]) if isinstance(error, ContextTooLong) else []
                again += (one for one in halved if one.id not in self._held)
                self.kept.update(one.id for one in halved if one.id in self._held)
                if not halved:
                    self.refused.append(Refused(todo[i], str(error)))
            todo = again

    def _halved(self, passage: Passage) -> list[Passage]:
        document = self._documents[passage.document_id]
        whole = str(passage.metadata.get(WHOLE, passage.id))
        return [_part(document, whole, start, end) for start, end in halves(document, passage.start, passage.end)]

    def _embed(self, texts: Sequence[str]) -> tuple[Any, dict[int, SurefootError]]:
        """The vectors, and by place what the model would not take for its text.

        Raises whatever is not about the texts. Where all are refused before anything was embedded, and not for their length, it is hardly
        the texts' fault: that is raised, too.
        """
        try:
            return self._library.embed.embed(texts), {}
        except (*CONTENT, BatchFailed) as error:
            failure = error
        vectors = failure.vectors
        if isinstance(failure, BatchFailed):
            failed = {i: one for i, one in enumerate(failure.replies) if isinstance(one, SurefootError)}
        else:
            failed = {i: failure for i in range(len(texts)) if vectors is None or vectors[i][0] != vectors[i][0]}  # NaN
        failed = {i: one.last if isinstance(one, Exhausted) else one for i, one in failed.items()}
        kinds = {type(one) for one in failed.values()}
        if not all(issubclass(kind, CONTENT) for kind in kinds) or (vectors is None and not self.added and kinds != {ContextTooLong}):
            raise failure
        return vectors, failed


def _steps(passages: Sequence[Passage], *, progress: bool) -> Iterator[list[Passage]]:
    from tqdm import tqdm

    bar = tqdm(total=len(passages), unit="passage", desc="indexing", disable=not progress or not passages, dynamic_ncols=True)
    with bar:
        for window in parts(passages, WINDOW):
            for part in parts(sorted(window, key=lambda one: -len(one.text)), STEP):
                yield part
                bar.update(len(part))
