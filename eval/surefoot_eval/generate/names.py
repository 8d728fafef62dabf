"""The names a collection of documents holds, and how they are used: which may stand in the place of which."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from surefoot_eval.generate.rules import names
from surefoot_rag.documents.language import fold
from surefoot_rag.documents.sentences import sentence_spans
from surefoot_rag.records import Document

__all__ = ["Names", "inflected"]

_CALENDAR = (
    "January February March April May June July August September October November December".split(),  # noqa: SIM905
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),  # noqa: SIM905
    "Ocak Şubat Mart Nisan Mayıs Haziran Temmuz Ağustos Eylül Ekim Kasım Aralık".split(),  # noqa: SIM905
    "Pazartesi Salı Çarşamba Perşembe Cuma Cumartesi Pazar".split(),  # noqa: SIM905
)
_DATED = frozenset(name for names_of in _CALENDAR for name in names_of)
_VOWELS = "aıoueiöü"
_VOICELESS = "fstkçşhp"


class Names:
    """Names by document and language, with the words that stand about them."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._of: dict[str, set[str]] = {}
        self._language: dict[str, set[str]] = defaultdict(set)
        self._about: dict[str, Counter[str]] = defaultdict(Counter)
        small = {word for one in documents for word in re.findall(r"(?<!\w)[^\W\d_]+", one.text) if word.islower()}
        for one in documents:
            held = self._of.setdefault(one.id, set())
            for start, end in sentence_spans(one.text):
                sentence = one.text[start:end]
                for name in names(sentence):
                    if name in _DATED or name.isupper() or (" " not in name and name[:1].lower() + name[1:] in small):
                        continue
                    held.add(name)
                    self._language[name].add(one.language)
                    self._about[name].update(_beside(sentence, name))

    def known(self, name: str) -> bool:
        """Whether a document names it within a sentence, where no other word is capitalised."""
        return name in self._language or name in _DATED

    def instead(self, name: str, *, language: str, document: str, draw: random.Random) -> list[str]:
        """What may stand in a name's place: another month for a month; else names of other documents, those used most alike first."""
        for dates in _CALENDAR:
            if name in dates:
                others = [one for one in dates if one != name]
                draw.shuffle(others)
                return others
        own = {fold(one) for one in self._of.get(document, ())}
        found = [one for one, told in self._language.items() if language in told and fold(one) not in own and one != name]
        draw.shuffle(found)
        return sorted(found, key=lambda one: -self._alike(name, one))

    def _alike(self, name: str, other: str) -> float:
        mine, theirs = self._about[name], self._about[other]
        shared = sum((mine & theirs).values()) / max(1, min(mine.total(), theirs.total()))
        one, another = name.split(), other.split()
        return shared + 0.5 * (len(one) == len(another)) + 0.25 * (one[-1] == another[-1])


def _beside(sentence: str, name: str) -> list[str]:
    """The words before and after a name, told apart, and the suffix it carries."""
    found = []
    for match in re.finditer(rf"(?:(\w+)\W+)?(?<!\w){re.escape(name)}(?!\w)(?:['\u2019](\w+))?(?:\W+(\w+))?", sentence):
        before, suffix, after = match.groups()
        found += [f"<{fold(before or '')}", f"'{_case(suffix or '')}", f">{fold(after or '')}"]
    return found


def _case(suffix: str) -> str:
    """A suffix without its vowel harmony and buffer letters."""
    return re.sub(r"[aeıioöuü]", "", fold(suffix)).lstrip("y").replace("t", "d")


def inflected(name: str, suffix: str) -> str:
    """A Turkish suffix as another name takes it: "Kestrel'in" becomes "Bursa'nın"."""
    vowel = next((one for one in reversed(name.lower()) if one in _VOWELS), "e")
    wide = "a" if vowel in "aıou" else "e"
    narrow = {"a": "ı", "ı": "ı", "o": "u", "u": "u", "e": "i", "i": "i", "ö": "ü", "ü": "ü"}[vowel]
    ends_open, hard = name[-1:].lower() in _VOWELS, name[-1:].lower() in _VOICELESS
    first = "t" if hard else "d"
    forms = {
        r"n?[ıiuü]n": f"{'n' if ends_open else ''}{narrow}n", r"y?[ıiuü]": f"{'y' if ends_open else ''}{narrow}",
        r"y?[ae]": f"{'y' if ends_open else ''}{wide}", r"[dt][ae]": first + wide, r"[dt][ae]n": f"{first}{wide}n",
        r"[dt][ae]ki": f"{first}{wide}ki", r"y?l[ae]": f"{'y' if ends_open else ''}l{wide}", r"[dt][ıiuü]r": f"{first}{narrow}r",
    }  # fmt: skip
    return next((form for pattern, form in forms.items() if re.fullmatch(pattern, suffix)), suffix)
