"""The words of an index, kept on disk beside it by version: loaded, not rebuilt, and once for all threads."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import uuid
from collections.abc import Collection, Sequence
from pathlib import Path

from surefoot_rag.records import Passage
from surefoot_rag.retrieval.backends import Backend, State
from surefoot_rag.retrieval.lexical import Lexical

__all__ = ["Words"]

_log = logging.getLogger(__name__)


class Words:
    """BM25 over the passages of a backend. A writer says `changing()` before and `changed()` after; readers notice by the version."""

    def __init__(self, backend: Backend, place: Path | None, name: str) -> None:
        self._backend = backend
        self._folder = None if place is None else place / "lexical"  # None: nothing is kept
        self._name = name
        self._lexical: Lexical | None = None
        self._seen: State | None = None
        self._lock = threading.RLock()

    @property
    def lexical(self) -> Lexical:
        """From disk, once; anew after any process has indexed."""
        with self._lock:
            state = self._backend.state()
            if self._lexical is None or state != self._seen:
                self._seen = state
                self._lexical = self._saved(state) or Lexical(self._backend.passages(), known=self._lexical)
                if state is None:  # an index made before this was kept
                    self._settle(self._lexical)
                elif state.is_whole and self._folder is not None and not self._kept(state.version).is_dir():
                    with contextlib.suppress(OSError):  # a server's, read from another machine
                        self._keep(self._lexical, state)
            return self._lexical

    @property
    def is_settled(self) -> bool:
        """Whether no run is changing the collection, or was ended in the middle of it."""
        state = self._backend.state()
        return state is not None and state.is_whole

    def is_known(self) -> bool:
        """Whether what is kept is sure to be all that the store holds: then nothing need be read from it."""
        return self.is_settled and self._backend.count() == len(self.lexical)

    def refresh(self) -> None:
        """Forget what is in memory."""
        with self._lock:
            self._lexical = None

    def changing(self) -> None:
        """The collection is about to change: what is kept of its words holds no longer."""
        with self._lock:
            state = self._backend.state()
            self._lexical = self._lexical if state == self._seen and self._lexical is not None else self._saved(state)
            self._backend.write_state(State(uuid.uuid4().hex, is_whole=False))

    def changed(self, put: Sequence[Passage], gone: Collection[str], *, is_known: bool) -> None:
        """The collection has changed: keep its words for the next to open it. `is_known`: what was kept before was all."""
        with self._lock:
            before = self._lexical
            after = before.updated(put, gone) if is_known and before is not None else None
            self._lexical = after if after is not None else Lexical(self._backend.passages(), known=before)
            self._settle(self._lexical)

    def _settle(self, lexical: Lexical) -> None:
        state = State(uuid.uuid4().hex, is_whole=True)
        try:
            self._keep(lexical, state)
            self._backend.write_state(state)
        except OSError as error:  # read-only, or full: it is made again at the next opening
            _log.warning("%s: the words of the index cannot be kept: %s", self._folder, error)
        self._seen = self._backend.state()

    def _keep(self, lexical: Lexical, state: State) -> None:
        if self._folder is None:
            return
        lexical.save(self._kept(state.version))
        for old in self._folder.glob(f"{self._name}@*"):
            if old != self._kept(state.version):
                shutil.rmtree(old, ignore_errors=True)

    def _saved(self, state: State | None) -> Lexical | None:
        if state is None or not state.is_whole or self._folder is None:
            return None
        try:
            return Lexical.load(self._kept(state.version))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _log.warning("%s: the kept words of the index cannot be read and are made again: %s", self._folder, error)
            return None

    def _kept(self, version: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{self._name}@{version}"
