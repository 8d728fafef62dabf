"""Make an index hold exactly the documents given, and pay only for what is new.

Passage ids are made of document, span and content, so the difference between the ids wanted and the ids present is all there is to do:
unchanged documents cost nothing, deleted ones disappear. New passages are added before old ones go, so an interrupted run leaves an index
that still answers, and the next run finishes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from pipelines.corpus import passages as cut
from pipelines.library import Library, is_unchanged, parts
from pipelines.records import Document, Passage, Scalar

STEP = 64  # passages embedded and stored at a time: what a local model takes at once, and all that an interruption can cost
WINDOW = 4096  # new passages put in order of length, so that a model pads little; documents stay near each other

Add = Callable[[Library, Sequence[Passage]], None]  # embed and store these
Stored = Callable[[Passage], Mapping[str, Scalar]]  # the metadata the framework keeps for a passage


def bring(library: Library, documents: Sequence[Document], *, add: Add, stored: Stored, progress: bool) -> tuple[int, int]:
    """Add what is missing, correct metadata that changed (nothing is embedded for it), delete the rest; (added, removed) passages."""
    wanted = {passage.id: passage for document in documents for passage in cut(document)}
    present = library.present()
    new = [passage for key, passage in wanted.items() if key not in present]
    stale = [passage for key, passage in wanted.items() if key in present and not is_unchanged(passage, present[key])]
    gone = present.keys() - wanted.keys()
    for part in _steps(new, progress=progress):
        add(library, part)
    for part in parts(stale, library.client.get_max_batch_size()):
        # A store merges metadata: what a passage has no longer must be told as None.
        fields = [dict.fromkeys(present[one.id]) | dict(stored(one)) for one in part]
        library.collection.update(ids=[one.id for one in part], metadatas=fields)
    library.forget(gone)
    if new or stale or gone:
        library.refresh()
    return len(new), len(gone)


def _steps(passages: Sequence[Passage], *, progress: bool) -> Iterator[list[Passage]]:
    from tqdm import tqdm

    bar = tqdm(total=len(passages), unit="passage", desc="indexing", disable=not progress or not passages, dynamic_ncols=True)
    with bar:
        for window in parts(passages, WINDOW):
            for part in parts(sorted(window, key=lambda one: -len(one.text)), STEP):
                yield part
                bar.update(len(part))
