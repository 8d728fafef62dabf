"""From a question and its passages to a prompt, and from an answer back to what it cites.

Prompts are files beside this module, so that a change of wording shows in a diff and in the digest that results carry.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from surefoot.errors import Misconfigured
from surefoot_rag.answers.links import plain
from surefoot_rag.answers.numbers import numbers, values
from surefoot_rag.answers.refusals import CITED as _MARK
from surefoot_rag.answers.refusals import says_so, verdict
from surefoot_rag.answers.thinking import without_thinking
from surefoot_rag.documents.language import STOP_WORDS, fold, words
from surefoot_rag.documents.sentences import sentence_spans
from surefoot_rag.records import Citation, Passage

__all__ = [
    "PromptTemplate",
    "citations",
    "filled",
    "is_refusal",
    "known_marks",
    "numbered",
    "place",
    "prompt",
    "render",
    "unsupported",
    "without_marks",
]

_PROMPTS = Path(__file__).parent / "prompts"
_SLOT = re.compile(r"\{(passages|question|turns)\}")
_TAGLIKE = re.compile(r"[\u2039\u27e8\u3008\u2329\u276e\u02c2\u29fc](?=\s*/?\s*(?:passage|question|system|user|assistant))", re.IGNORECASE)
_YEARS = 1000  # "[2024]" is no mark
_STEM = 5  # letters; what is left of a word without its endings, near enough in both languages
_STOPS = frozenset(fold(word) for words_of in STOP_WORDS.values() for word in words_of)


class PromptTemplate(NamedTuple):
    """A prompt's two parts and the SHA-256 of its file, in hex; `user` has slots `{passages}` and `{question}`."""

    system: str
    user: str
    sha256: str


def prompt(name: str | Path = "answer", *, slots: Collection[str] = ("passages", "question")) -> PromptTemplate:
    """Read `prompts/{name}.md`, or the file at a path that ends in .md: what stands under `# System` and under `# User`.

    Raises Misconfigured when either is missing, or `# User` has not just the slots wanted.
    """
    file = Path(name) if str(name).endswith(".md") else _PROMPTS / f"{name}.md"
    return _template(file, _changed_at(file), frozenset(slots))


def _changed_at(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError as exc:
        raise Misconfigured(f"{file}: no such prompt; want the path of a .md file, or a name of {_PROMPTS}") from exc


@lru_cache(maxsize=64)
def _template(file: Path, changed_at: int, slots: frozenset[str]) -> PromptTemplate:
    """Cached by the file's time, so that one that is edited is read again."""
    del changed_at
    try:
        data = file.read_bytes()
        parts = re.fullmatch(r"\s*# System\n(.+)\n# User\n(.+)", data.decode("utf-8").replace("\r\n", "\n"), re.DOTALL)
    except (OSError, UnicodeDecodeError) as exc:
        raise Misconfigured(f"{file}: the prompt cannot be read: {exc}") from exc
    if not parts or set(_SLOT.findall(parts[2])) != slots:
        wanted = " and ".join(f"{{{name}}}" for name in sorted(slots))
        raise Misconfigured(f"{file}: wants `# System`, then `# User` with {wanted}")
    return PromptTemplate(parts[1].strip(), parts[2].strip(), hashlib.sha256(data).hexdigest())


def render(question: str, passages: Sequence[Passage], *, name: str | Path = "answer") -> tuple[str, str]:
    """Write the system and the user message; passages are numbered from 1 in the order given.

    `&`, `<` and `>`, and what looks like them, are escaped in passages and question, so neither can close the tags around it; what
    nobody can see (invisible letters that only a model reads) is left out.
    """
    chosen = prompt(name)
    body = {"passages": "\n".join(_element(n, each) for n, each in enumerate(passages, 1)), "question": _escape(question.strip())}
    return chosen.system, _SLOT.sub(lambda slot: body[slot[1]], chosen.user)


def filled(name: str | Path, **texts: str) -> tuple[str, str]:
    """The system and the user message of a prompt whose slots take these texts, escaped as passages are."""
    chosen = prompt(name, slots=texts.keys())
    return chosen.system, _SLOT.sub(lambda slot: _escape(texts[slot[1]].strip()), chosen.user)


def numbered(passages: Sequence[Passage]) -> str:
    """Passages for an agent: numbered, escaped as in a prompt, each with its document."""
    found = []
    for number, one in enumerate(passages, 1):
        page = "" if one.page is None else f' page="{one.page}"'
        found.append(
            f'<passage id="{number}" document="{_escape(one.document_id).replace(chr(34), "&quot;")}"{page}>{_escape(one.text)}</passage>'
        )
    return "\n".join(found) or "No passage was found."


def _element(number: int, passage: Passage) -> str:
    score = "" if passage.score is None else f' score="{passage.score:.4f}"'
    return f'<passage id="{number}"{score}>{_escape(passage.text)}</passage>'


def _escape(text: str) -> str:
    return _TAGLIKE.sub("<", plain(text)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def is_refusal(answer: str) -> bool:
    """Whether an answer says that the documents do not hold it, and nothing else; half an answer is none (see `refusals.verdict`)."""
    return verdict(without_thinking(answer)) == "refused"


def known_marks(answer_text: str, count: int) -> str:
    """The answer without marks that name none of its `count` passages: `[1, 9]` of five becomes `[1]`, `[9]` goes."""

    def kept(mark: re.Match[str]) -> str:
        parts = [part.strip() for part in mark[1].split(",")]
        numbers = [[int(number) for number in re.findall(r"\d+", part)] for part in parts]
        if any(each[-1] >= _YEARS for each in numbers):
            return mark[0]
        known = [part for part, each in zip(parts, numbers, strict=True) if each[0] >= 1 and each[-1] <= count]
        return f"[{', '.join(known)}]" if known else ""

    return re.sub(r"[ \t]+([.!?])", r"\1", _MARK.sub(kept, answer_text)) if _MARK.search(answer_text) else answer_text


def without_marks(answer_text: str) -> str:
    """The answer's words alone: in a later turn the numbers would name other passages."""
    return re.sub(r"[ \t]+([.!?,;])", r"\1", _MARK.sub("", answer_text)).strip()


def unsupported(answer_text: str, passages: Sequence[Passage]) -> tuple[str, ...]:
    """The sentences of an answer that cite nothing, or hold a number (in any notation) that no passage they cite holds.

    Headings, fragments, and sentences that say that something is not known are left out.
    """
    found = []
    for start, end in sentence_spans(answer_text):
        sentence = answer_text[start:end]
        claim = " ".join(_MARK.sub(" ", sentence).split())
        cited = [passages[number - 1].text for number in _numbers(sentence, len(passages))]
        if len(claim.split()) < 3 or says_so(sentence):
            continue
        held = {value for text in cited for value in values(text)}
        if not cited or any(held.isdisjoint(one) for one in numbers(claim)):
            found.append(claim)
    return tuple(found)


def citations(answer_text: str, passages: Sequence[Passage]) -> tuple[Citation, ...]:
    """Resolve the marks `[n]` of an answer, in order, each once.

    `[1]`, `[1, 3]` and `[1-3]` are read; numbers beyond `passages` are dropped. Each citation is narrowed to the one sentence of its
    passage that shares most with the sentence cited; where they share nothing (another language, say) the whole passage stands.
    """
    found: dict[tuple[str, int, int], Citation] = {}
    for start, end in sentence_spans(answer_text):
        sentence = answer_text[start:end]
        claim = " ".join(_MARK.sub(" ", sentence).split())
        for number in _numbers(sentence, len(passages)):
            cited = _narrow(claim, passages[number - 1])
            found.setdefault((cited.passage_id, cited.start, cited.end), cited)
    return tuple(found.values())


def _numbers(sentence: str, count: int) -> Iterator[int]:
    for mark in _MARK.finditer(sentence):
        for part in mark[1].split(","):
            first, *rest = (int(number) for number in re.findall(r"\d+", part))
            yield from range(max(first, 1), min(rest[-1] if rest else first, count) + 1)


def _narrow(claim: str, passage: Passage) -> Citation:
    start, end = _verbatim(claim, passage.text) or _closest(claim, passage.text) or (0, len(passage.text))
    page, line = place(passage, start)
    return Citation(
        document_id=passage.document_id,
        passage_id=passage.id,
        start=passage.start + start,
        end=passage.start + end,
        text=passage.text[start:end],
        page=page,
        line=line,
    )


def place(passage: Passage, at: int) -> tuple[int | None, int | None]:
    """The page and the printed line of a passage's character, as far as its document has them."""
    page, line = passage.page, passage.metadata.get("line")
    if page is None or not isinstance(line, int):
        return page, None
    for mark in str(passage.metadata.get("lines", "")).split():
        if int(mark.removeprefix("p")) > at:
            break
        page, line = (page + 1, 1) if mark.startswith("p") else (page, line + 1)
    return page, line


def _verbatim(claim: str, text: str) -> tuple[int, int] | None:
    """Find a claim copied word by word; line breaks may differ, and one that is only a word or two proves nothing."""
    quoted = claim.split()
    if len(quoted) < 4:
        return None
    match = re.search(r"\s+".join(re.escape(word) for word in quoted), text)
    return match.span() if match else None


def _closest(claim: str, text: str) -> tuple[int, int] | None:
    spans = sentence_spans(text)
    stems = [_stems(text[start:end]) for start, end in spans]
    spread = Counter(stem for each in stems for stem in each)
    wanted = _stems(claim)
    weight = {stem: math.log(1 + len(spans) / spread[stem]) for stem in wanted if spread[stem]}
    if not weight:
        return None
    shared = [sum(weight.get(stem, 0.0) for stem in each) for each in stems]
    best = max(range(len(spans)), key=lambda n: (shared[n], -len(stems[n]), -n))
    return spans[best]


def _stems(text: str) -> frozenset[str]:
    return frozenset(word if word[0].isdigit() else word[:_STEM] for word in words(text) if word not in _STOPS)
