"""`local:extractive`: a reader without neural weights.

It chooses the sentences of the given passages that support a question best, cites them, and says that it does not know when they
do not hold the answer. English and Turkish. Deterministic, quick (hundreds of questions a second), standard library only. It is not
a language model: it quotes, it never writes. Its figures are printed by `python -m surefoot_eval.studies.reader --data FOLDER`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from surefoot.providers.local.extractive.features import answer_row, rank_rows, scene
from surefoot.providers.local.extractive.near_miss import is_near_miss
from surefoot.providers.local.extractive.question import NUMERIC, Question, ask, candidates
from surefoot.providers.local.extractive.text import DATE, NAME, NUMBER, STOP, WORD, Sentence, detect, sentences

REFUSAL_EN = "I do not know: the documents do not say."
REFUSAL_TR = "Bilmiyorum: belgelerde bunun yanıtı yok."
NO_PASSAGES_EN = "I am surefoot's offline reader: I only quote from passages of documents, and none were given."
NO_PASSAGES_TR = "Ben surefoot'un çevrimdışı okuyucusuyum: yalnızca verilen belgelerden alıntı yaparım, ama hiç belge verilmedi."

SURE = 0.7  # a first sentence less likely than this is followed by a second: a quarter of the replies, and 6 points more of them right
SECOND = 0.15  # if that one is at least so likely
NEAR_MISS = 0.4  # confidence at most, where the best sentence lacks what was asked for
COSINES = (0.6, 1.0)  # where multilingual-e5-small's lie; other models' are spread otherwise and would be misread
LIST_CHARS = 400  # of a list quoted after the sentence that announces it
_WEIGHTS = Path(__file__).with_name("extractive_weights.json")
_MARK = re.compile(r"\[(\d[\d\s,\u2013-]*)\]")
_FENCES = re.compile(r"^[ \t]*(?:```|~~~).*\n?|^[ \t]*\n", re.MULTILINE)  # marks of a listing, of which a quote may hold only one
_BLOCK = re.compile(r"<passages>(?=\s*<(?:passage\b|/passages>))")
_PASSAGE = re.compile(r"<passage\b([^>]*)>(.*?)</passage>", re.DOTALL)
_ID = re.compile(r"\bid\s*=\s*[\"']?([\w.-]+)")
_SCORE = re.compile(r"\bscore\s*=\s*[\"']?(-?\d+(?:\.\d+)?(?:[eE]-?\d+)?)")


@dataclass(frozen=True, slots=True)
class SourcePassage:
    """A passage to read; `id` is what citations name, `score` the cosine between question and passage where it is known."""

    text: str
    id: str = ""
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Cited:
    """Characters [start, end) of one passage; `text` is exactly these. A block (list, table row, listing) keeps its line breaks."""

    passage_index: int
    start: int
    end: int
    text: str
    is_block: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found: `sentences` from the best on, one or two; `answer` is a date or number inside the first, else its text.

    `confidence` in [0, 1] is the calibrated chance that the passages hold the answer; `refused` when below one half: then `answer` is
    None and `sentences` are only the nearest. `language` is the question's, "en" or "tr".
    """

    answer: str | None
    sentences: tuple[Cited, ...]
    confidence: float
    refused: bool
    language: str


@dataclass(frozen=True, slots=True)
class Weights:
    """Learned coefficients: `rank` by language, then feature; `lexical` and `dense` decide on answering, without and with cosines."""

    rank: Mapping[str, Mapping[str, float]]
    lexical: Mapping[str, float]
    dense: Mapping[str, float]


class ParsedPrompt(NamedTuple):
    """A question and the passages around it, as a prompt had them; `passages` is None when the prompt had no such element."""

    question: str
    passages: tuple[SourcePassage, ...] | None


class Answered(NamedTuple):
    """The reply to a prompt, and the reading behind it (None when there was nothing to read)."""

    text: str
    reading: Reading | None


@cache
def shipped_weights() -> Weights:
    """The coefficients in `extractive_weights.json`, written by `python -m surefoot_eval.studies.reader --fit`."""
    data = json.loads(_WEIGHTS.read_text(encoding="utf-8"))
    return Weights(rank=data["rank"], lexical=data["lexical"], dense=data["dense"])


def read(
    question: str, passages: Sequence[SourcePassage], *, similarity: Sequence[float] | None = None, weights: Weights | None = None
) -> Reading:
    """Find the sentences that answer `question`, or refuse.

    `passages` come in the retriever's order, best first: their rank counts. `similarity` gives one cosine per passage, of the question's
    and the passage's vector by multilingual-e5-small; values no such model gives are ignored. Raises ValueError when their number is
    not that of the passages.
    """
    if similarity is not None and len(similarity) != len(passages):
        raise ValueError(f"{len(similarity)} similarities for {len(passages)} passages; give one each, or none")
    learned = weights or shipped_weights()
    language = detect(question)
    asked = ask(question, language)
    parts = [sentences(passage.text, language) for passage in passages]
    if not asked.terms or not any(parts):
        return Reading(None, (), 0.0, refused=True, language=language)
    is_calibrated = similarity is not None and all(COSINES[0] <= value <= COSINES[1] for value in similarity)
    found = scene(asked, parts, similarity if is_calibrated else None)
    rows = rank_rows(found)
    scores = [_dot(learned.rank[language], row) for row in rows]
    best = sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:2]
    confidence = _sigmoid(_dot(learned.dense if is_calibrated else learned.lexical, answer_row(found, rows, scores)))
    if confidence >= 0.5 and is_near_miss(found, best[0]):
        confidence = NEAR_MISS
    total = sum(math.exp(score - scores[best[0]]) for score in scores)
    chances = [math.exp(scores[index] - scores[best[0]]) / total for index in best]
    if chances[0] >= SURE or chances[-1] < SECOND:
        best = best[:1]
    cited = [_cite(passages, parts, *found.place[index]) for index in best]
    cited = [one for at, one in enumerate(cited) if not at or not _overlap(cited[0], one)]
    refused = confidence < 0.5
    answer = None if refused else _short(asked, found.sentences[best[0]], passages[cited[0].passage_index].text) or cited[0].text
    return Reading(answer, tuple(cited), confidence, refused=refused, language=language)


def _dot(weights: Mapping[str, float], row: Mapping[str, float]) -> float:
    """Weighted sum; features a set of weights does not name count nothing, its `bias` is added."""
    return weights.get("bias", 0.0) + sum(weights[name] * value for name, value in row.items() if name in weights)


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, value))))


def _cite(passages: Sequence[SourcePassage], parts: Sequence[Sequence[Sentence]], passage: int, at: int) -> Cited:
    """The sentence, with the list, table or listing it announces by ending in a colon."""
    text, own = passages[passage].text, parts[passage]
    first = last = own[at]
    if text[first.end - 1] == ":":
        for following in own[at + 1 :]:
            if following.kind == "text" or following.end - first.start > LIST_CHARS:
                break
            last = following
    is_block = last is not first or first.kind in {"row", "code"}
    return Cited(passage, first.start, last.end, text[first.start : last.end], is_block)


def _overlap(one: Cited, other: Cited) -> bool:
    return one.passage_index == other.passage_index and one.start < other.end and other.start < one.end


def _short(question: Question, sentence: Sentence, text: str) -> str | None:
    """The date or number asked for, with its unit, by nearness to the question's words; None for other kinds of question."""
    kinds = [kind for kind in ("date", *sorted(NUMERIC), "percent") if kind in question.types]
    places = candidates(question, sentence, kinds[0]) if kinds else []
    if not places:
        return None
    hits = [at for term in question.terms for at in sentence.where.get(term, ())]
    first = last = min(places, key=lambda place: (min((abs(place - at) for at in hits), default=0), place))
    wanted = DATE | NUMBER if kinds[0] == "date" else NUMBER
    matches = list(WORD.finditer(text, sentence.start, sentence.end))
    while first > 0 and sentence.flags[first - 1] & wanted and _joined(text, matches, first):
        first -= 1
    while last + 1 < len(matches) and sentence.flags[last + 1] & wanted and _joined(text, matches, last + 1):
        last += 1
    has_unit = last + 1 < len(matches) and not sentence.flags[last + 1] & (STOP | NAME) and _joined(text, matches, last + 1)
    if kinds[0] in NUMERIC and has_unit:
        last += 1
    start, end = matches[first].start(), matches[last].end()
    start -= text[start - 1 : start] in {"$", "€", "£", "₺", "%"}
    end += text[end : end + 1] == "%"
    return text[start:end]


def _joined(text: str, matches: Sequence[re.Match[str]], at: int) -> bool:
    """Whether only a space (or a comma in a date) stands between a word and the one before it."""
    return text[matches[at - 1].end() : matches[at].start()] in {" ", ", ", "-"}


_DASHES = "\n---------------------\n"  # LlamaIndex's usual prompt puts its context between two such lines


def _usual_prompt(text: str) -> ParsedPrompt | None:
    """LlamaIndex's usual prompt, or None if this is none; found by searching for fixed words, so no text makes it slow."""
    head, found, question = text.rstrip().removesuffix("Answer:").rpartition("\nQuery:")
    context = head.partition(_DASHES)[2].rpartition(_DASHES)[0]
    if not found or not context or not text.rstrip().endswith("Answer:"):
        return None
    parts = [part.strip() for part in context.split("\n\n") if part.strip()]
    return ParsedPrompt(question.strip(), tuple(SourcePassage(part, str(number), None) for number, part in enumerate(parts, 1)))


def parse_prompt(text: str) -> ParsedPrompt:
    """Take a question and its passages out of a prompt: ours, or LlamaIndex's usual one (context between lines of dashes, then `Query:`).

    Expected is `<passages>` with `<passage id="1" score="0.83">` elements, then `<question>`; `&`, `<` and `>` are escaped in both. What
    surrounds them is ignored, so instructions may speak of `<passages>`; without `<question>` what follows the passages is the question.
    """
    usual = None if "<passage" in text else _usual_prompt(text)
    if usual is not None:
        return usual
    opened = text.rfind("<question>")
    before = text if opened < 0 else text[:opened]
    blocks = list(_BLOCK.finditer(before))
    passages: tuple[SourcePassage, ...] | None = None
    rest = text
    if blocks:
        begin = blocks[-1].end()
        end = before.find("</passages>", begin)
        inside = before[begin : end if end >= 0 else len(before)]
        passages = tuple(_source(number, match) for number, match in enumerate(_PASSAGE.finditer(inside), 1))
        rest = before[end + len("</passages>") :] if end >= 0 else ""
    if opened >= 0:
        closed = text.find("</question>", opened)
        rest = text[opened + len("<question>") : closed if closed >= 0 else len(text)]
    return ParsedPrompt(_unescape(rest).strip(), passages)


def _source(number: int, match: re.Match[str]) -> SourcePassage:
    name, score = _ID.search(match[1]), _SCORE.search(match[1])
    return SourcePassage(_unescape(match[2]), name[1] if name else str(number), float(score[1]) if score else None)


def _unescape(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def answer_prompt(prompt_text: str) -> Answered:
    """Answer a prompt that delimits its passages as `parse_prompt` says.

    The reply quotes one or two sentences, each followed by its passage's id in brackets; or is REFUSAL_EN or REFUSAL_TR, by the
    question's language; or, to a prompt without passages, says that this model answers only from passages.
    """
    asked = parse_prompt(prompt_text)
    if asked.passages is None:
        return Answered(NO_PASSAGES_TR if detect(prompt_text) == "tr" else NO_PASSAGES_EN, None)
    scores = [passage.score for passage in asked.passages if passage.score is not None]
    reading = read(asked.question, asked.passages, similarity=scores if len(scores) == len(asked.passages) else None)
    if reading.refused:
        return Answered(REFUSAL_TR if reading.language == "tr" else REFUSAL_EN, reading)
    return Answered(" ".join(f"{_quote(one)} [{asked.passages[one.passage_index].id}]" for one in reading.sentences), reading)


def _quote(cited: Cited) -> str:
    """The cited text for a reply: wrapped lines joined, and nothing in it that looks like a citation or a refusal of ours."""
    body = _FENCES.sub("", cited.text).strip("| \t\n") if cited.is_block else " ".join(cited.text.split())
    body = _MARK.sub(r"(\1)", body)
    return f'"{body}"' if body.startswith((REFUSAL_EN, REFUSAL_TR)) else body
