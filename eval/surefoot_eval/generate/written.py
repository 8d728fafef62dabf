"""Questions by a chat model: of passages spread over the documents; each with its sentence, which must stand in the passage."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from surefoot import ChatModel, ChatReply, Message
from surefoot.errors import Misconfigured
from surefoot_eval.generate.candidates import Candidate, Material, spread
from surefoot_eval.score.correctness import says
from surefoot_rag.answers.prompting import numbered
from surefoot_rag.answers.thinking import without_thinking
from surefoot_rag.documents.language import language_of
from surefoot_rag.records import Passage

__all__ = ["confirmed", "written"]

LEAST_CHARS = 200  # of a passage that is asked about: a heading alone says nothing
SHOWN = 5  # passages beside a near miss
_TEMPLATES = Path(__file__).parent / "templates"
_SLOT = re.compile(r"\{(count|title|passage|passages|question)\}")
_NO = re.compile(r"\W*no\b", re.IGNORECASE)


class _WrittenQuestion(msgspec.Struct, frozen=True):
    """What a model was asked to give of each question."""

    question: str
    answer: str
    quote: str


def written(chat: ChatModel, material: Material, *, count: int, each: int = 2, seed: int = 0) -> tuple[list[Candidate], dict[str, int]]:
    """Ask for `each` questions of so many passages that `count` may come; also says how many were thrown out for which reason.

    Raises Misconfigured where not one can be read: the model does not follow the prompt, or nobody answered (the reason is told).
    """
    long = [one for one in material.passages if len(one.text) >= LEAST_CHARS]
    chosen = spread(long, -(-count // each), seed=seed, document=lambda one: one.document_id)
    replies = chat.batch(
        [_prompt("generate", count=str(each), title=one.title, passage=one.text) for one in chosen], return_exceptions=True
    )
    found: list[Candidate] = []
    dropped: Counter[str] = Counter()
    for passage, reply in zip(chosen, replies, strict=True):
        if not isinstance(reply, ChatReply):
            dropped[f"nobody answered ({type(reply).__name__})"] += each
            continue
        for line in without_thinking(reply.text).splitlines():
            if line.strip().startswith("{"):
                told = _read(line, passage, len(found))
                if isinstance(told, str):
                    dropped[told] += 1
                else:
                    found.append(told)
    if not found:
        said = "; ".join(f"{reason}: {times}" for reason, times in dropped.items()) or "its replies hold no line of JSON"
        raise Misconfigured(f"{chat.targets[0]} wrote no question that can be used ({said})")
    return found, dict(dropped)


def confirmed(chat: ChatModel, near_misses: Sequence[Candidate], material: Material) -> list[Candidate]:
    """The near misses that a model, too, finds unanswered by the passages BM25 finds for them; one without a plain NO is dropped."""
    shown = [[material.by_id[key] for key in material.words.search(one.question, k=SHOWN)] for one in near_misses]
    prompts = [
        _prompt("answerable", passages=numbered(found), question=one.question) for one, found in zip(near_misses, shown, strict=True)
    ]
    replies = chat.batch(prompts, return_exceptions=True) if prompts else []
    return [
        one
        for one, reply in zip(near_misses, replies, strict=True)
        if isinstance(reply, ChatReply) and _NO.match(without_thinking(reply.text))
    ]


def _prompt(name: str, **texts: str) -> list[Message]:
    parts = re.fullmatch(r"\s*# System\n(.+)\n# User\n(.+)", (_TEMPLATES / f"{name}.md").read_text(encoding="utf-8"), re.DOTALL)
    assert parts is not None
    body = {key: text if key == "passages" else _escape(text) for key, text in texts.items()}  # passages come escaped
    return [Message.system(parts[1].strip()), Message.user(_SLOT.sub(lambda slot: body.get(slot[1], slot[0]), parts[2].strip()))]


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _read(line: str, passage: Passage, number: int) -> Candidate | str:
    """The question, or why it cannot be used."""
    try:
        told = msgspec.json.decode(line.strip().rstrip(","), type=_WrittenQuestion)
    except msgspec.MsgspecError:
        return "a line is no JSON of question, answer and quote"
    quote = re.escape(" ".join(told.quote.split())).replace("\\ ", r"\s+")
    places = [match.span() for match in re.finditer(quote, passage.text)] if told.quote.strip() else []
    if len(places) != 1:
        return "the quote does not stand in the passage, or several times"
    start, end = places[0]
    language = language_of(told.question)
    if not told.question.strip() or not says(passage.text[start:end], told.answer, language=language):
        return "the quote does not say the answer"
    return Candidate(
        id=f"{passage.document_id}:m{number}", kind="model", language=language, question=" ".join(told.question.split()),
        answer=" ".join(told.answer.split()), document=passage.document_id, quote=passage.text[start:end],
        start=passage.start + start, end=passage.start + end,
    )  # fmt: skip
