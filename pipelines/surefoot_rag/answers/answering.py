"""What both frameworks' pipelines share: from a question to a prompt, and from what the model said to an Answer.

A framework brings three functions (`Framework`): search its vector store, ask its chat model, ask it for a stream. All else happens here
once, so that both behave alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

import msgspec
from msgspec.structs import replace

from surefoot import ChatModel, Message, scope
from surefoot.errors import BadRequest
from surefoot.history import History
from surefoot.usage.tokens import estimate_text
from surefoot_rag.answers import conversation as turns
from surefoot_rag.answers.links import Links
from surefoot_rag.answers.prompting import citations, known_marks, prompt, render, unsupported
from surefoot_rag.answers.refusals import verdict, without_no_answer
from surefoot_rag.answers.thinking import without_thinking
from surefoot_rag.documents.language import language_of
from surefoot_rag.documents.sentences import sentence_spans
from surefoot_rag.records import Answer, Passage
from surefoot_rag.retrieval.dense import nearest
from surefoot_rag.retrieval.filters import Where, options_of
from surefoot_rag.retrieval.fusion import Fusion, fusion_for
from surefoot_rag.retrieval.library import Library

TOP_K = 5  # passages shown to the model: hit@5 on XQuAD is .98 and more in both languages; more only dilutes
CONTEXT_TOKENS = 4000  # for passages: three times what five usually have; half the model's window, where that is smaller
ELEMENT_TOKENS = 12  # the tag around a passage
TOOLS = frozenset({"tools", "tool_choice", "functions", "function_call", "parallel_tool_calls"})
SILENT = {"en": "I do not know: the documents do not say.", "tr": "Bilmiyorum: belgelerde bunun yanıtı yok."}


class Search(TypedDict, total=False):
    """How to search: `k` passages, whose (`tenant`), which (`where`), mixed how (`fusion`; left out: as the embedding space was tuned)."""

    k: int
    tenant: str
    where: Where
    fusion: Fusion


class AnswerOptions(Search, total=False):
    """How to answer: with which earlier turns, within how many tokens of passages, which hosts' links may stand; and how to generate."""

    history: History
    conversation: str
    context_tokens: int
    allowed_hosts: Sequence[str]
    temperature: float
    max_tokens: int
    seed: int


class AskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`Search` and `AnswerOptions` with their defaults; `tenant` None is the library's own."""

    k: int = TOP_K
    tenant: str | None = None
    where: Any = None
    fusion: Fusion | None = None
    history: History | None = None
    conversation: str = "default"
    context_tokens: int = CONTEXT_TOKENS
    allowed_hosts: Sequence[str] = ()
    options: Mapping[str, Any] = {}


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


class ModelOutput(NamedTuple):
    """What a model said: its words, the calls of tools it was never offered, tokens in and out, and the framework's metadata."""

    text: str
    tool_calls: int
    tokens: tuple[int, int]
    meta: Mapping[str, Any]


class Framework(NamedTuple):
    """A framework's part: `say` gives an answer, `stream` its pieces and last the whole."""

    name: str
    say: Callable[[ChatModel, Prompt], ModelOutput]
    stream: Callable[[ChatModel, Prompt], Iterator[str | ModelOutput]]


def options_for(asked: Mapping[str, Any]) -> AskOptions:
    """Sort what was asked for. Raises BadRequest for tools: what a passage says could then choose one."""
    if offered := TOOLS & asked.keys():
        raise BadRequest(f"{', '.join(sorted(offered))}: no tools are offered here, lest a passage chooses one; nothing was sent")
    ours = {name: value for name, value in asked.items() if name in AskOptions.__struct_fields__ and name != "options"}
    options = AskOptions(**ours, options={name: value for name, value in asked.items() if name not in ours})
    if options.k < 1 or options.context_tokens < 1:
        raise BadRequest(f"k = {options.k}, context_tokens = {options.context_tokens}: want at least 1; nothing was searched")
    return options


def find(library: Library, question: str, options: AskOptions) -> list[Passage]:
    """The best `k` passages, dense and lexical mixed; each carries its cosine, None where only the lexical side found it."""
    if not question.strip():
        raise BadRequest("the question is empty; nothing was searched")
    collection = library.of(options.tenant)
    lexical = collection.lexical
    wanted = options_of(options.where, lexical.fields)
    cosines = nearest(collection.backend, lexical, collection.embed.embed_query(question), wanted)
    mixed = (options.fusion or fusion_for(collection.embed.space)).mix(question, cosines, lexical.search(question, wanted=wanted))
    return [replace(one, score=cosines.get(one.id)) for one in collection.first(mixed, options.k)]


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
    searched = turns.standalone(question, said)
    window = getattr(chat.traits, "context_tokens", None)
    with scope(tenant=tenant or None):
        found = find(library, searched, options)
    shown = fit(found, min(options.context_tokens, window // 2) if window else options.context_tokens)
    system, user = render(searched, shown)
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
    )


def finish(parts: Framework, turn: Prompt, said: ModelOutput, text: str, removed: int) -> Answer:
    """The Answer: `text` is what `said` leaves after its thinking and links are taken out; citations are checked against what was shown."""
    text = text.strip() or SILENT.get(language_of(turn.question), SILENT["en"])
    judged = verdict(text)
    refused = judged == "refused"
    text = known_marks(without_no_answer(text), len(turn.found)).strip() or SILENT.get(language_of(turn.question), SILENT["en"])
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
        unsupported=() if refused else unsupported(text, turn.found),
        removed_links=removed,
        ignored_tool_calls=said.tool_calls,
        prompt_sha256=prompt().sha256,
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


__all__ = [
    "AnswerOptions",
    "AskOptions",
    "Framework",
    "ModelOutput",
    "Prompt",
    "Search",
    "find",
    "finish",
    "fit",
    "links",
    "options_for",
    "prepare",
    "run",
]
