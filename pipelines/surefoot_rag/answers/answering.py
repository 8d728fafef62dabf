"""What both frameworks' pipelines share: from a question to a prompt, and from what the model said to an Answer.

A framework brings its ways to ask a chat model (`Framework`). All else happens here once, so that both behave alike.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from surefoot import ChatModel, Message, scope
from surefoot.errors import BadRequest
from surefoot.usage.tokens import estimate_text
from surefoot_rag.answers import conversation as turns
from surefoot_rag.answers.links import Links
from surefoot_rag.answers.options import AskOptions, Reranker, options_for
from surefoot_rag.answers.prompting import citations, known_marks, prompt, render, unsupported
from surefoot_rag.answers.refusals import verdict, without_no_answer
from surefoot_rag.answers.thinking import without_thinking
from surefoot_rag.documents.language import language_of
from surefoot_rag.documents.sentences import sentence_spans
from surefoot_rag.records import Answer, Passage
from surefoot_rag.retrieval.dense import nearest
from surefoot_rag.retrieval.filters import options_of
from surefoot_rag.retrieval.fusion import fusion_for
from surefoot_rag.retrieval.library import Library

RERANKED = 20  # candidates put in another order: hit@20 is .995 and more on XQuAD, and each costs a cross-encoder some 20 ms
ELEMENT_TOKENS = 12  # the tag around a passage
SILENT = {"en": "I do not know: the documents do not say.", "tr": "Bilmiyorum: belgelerde bunun yanıtı yok."}


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """All that goes to a model: instructions, earlier turns, the prompt with its passages; and what is needed to judge the answer."""

    system: str
    earlier: tuple[Message, ...]
    user: str
    question: str
    searched: str
    found: tuple[Passage, ...]
    tenant: str
    options: AskOptions
    started_s: float
    prompt_sha256: str


class ModelOutput(NamedTuple):
    """What a model said: its words, the calls of tools it was never offered, tokens in and out, and the framework's metadata."""

    text: str
    tool_calls: int
    tokens: tuple[int, int]
    meta: Mapping[str, Any]


class Framework(NamedTuple):
    """A framework's part: `say` gives an answer, `stream` its pieces and last the whole; `asay` and `astream` on the caller's loop."""

    name: str
    say: Callable[[ChatModel, Prompt], ModelOutput]
    stream: Callable[[ChatModel, Prompt], Iterator[str | ModelOutput]]
    asay: Callable[[ChatModel, Prompt], Awaitable[ModelOutput]]
    astream: Callable[[ChatModel, Prompt], AsyncIterator[str | ModelOutput]]


def find(library: Library, question: str, options: AskOptions) -> list[Passage]:
    """The best `k` passages, dense and lexical mixed; each carries its cosine, None where only the lexical side found it."""
    if not question.strip():
        raise BadRequest("the question is empty; nothing was searched")
    collection = library.of(options.tenant)
    lexical = collection.lexical
    wanted = options_of(options.where, lexical.fields)
    cosines = nearest(collection.backend, lexical, collection.embed.embed_query(question), wanted)
    mixed = (options.fusion or fusion_for(collection.embed.space)).mix(question, cosines, lexical.search(question, wanted=wanted))
    count = options.k if options.rerank is None else max(options.k, RERANKED)
    found = [replace(one, score=cosines.get(one.id)) for one in collection.first(mixed, count)]
    return found if options.rerank is None else _reranked(question, found, options.rerank)[: options.k]


def _reranked(question: str, found: Sequence[Passage], rerank: Reranker) -> list[Passage]:
    """By falling score; equals stay in their order."""
    scores = [float(score) for score in rerank(question, found)] if found else []
    if len(scores) != len(found):
        raise BadRequest(f"rerank gave {len(scores)} scores for {len(found)} passages; want one each; nothing was sent")
    return [found[at] for at in sorted(range(len(found)), key=lambda at: -scores[at])]


def fit(passages: Sequence[Passage], budget_tokens: int) -> list[Passage]:
    """The best passages that fit, from the best on; of a first one that is too long alone, its first whole sentences.

    Raises BadRequest where not even one sentence fits.
    """
    kept_ones: list[Passage] = []
    left_tokens = budget_tokens
    for one in passages:
        size = estimate_text(one.text) + ELEMENT_TOKENS
        if size > left_tokens:
            break
        kept_ones.append(one)
        left_tokens -= size
    if kept_ones or not passages:
        return kept_ones
    first = passages[0]
    ends = [end for _, end in sentence_spans(first.text) if estimate_text(first.text[:end]) + ELEMENT_TOKENS <= budget_tokens]
    if not ends:
        raise BadRequest(f"context_tokens = {budget_tokens} holds not one sentence of the best passage; allow more; nothing was sent")
    return [replace(first, text=first.text[: ends[-1]], end=first.start + ends[-1])]


def prepare(library: Library, question: str, chat: ChatModel, options: AskOptions) -> Prompt:
    """Search and write the prompt. Nothing has been asked of the chat model yet."""
    started = time.perf_counter()
    tenant = library.tenant if options.tenant is None else options.tenant
    said = turns.earlier(options.history, turns.key(tenant, options.conversation)) if options.history is not None else ()
    template = prompt(options.prompt)
    window = getattr(chat.traits, "context_tokens", None)
    with scope(tenant=tenant or None):
        searched = turns.standalone(question, said) if options.rewrite is None else options.rewrite(question, said)
        found = find(library, searched, options)
    shown = fit(found, min(options.context_tokens, window // 2) if window else options.context_tokens)
    system, user = render(question if options.rewrite is not None else searched, shown, name=options.prompt)
    return Prompt(
        system=system,
        earlier=said,
        user=user,
        question=question,
        searched=searched,
        found=tuple(shown),
        tenant=tenant,
        options=options,
        started_s=started,
        prompt_sha256=template.sha256,
    )


def finish(parts: Framework, turn: Prompt, said: ModelOutput, text: str, removed: int) -> Answer:
    """The Answer: `text` is what `said` leaves after its thinking and links are taken out; citations are checked against what was shown."""
    silent = SILENT.get(language_of(turn.question), SILENT["en"])
    text = text.strip() or silent
    judged = verdict(text)
    text = known_marks(without_no_answer(text), len(turn.found)).strip() or silent
    bare = () if judged == "refused" else unsupported(text, turn.found)
    if bare and turn.options.refuse_unsupported:
        judged, text = "refused", silent
    refused = judged == "refused"
    if turn.options.history is not None:
        turns.remember(turn.options.history, turns.key(turn.tenant, turn.options.conversation), turn.question, text)
    meta = said.meta
    return Answer(
        text=text,
        citations=() if refused else citations(text, turn.found),
        passages=turn.found,
        refused=refused,
        verdict=judged,
        model=str(meta.get("target") or meta.get("model_name") or meta.get("model") or ""),
        input_tokens=said.tokens[0],
        output_tokens=said.tokens[1],
        seconds=time.perf_counter() - turn.started_s,
        cost_usd=meta.get("cost_usd"),
        attempts=int(meta.get("attempts", 0)),
        framework=parts.name,
        searched=turn.searched,
        unsupported=bare,
        removed_links=removed,
        ignored_tool_calls=said.tool_calls,
        prompt_sha256=turn.prompt_sha256,
    )


def links(turn: Prompt) -> Links:
    """The filter every answer leaves by."""
    return Links(turn.options.allowed_hosts, language=language_of(turn.question))


def run(parts: Framework, library: Library, question: str, chat: ChatModel, asked: Mapping[str, Any]) -> Answer:
    """Search, ask, judge."""
    turn = prepare(library, question, chat, options_for(asked))
    with scope(tenant=turn.tenant or None):
        said = parts.say(chat, turn)
    taken = links(turn)
    return finish(parts, turn, said, taken.clean(without_thinking(said.text)), taken.removed)


async def arun(parts: Framework, library: Library, question: str, chat: ChatModel, asked: Mapping[str, Any]) -> Answer:
    """`run` for callers on an event loop: the search, which waits for disks, on a thread; the model's answer awaited."""
    turn = await asyncio.to_thread(prepare, library, question, chat, options_for(asked))
    with scope(tenant=turn.tenant or None):
        said = await parts.asay(chat, turn)
    taken = links(turn)
    text = taken.clean(without_thinking(said.text))
    return await asyncio.to_thread(finish, parts, turn, said, text, taken.removed)


async def afind(library: Library, question: str, options: AskOptions) -> list[Passage]:
    """`find` for callers on an event loop."""
    return await asyncio.to_thread(find, library, question, options)


__all__ = ["Framework", "ModelOutput", "Prompt", "afind", "arun", "find", "finish", "fit", "links", "prepare", "run"]
