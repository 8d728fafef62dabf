"""Which of the pipelines' two languages a text is in, told by its commonest words and by the letters only Turkish has.

Two languages do not need a model: on a sentence or more, stop words decide.
"""

# ruff: noqa: SIM905 - stop words read best as words

from __future__ import annotations

import re

__all__ = ["STOP_WORDS", "fold", "language_of", "words"]

STOP_WORDS: dict[str, frozenset[str]] = {
    "en": frozenset(
        "a about after all also an and any are as at be because been before but by can could did do does each for from had has have "
        "he her his how i if in into is it its may more most no not of on one only or other our out over she should so some such "
        "than that the their them then there these they this those to until was we were what when where which while who whom whose why "
        "will with would you your".split()
    ),
    "tr": frozenset(
        "acaba ama ancak arada artık aslında ayrıca bana bazı belki ben beri bile bir biri biz bize böyle bu bunu buna bunun çok çünkü "
        "da daha de defa değil diye dolayı en eğer fakat gibi göre ha hangi hani hem hep her hiç için iki ile ise kadar ki kim kimi "
        "mı mi mu mü nasıl ne neden nerede nereye nedir niçin niye o olan olarak oldu olduğu olur on ona onu onun önce pek sonra şey "
        "şu tarafından tüm ve veya vardır var ya yani yok yoksa zaten kaç hangisi kimin kimden sadece yalnızca".split()
    ),
}
TURKISH_LETTERS = frozenset("ğışİĞŞ")  # ç, ö and ü are shared with other languages

_WORD = re.compile(r"[^\W_]+(?:[.,:][0-9]+)*")  # "22.00" and "4,5" stay whole
_SUFFIX = re.compile(r"(?<=\w)['\u2019][^\W\d_]+")  # "Lodos'un", "22.00'de", "Kestrel's"
_ENOUGH = 0.08  # running text of either language has more than twice this share of its own stop words


def fold(text: str) -> str:
    """Lower-case `text` alike in both languages: I, İ and ı all become i, since a text's language is not always known."""
    return text.replace("İ", "i").replace("I", "i").replace("ı", "i").lower().replace("\u0307", "")


def words(text: str) -> list[str]:
    """Split `text` into folded words, suffixes after an apostrophe dropped, numbers with their separators kept whole."""
    return _WORD.findall(fold(_SUFFIX.sub("", text)))


def language_of(text: str) -> str:
    """Say "en", "tr", or "und" when neither is plain; the first 20,000 characters decide."""
    found = [word.lower() for word in _WORD.findall(text[:20_000].replace("İ", "i"))]
    if not found:
        return "und"
    share = {code: sum(word in stops for word in found) / len(found) for code, stops in STOP_WORDS.items()}
    share["tr"] += sum(any(letter in TURKISH_LETTERS for letter in word) for word in found) / len(found)
    best = max(share, key=lambda code: share[code])
    return best if share[best] >= _ENOUGH else "und"
