"""Questions that look as if the documents answered them, and do not: another name, date or number in the place of the one that was there.

What is put in comes from the documents themselves (another document's name) or is near what stood there (another year), so that words and
vectors find passages all the same. It is then checked strictly that no document says it: see `is_answered`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from msgspec.structs import replace

from surefoot_eval.generate.candidates import Candidate, Material
from surefoot_eval.generate.names import Names, inflected
from surefoot_eval.generate.rules import GAP, names
from surefoot_eval.score.correctness import says
from surefoot_rag.documents.language import fold
from surefoot_rag.documents.sentences import sentence_spans
from surefoot_rag.retrieval.fusion import tokens

__all__ = ["NearMisses"]

RELATED = 0.5  # of the question's other words in a document that says what was put in: it may then answer
TRIES = 12  # replacements tried for a question
_NUMBER = re.compile(r"(?<![\w.,:])\d+(?![\w.:]|,\d)")
_YEARS = range(1000, 2100)


class NearMisses:
    """Makes them of questions that are answered; the same for the same seed."""

    def __init__(self, material: Material, *, seed: int = 0) -> None:
        self.material = material
        self.draw = random.Random(seed)
        self.dropped = 0
        """Replacements that some document may answer."""

    def of(self, asked: Sequence[Candidate]) -> Iterator[Candidate]:
        """At most one near miss of each question, in their order."""
        for one in asked:
            for question, old, new in self._replacements(one) if GAP not in one.question else ():
                if self.is_answered(question, new, one.language):
                    self.dropped += 1
                    continue
                yield replace(
                    one, id=f"{one.id}-near", kind="near-miss", question=question, answer="", document="", quote="", start=0, end=0,
                    note=f"{old} -> {new}; made of {one.id}",
                )  # fmt: skip
                break

    def is_answered(self, question: str, term: str, language: str) -> bool:
        """Whether a document may answer: it says `term` (strictly, as answers are judged) and half of the question's other words."""
        rest = set(tokens(question)) - set(tokens(term))
        if not rest:
            return True
        for document in self.material.documents:
            stems = self._stems[document.id]
            if len(rest & stems) >= RELATED * len(rest) and self._says(document.text, term, language):
                return True
        return False

    def _says(self, text: str, term: str, language: str) -> bool:
        return any(
            says(text[start:end], term, language=language) or fold(term) in fold(text[start:end]) for start, end in sentence_spans(text)
        )

    def _replacements(self, one: Candidate) -> Iterator[tuple[str, str, str]]:
        """The question with something else in the place of what it names, with what was there and what is there now."""
        found: list[tuple[str, str]] = []
        for name in dict.fromkeys(names(f"_ {one.question}")):
            if self._names.known(name):
                others = self._names.instead(name, language=one.language, document=one.document, draw=self.draw)
                found += [(name, other) for other in others if fold(other) not in fold(one.question)][:TRIES]
        for number in dict.fromkeys(_NUMBER.findall(one.question)):
            value = int(number)
            step = [value + by for by in range(-9, 10) if by] if value in _YEARS else [value + 1, value * 2, value * 10, value + 10]
            found += [(number, str(other)) for other in self.draw.sample(step, len(step)) if other > 0]
        for old, new in found:

            def put(match: re.Match[str], new: str = new) -> str:
                suffix = match[1] or ""
                return new + (suffix[:1] + inflected(new, suffix[1:]) if one.language == "tr" and suffix else suffix)

            yield re.sub(rf"(?<!\w){re.escape(old)}(['\u2019]\w+)?(?!\w)", put, one.question), old, new

    @cached_property
    def _names(self) -> Names:
        return Names(self.material.documents)

    @cached_property
    def _stems(self) -> Mapping[str, frozenset[str]]:
        return {one.id: frozenset(tokens(f"{one.title} {one.text}")) for one in self.material.documents}
