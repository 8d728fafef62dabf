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

from pipelines import conversation as turns
from pipelines.filters import Where, as_chroma, options_of
from pipelines.language import language_of
from pipelines.library import Library
from pipelines.links import Links
from pipelines.prompting import citations, known_marks, prompt, render, unsupported
from pipelines.records import Answer, Passage
from pipelines.refusals import verdict, without_no_answer
from pipelines.retrieval import Fusion, fusion_for
from pipelines.sentences import sentence_spans
from pipelines.thinking import without_thinking
from surefoot import ChatModel, Message, scope
from surefoot.errors import BadRequest
from surefoot.history import History
from surefoot.tokens import estimate_text

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


class Asked(Search, total=False):
    """How to answer: with which earlier turns, within how many tokens of passages, which hosts' links may stand; and how to generate."""

    history: History
    conversation: str
    context_tokens: int
    allowed_hosts: Sequence[str]
    temperature: float
    max_tokens: int
    seed: int


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """`Search` and `Asked` with their defaults; `tenant` None is the library's own."""

    k: int = TOP_K
    tenant: str | None = None
    where: Any = None
    fusion: Fusion | None = None
    history: History | None = None
    conversation: str = "default"
    context_tokens: int = CONTEXT_TOKENS
    allowed_hosts: Sequence[str] = ()
    options: Mapping[str, Any] = {}


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """All that goes to a model: instructions, earlier turns, the prompt with its passages; and what is needed to judge the answer."""

    system: str
    earlier: tuple[Message, ...]
    user: str
    question: str
    searched: str
    found: tuple[Passage, ...]
    tenant: str
    wish: Wish
    started_s: float


class Said(NamedTuple):
    """What a model said: its words, the calls of tools it was never offered, tokens in and out, and the framework's metadata."""

    text: str
    tool_calls: int
    tokens: tuple[int, int]
    meta: Mapping[str, Any]


class Framework(NamedTuple):
    """A framework's part: `dense` gives cosines by passage id, `say` an answer, `pour` its pieces and last the whole."""

    name: str
    dense: Callable[[Library, str, dict[str, object] | None], Mapping[str, float]]
    say: Callable[[ChatModel, Turn], Said]
    pour: Callable[[ChatModel, Turn], Iterator[str | Said]]


def wish_of(asked: Mapping[str, Any]) -> Wish:
    """Sort what was asked for. Raises BadRequest for tools: what a passage says could then choose one."""
    if offered := TOOLS & asked.keys():
        raise BadRequest(f"{', '.join(sorted(offered))}: no tools are offered here, lest a passage chooses one; nothing was sent")
    ours = {name: value for name, value in asked.items() if name in Wish.__struct_fields__ and name != "options"}
    wish = Wish(**ours, options={name: value for name, value in asked.items() if name not in ours})
    if wish.k < 1 or wish.context_tokens < 1:
        raise BadRequest(f"k = {wish.k}, context_tokens = {wish.context_tokens}: want at least 1; nothing was searched")
    return wish


def find(parts: Framework, library: Library, question: str, wish: Wish) -> list[Passage]:
    """The best `k` passages, dense and lexical mixed; each carries its cosine, None where only the lexical side found it."""
    if not question.strip():
        raise BadRequest("the question is empty; nothing was searched")
    shelf = library.of(wish.tenant)
    lexical = shelf.lexical
    wanted = options_of(wish.where, lexical.fields)
    cosines = parts.dense(shelf, question, as_chroma(wanted))
    mixed = (wish.fusion or fusion_for(shelf.embed.space)).mix(question, cosines, lexical.search(question, wanted=wanted))
    return [replace(one, score=cosines.get(one.id)) for one in shelf.first(mixed, wish.k)]


def fit(passages: Sequence[Passage], budget_tokens: int) -> list[Passage]:
    """The best passages that fit, from the best on; of a first one that is too long alone, its first whole sentences.

    Raises BadRequest where not even one sentence fits.
    """
    kept_ones: list[Passage] = []
    room = budget_tokens
    for one in passages:
        size = estimate_text(one.text) + ELEMENT_TOKENS
        if size > room:
            break
        kept_ones.append(one)
        room -= size
    if kept_ones or not passages:
        return kept_ones
    first = passages[0]
    ends = [end for _, end in sentence_spans(first.text) if estimate_text(first.text[:end]) + ELEMENT_TOKENS <= budget_tokens]
    if not ends:
        raise BadRequest(f"context_tokens = {budget_tokens} holds not one sentence of the best passage; allow more; nothing was sent")
    return [replace(first, text=first.text[: ends[-1]], end=first.start + ends[-1])]


def prepare(parts: Framework, library: Library, question: str, chat: ChatModel, wish: Wish) -> Turn:
    """Search and write the prompt. Nothing has been asked of the chat model yet."""
    started = time.perf_counter()
    tenant = library.tenant if wish.tenant is None else wish.tenant
    said = turns.earlier(wish.history, turns.key(tenant, wish.conversation)) if wish.history is not None else ()
    searched = turns.standalone(question, said)
    window = getattr(chat.traits, "context_tokens", None)
    with scope(tenant=tenant or None):
        found = find(parts, library, searched, wish)
    shown = fit(found, min(wish.context_tokens, window // 2) if window else wish.context_tokens)
    system, user = render(searched, shown)
    return Turn(
        system=system,
        earlier=said,
        user=user,
        question=question,
        searched=searched,
        found=tuple(shown),
        tenant=tenant,
        wish=wish,
        started_s=started,
    )


def finish(parts: Framework, turn: Turn, said: Said, text: str, removed: int) -> Answer:
    """The Answer: `text` is what `said` leaves after its thinking and links are taken out; citations are checked against what was shown."""
    text = text.strip() or SILENT.get(language_of(turn.question), SILENT["en"])
    judged = verdict(text)
    refused = judged == "refused"
    text = known_marks(without_no_answer(text), len(turn.found)).strip() or SILENT.get(language_of(turn.question), SILENT["en"])
    if turn.wish.history is not None:
        turns.remember(turn.wish.history, turns.key(turn.tenant, turn.wish.conversation), turn.question, text)
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


def links(turn: Turn) -> Links:
    """The filter every answer leaves by."""
    return Links(turn.wish.allowed_hosts, language=language_of(turn.question))


def run(parts: Framework, library: Library, question: str, chat: ChatModel, asked: Mapping[str, Any]) -> Answer:
    """Search, ask, judge."""
    turn = prepare(parts, library, question, chat, wish_of(asked))
    with scope(tenant=turn.tenant or None):
        said = parts.say(chat, turn)
    taken = links(turn)
    return finish(parts, turn, said, taken.clean(without_thinking(said.text)), taken.removed)


__all__ = ["Asked", "Framework", "Said", "Search", "Turn", "Wish", "find", "finish", "fit", "links", "prepare", "run", "wish_of"]
