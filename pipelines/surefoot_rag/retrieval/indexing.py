"""Make an index hold exactly the documents given, and pay only for what is new.

Passage ids are made of document and text, so the difference between the ids wanted and the ids present is all there is to do: unchanged
documents cost nothing, deleted ones disappear, and a text that only moved keeps its vector. New passages are added before old ones go, so
an interrupted run leaves an index that still answers, and the next run finishes it.

A passage that is too long for the embedding model is cut in halves until its parts fit: only the model knows its own tokens. The parts
name the passage they were cut from (`WHOLE`), so that the next run does not ask again for what was refused.
"""

from __future__ import annotations

import difflib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple, TypedDict

from msgspec.structs import replace

from surefoot.errors import BadRequest, BatchFailed, ContextTooLong, Exhausted, MalformedReply, SurefootError
from surefoot_rag.documents.corpus import OVERLAP_CHARS, SIZE_CHARS, Outline, halves, passage_at
from surefoot_rag.documents.corpus import passages as cut
from surefoot_rag.documents.sources import DocumentSource, in_scope, placed, said
from surefoot_rag.records import Document, Passage, Scalar
from surefoot_rag.retrieval.backends import is_unchanged
from surefoot_rag.retrieval.filters import flat
from surefoot_rag.retrieval.library import Library, parts

_log = logging.getLogger(__name__)

STEP = 64  # passages embedded and stored at a time: what a local model takes at once, and all that an interruption can cost
SLICE = 8  # passages that a local model is given at once: a second or so, after which the bar moves
WINDOW = 4096  # new passages put in order of length, so that a model pads little; documents stay near each other
WHOLE, AT = "whole", "whole_at"  # metadata of a part: the id of the passage it was cut from, and where in it the part begins
CONTENT = (BadRequest, ContextTooLong, MalformedReply)  # what a text may do to itself; all else is the model's trouble

Stored = Callable[[Passage], Mapping[str, Scalar]]  # the metadata the framework keeps for a passage


class RefusedPassage(NamedTuple):
    """A passage that the embedding model does not take for what is in it, and why; it is not in the index."""

    passage: Passage
    reason: str


class Indexed(NamedTuple):
    """What an indexing run did: passages added, passages removed, and those that the model refused."""

    added: int
    removed: int
    refused: tuple[RefusedPassage, ...] = ()


class How(TypedDict, total=False):
    """How to index: from where (`source`; left out: the documents are all there is), with a bar (`progress`), and whom to tell (`say`).

    `size_chars` and `overlap_chars` say how documents are cut (`corpus.passages`); other sizes than last time cut them anew.
    `settle=False` leaves the words of the index to whoever opens it next: for many small additions to a large index.
    """

    source: DocumentSource | None
    progress: bool
    say: Callable[[str], None] | None
    size_chars: int
    overlap_chars: int
    settle: bool


class IndexPlan(NamedTuple):
    """What an indexing run is about to do: passages to add, passages whose metadata changed, and ids to remove unless they are kept."""

    new: list[Passage]
    stale: list[Passage]
    gone: set[str]


def sync(library: Library, documents: Sequence[Document], *, stored: Stored, how: How) -> Indexed:
    """Add what is missing, correct metadata that changed (nothing is embedded for it), delete the rest.

    The rest is all else in the index, or with a `source` what was indexed from there. Documents that go are told to `say` beforehand.
    """
    source, say = how.get("source"), how.get("say")
    is_known = library.words.is_known()
    present = library.lexical.rows() if is_known else dict(library.backend.rows())
    documents = placed(documents, present, source)
    plan = _plan(documents, present, source, how)
    if say is not None and (words := said(list(plan.gone), present, documents)):
        say(words)
    return _carry_out(library, documents, plan, present, stored, progress=how.get("progress", True), is_known=is_known)


def put(library: Library, documents: Sequence[Document], *, stored: Stored, how: How) -> Indexed:
    """Add documents, or replace those of the same ids; all others stay as they are."""
    settle = how.get("settle", True)
    is_known = settle and library.words.is_known()
    present = dict(library.backend.rows({one.id for one in documents}))
    plan = _plan(documents, present, None, how)
    progress = how.get("progress", False)
    return _carry_out(library, documents, plan, present, stored, progress=progress, is_known=is_known, settle=settle)


def delete(library: Library, document_ids: Sequence[str]) -> int:
    """Delete documents; the number of passages that went. Raises BadRequest, with nothing deleted, for one that is not there."""
    is_known = library.words.is_known()
    present = dict(library.backend.rows(set(document_ids)))
    if missing := sorted(set(document_ids) - {str(row["document"]) for row in present.values()}):
        near = difflib.get_close_matches(missing[0], library.documents(), n=1)
        raise BadRequest(f"no document {missing[0]} in the index{f'; did you mean {near[0]}?' if near else ''} Nothing was deleted")
    return _carry_out(library, [], IndexPlan([], [], set(present)), present, None, progress=False, is_known=is_known).removed


def _carry_out(
    library: Library,
    documents: Sequence[Document],
    plan: IndexPlan,
    present: Mapping[str, Mapping[str, Scalar]],
    stored: Stored | None,
    *,
    progress: bool,
    is_known: bool,
    settle: bool = True,
) -> Indexed:
    backend = library.backend
    if is_change := bool(plan.new or plan.stale or plan.gone):
        library.words.changing()
    run = _Run(library, documents, stored or flat, held=present.keys())
    for part in _steps(plan.new, progress=progress, told=run):
        run.add(part)
    if plan.stale:  # a store merges metadata: what a passage has no longer must be told as None
        fields = [dict.fromkeys(present[one.id]) | dict(run.stored(one)) for one in plan.stale]
        backend.amend([one.id for one in plan.stale], fields)
    gone = plan.gone - run.kept
    backend.delete(sorted(gone))
    if settle and (is_change or not library.words.is_settled):
        library.words.changed([*run.put, *plan.stale], gone, is_known=is_known)
    if run.refused:
        _log.warning("%d passages are not in the index: %s refused them", len(run.refused), library.embed.targets[0])
    return Indexed(run.added, len(gone), tuple(run.refused))


def _plan(documents: Sequence[Document], present: Mapping[str, Mapping[str, Scalar]], source: DocumentSource | None, how: How) -> IndexPlan:
    wanted = _wanted(documents, present, how)
    return IndexPlan(
        new=[passage for key, passage in wanted.items() if key not in present],
        stale=[passage for key, passage in wanted.items() if key in present and not is_unchanged(passage, present[key])],
        gone=in_scope(present, documents, source) - wanted.keys(),
    )


def _wanted(documents: Sequence[Document], present: Mapping[str, Mapping[str, Scalar]], how: How) -> dict[str, Passage]:
    """The passages of all documents by id; one that was cut before, since it was too long, stands as its parts."""
    cut_before: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in present.values():
        if WHOLE in row and AT in row:
            cut_before[str(row[WHOLE])].append((int(row[AT]), int(row[AT]) + int(row["end"]) - int(row["start"])))
    wanted: dict[str, Passage] = {}
    sizes = how.get("size_chars", SIZE_CHARS), how.get("overlap_chars", OVERLAP_CHARS)
    for document in documents:
        outline: Outline | None = None
        for passage in cut(document, size_chars=sizes[0], overlap_chars=sizes[1]):
            spans = sorted(cut_before.get(passage.id, ()))
            if spans and not _left_between(passage.text, spans):
                outline = outline or Outline(document)
                wanted.update((one.id, one) for one in (_part(document, outline, passage.id, passage.start, *span) for span in spans))
            else:
                wanted[passage.id] = passage
    return wanted


def _part(document: Document, outline: Outline, whole: str, begin: int, start: int, end: int) -> Passage:
    """The part `[start, end)` of the passage `whole`, which begins at the document's character `begin`."""
    one = passage_at(document, outline, begin + start, begin + end)
    return replace(one, id=f"{whole}/{start}-{end}", metadata={**one.metadata, WHOLE: whole, AT: start})


def _left_between(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """What of a passage lies in none of `spans`: more than white space where a run was interrupted between two parts."""
    left, at = "", 0
    for start, end in spans:
        left += text[at : max(at, start)]
        at = max(at, end)
    return (left + text[at:]).strip()


class _Run:
    """What one indexing run adds to a library, and what the model refused on the way."""

    def __init__(self, library: Library, documents: Sequence[Document], stored: Stored, *, held: AbstractSet[str]) -> None:
        self._library = library
        self._documents = {one.id: one for one in documents}
        self._outlines: dict[str, Outline] = {}
        self.stored = stored
        self._held = held
        self._by_mark = {mark: key for key in held if (mark := _mark_of(key))}
        self._slice = SLICE if library.embed.traits.is_local else STEP
        self.tell: Callable[[int], object] = int  # how many passages are done now: the bar's
        self.kept: set[str] = set()  # parts that an interrupted run had stored
        self.put: list[Passage] = []
        self.added = 0
        self.refused: list[RefusedPassage] = []

    def add(self, passages: Sequence[Passage]) -> None:
        """Embed and store passages, those too long in parts; texts that the index holds under another id keep their vectors."""
        known = self._known(passages)
        todo = [one for one in passages if one.id not in known]
        made: list[tuple[Passage, Any]] = [(one, known[one.id]) for one in passages if one.id in known]
        self.tell(len(made))
        for part in parts(todo, self._slice):
            made += self._made(part)
            self.tell(len(part))
        if made:
            self._library.backend.put([one for one, _ in made], [vector for _, vector in made], [self.stored(one) for one, _ in made])
            self.put += (one for one, _ in made)
            self.added += len(made)

    def _known(self, passages: Sequence[Passage]) -> dict[str, Any]:
        """Vectors that the index has for these texts already: of a document that was moved, or of an index made before ids were texts'."""
        twins = {one.id: twin for one in passages if (mark := _mark_of(one.id)) and (twin := self._by_mark.get(mark))}
        if not twins:
            return {}
        of = self._library.backend.vectors(sorted(set(twins.values())))
        return {one.id: of[twins[one.id]][1] for one in passages if one.id in twins and of.get(twins[one.id], ("",))[0] == one.text}

    def _made(self, passages: Sequence[Passage]) -> list[tuple[Passage, Any]]:
        """Passages, or their parts, with their vectors."""
        made: list[tuple[Passage, Any]] = []
        todo = list(passages)
        while todo:
            vectors, failed = self._embed([one.text for one in todo], is_first=not self.added and not made)
            made += ((one, vectors[i]) for i, one in enumerate(todo) if i not in failed)
            again: list[Passage] = []
            for i, error in failed.items():
                halved = self._halved(todo[i]) if isinstance(error, ContextTooLong) else []
                again += (one for one in halved if one.id not in self._held)
                self.kept.update(one.id for one in halved if one.id in self._held)
                if not halved:
                    self.refused.append(RefusedPassage(todo[i], str(error)))
            todo = again
        return made

    def _halved(self, passage: Passage) -> list[Passage]:
        document = self._documents[passage.document_id]
        if document.id not in self._outlines:
            self._outlines[document.id] = Outline(document)
        whole = str(passage.metadata.get(WHOLE, passage.id))
        begin = passage.start - int(passage.metadata.get(AT, 0))
        spans = halves(document, passage.start, passage.end)
        return [_part(document, self._outlines[document.id], whole, begin, start - begin, end - begin) for start, end in spans]

    def _embed(self, texts: Sequence[str], *, is_first: bool) -> tuple[Any, dict[int, SurefootError]]:
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
        if not all(issubclass(kind, CONTENT) for kind in kinds) or (vectors is None and is_first and kinds != {ContextTooLong}):
            raise failure
        return vectors, failed


def _mark_of(key: str) -> str:
    """The first eight digits of the digest of a passage's text, as its id has them, today's and the former kind; "" of a part's."""
    mark = key.rpartition("#")[2].rpartition(":")[2].partition(".")[0]
    return "" if "/" in mark else mark[:8]


def _steps(passages: Sequence[Passage], *, progress: bool, told: _Run) -> Iterator[list[Passage]]:
    from tqdm import tqdm

    bar = tqdm(total=len(passages), unit="passage", desc="indexing", disable=not progress or not passages, dynamic_ncols=True)
    told.tell = bar.update
    with bar:
        for window in parts(passages, WINDOW):
            yield from parts(sorted(window, key=lambda one: -len(one.text)), STEP)
