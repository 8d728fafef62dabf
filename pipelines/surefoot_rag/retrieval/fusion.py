"""What lexical search compares (stems, by language) and the fusion of its list with the dense one, by scores or by ranks.

Scores are the default: with a retriever that is weak in one language, reciprocal rank fusion lost 28 points of nDCG@10 on Turkish XQuAD,
while a convex sum of min-max scores, weighted by language and embedding space, keeps a weak retriever from doing harm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Literal

import msgspec

from surefoot.errors import Misconfigured
from surefoot_rag.documents.language import STOP_WORDS, language_of, words

POOL = 100  # candidates taken from each retriever before fusion: on SciFact 100 gave .7305, 50 gave .7261 (nDCG@10, MiniLM)
# Share of the dense score by embedding space (the beginning of its id) and language, each chosen on dev splits by `python -m surefoot_eval
# tune`.
DENSE_WEIGHTS: dict[str, dict[str, float]] = {
    "local/multilingual-e5-small": {"en": 0.5, "tr": 0.5},
    "local/all-MiniLM-L6-v2": {"en": 0.4, "tr": 0.1},
}
NEUTRAL_WEIGHT = 0.5  # for spaces nobody has tuned; see `python -m surefoot_eval tune --model NAME --data FOLDER`
RANK_CONSTANT = 60  # Cormack, Clarke, Buettcher: Reciprocal Rank Fusion, SIGIR 2009
K1, B = 1.0, 0.6  # of BM25, chosen on SciFact's train split among eleven pairs, with the lexical scores' scaling; .003 better on XQuAD too
STEM_LETTERS = 5  # a Turkish stem that helps: the first five letters beat Snowball (nDCG@10 .949 against .944 on XQuAD)


def tokens(text: str) -> list[str]:
    """Words folded (Turkish I/İ right) and stemmed: Turkish by the first letters, all else by Snowball's English rules.

    Digits stay whole; stop words of the text's language are left out.
    """
    return _stems(text, language_of(text))


def query_tokens(question: str) -> list[str]:
    """`tokens` of a question; unless it is plainly English, the stems of both languages, since its documents may have either."""
    language = language_of(question)
    if language == "en":
        return _stems(question, "en")
    stops = STOP_WORDS.get(language, frozenset())
    kept = [word for word in words(question) if word not in stops]
    return list(dict.fromkeys([*_stemmed(kept, "tr"), *_stemmed(kept, "und")]))


def _stems(text: str, language: str) -> list[str]:
    stops = STOP_WORDS.get(language, frozenset())
    return _stemmed([word for word in words(text) if word not in stops], language)


def _stemmed(kept: Sequence[str], language: str) -> list[str]:
    if language == "tr":
        return [_number(word) if word[0].isdigit() else word[:STEM_LETTERS] for word in kept]
    stem = _english()
    return [_number(word) if word[0].isdigit() else stem(word) for word in kept]


def _number(word: str) -> str:
    """Alike in Turkish notation and in English: 1,5 and 1.5, 18:30 and 18.30, 1.450 and 1,450."""
    return word.replace(",", ".").replace(":", ".")


@cache
def _english() -> Callable[[str], str]:
    try:
        import Stemmer
    except ImportError as exc:
        raise Misconfigured('English stems need PyStemmer: pip install "surefoot[rag]"') from exc
    return Stemmer.Stemmer("english").stemWord  # type: ignore[no-any-return]


def fuse(dense: Mapping[str, float], lexical: Mapping[str, float], *, weight: float) -> dict[str, float]:
    """Convex sum of scaled scores: `weight` of the dense, the rest of the lexical; best first, ties by id.

    Each list's best is 1. The dense list's worst is 0; the lexical 0 is a score of 0, which is what a passage sharing no word really has
    (after Bruch, Gai, Ingber: An Analysis of Fusion Functions for Hybrid Retrieval, 2023). What only one retriever found has the other's 0.
    """
    one, other = _scaled(dense, min(dense.values(), default=0.0)), _scaled(lexical, min(0.0, *lexical.values()) if lexical else 0.0)
    both = {key: weight * one.get(key, 0.0) + (1.0 - weight) * other.get(key, 0.0) for key in {*one, *other}}
    return dict(sorted(both.items(), key=lambda item: (-item[1], item[0])))


def fuse_ranks(dense: Mapping[str, float], lexical: Mapping[str, float], *, weight: float = 0.5) -> dict[str, float]:
    """Reciprocal rank fusion of the two lists, best first, ties by id; for scores that cannot be compared.

    `weight` is the dense share, .5 is the published form. A passage only one retriever found gets nothing from the other.
    """
    both: dict[str, float] = {}
    for scores, share in ((dense, weight), (lexical, 1.0 - weight)):
        for rank, key in enumerate(sorted(scores, key=lambda key: (-scores[key], key)), 1):
            both[key] = both.get(key, 0.0) + 2.0 * share / (RANK_CONSTANT + rank)
    return dict(sorted(both.items(), key=lambda item: (-item[1], item[0])))


class Fusion(msgspec.Struct, frozen=True, kw_only=True):
    """How the dense and the lexical list become one: by "scores" or by "ranks", with the dense share by the question's language.

    `other` is the share for languages `dense` does not name. A share of 1 is dense alone, of 0 lexical alone (where it found anything).
    """

    method: Literal["scores", "ranks"] = "scores"
    dense: Mapping[str, float] = {}
    other: float = NEUTRAL_WEIGHT

    def __post_init__(self) -> None:
        """Raise Misconfigured for a method or share that is none."""
        if self.method not in {"scores", "ranks"}:
            raise Misconfigured(f"fusion by {self.method!r}: want scores or ranks")
        for name, share in {**self.dense, "other": self.other}.items():
            if not 0.0 <= share <= 1.0:
                raise Misconfigured(f"fusion: the dense share {name} = {share}; want 0 to 1")

    def share(self, question: str) -> float:
        """The dense share for the question's language."""
        return self.dense.get(language_of(question), self.other)

    def mix(self, question: str, dense: Mapping[str, float], lexical: Mapping[str, float]) -> dict[str, float]:
        """One list, best first."""
        return (fuse if self.method == "scores" else fuse_ranks)(dense, lexical, weight=self.share(question))


def fusion_for(space: str) -> Fusion:
    """The tuned fusion for an embedding space, or the neutral one where nobody has tuned it."""
    known = next((weights for name, weights in DENSE_WEIGHTS.items() if space.startswith(name)), None)
    if known is None:
        return Fusion()
    return Fusion(dense=known, other=min(known.values()))  # in a language that was not tuned the model may be weak; words are not


def _scaled(scores: Mapping[str, float], low: float) -> dict[str, float]:
    high = max(scores.values(), default=low)
    if high <= low:
        return dict.fromkeys(scores, 1.0)
    return {key: (value - low) / (high - low) for key, value in scores.items()}
