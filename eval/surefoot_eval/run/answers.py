"""The systems under examination, opened: a pipeline with its index and its models, asked one question, or one turn, at a time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from surefoot import ChatModel, EmbedModel, Message, Policy, load, scope
from surefoot.errors import Misconfigured, SurefootError
from surefoot.history import History
from surefoot_eval.data.dataset import Dataset, LabelledQuestion
from surefoot_eval.data.formats import TextSpan
from surefoot_eval.data.records import Cost, Record, Shown
from surefoot_eval.data.suite import System
from surefoot_eval.run.own_systems import OwnSystem, function, mark_of_own
from surefoot_eval.run.recording import TAG, Recording, Taped
from surefoot_rag.answers.conversation import standalone
from surefoot_rag.answers.prompting import citations, is_refusal, prompt, render, without_marks
from surefoot_rag.answers.refusals import without_no_answer
from surefoot_rag.answers.reranking import ChatReranker, CrossEncoder
from surefoot_rag.answers.thinking import without_thinking
from surefoot_rag.documents import corpus
from surefoot_rag.records import Answer, Passage
from surefoot_rag.retrieval.fusion import Fusion, fusion_for
from surefoot_rag.retrieval.lexical import Lexical
from surefoot_rag.retrieval.library import Library

__all__ = ["OpenedSystem", "ask_turn", "mark_of", "models", "open_system"]

MODULES = {"langchain": "surefoot_rag.langchain_chroma", "llamaindex": "surefoot_rag.llama_index_chroma"}
MOST_PASSAGES = 1000  # looked through for `k` documents
CONVERSATION = "evaluation"
SAID = 300  # characters of an error's message that a record keeps


class SystemModels(NamedTuple):
    """A system's models; `embed` is None where nothing is embedded, `chat` where nothing is answered."""

    chat: ChatModel | None
    embed: EmbedModel | None


def models(system: System, *, near: Path, answers: bool = True) -> SystemModels:
    """Build them, which checks names, keys, extras and prompts and asks nobody. Raises Misconfigured."""
    if system.is_own:
        return SystemModels(None, None)
    if system.prompt:
        prompt(near / system.prompt)
    policy = msgspec.convert(system.policy, Policy)
    wants_vectors = system.framework != "lexical"
    if not system.models:
        embed = _embedder(system.embed) if wants_vectors else None
        return SystemModels(ChatModel(*system.chat, policy=policy) if answers else None, embed)
    loaded = load(near / system.models)
    if len(system.chat) != 1 or (wants_vectors and len(system.embed) != 1):
        raise Misconfigured(f"{system.name}: with models = {system.models!r}, chat and embed name one entry of it each")
    return SystemModels(loaded.chat(system.chat[0]) if answers else None, loaded.embed(system.embed[0]) if wants_vectors else None)


@cache
def _embedder(targets: tuple[str, ...]) -> EmbedModel:
    """One for all systems that name the same: each text is then embedded once a run."""
    return EmbedModel(*targets, policy=Policy(deadline_s=None, first_token_s=None), cache="memory")


def mark_of(found: SystemModels, system: System, *, near: Path) -> str:
    """Digest of what answers and embeds, and how; no secret is in it."""
    if system.is_own:
        return mark_of_own(system, near=near)
    said = [found.chat.describe() if found.chat else "", found.embed.space if found.embed else "", str(system.temperature)]
    said += [
        str(system.max_tokens),
        str(system.k),
        system.framework,
        *_how(system, near),
        ",".join(found.chat.targets if found.chat else ()),
    ]
    return hashlib.sha256("\0".join(said).encode()).hexdigest()


def _how(system: System, near: Path) -> list[str]:
    """What else was chosen; nothing where all is as it comes."""
    chosen = [f"{name} {value}" for name in ("chunk_chars", "fusion", "dense_share", "reranker") if (value := getattr(system, name))]
    return [*chosen, *([(near / system.prompt).read_text("utf-8")] if system.prompt and (near / system.prompt).is_file() else [])]


class OpenedSystem:
    """A system ready to be asked; `ask` may be called from several threads."""

    def __init__(self, system: System, found: SystemModels, tape: Recording, *, near: Path = Path()) -> None:
        self.system = system
        self.name = system.name
        self.taped = Taped(found.chat, tape, mark=mark_of(found, system, near=near)) if found.chat else None
        options: dict[str, Any] = {"temperature": system.temperature, "max_tokens": system.max_tokens}
        self.options: dict[str, Any] = {name: value for name, value in options.items() if value is not None}

    def retrieve(self, question: str, k: int = 0) -> list[Passage]:
        """The best `k` passages; 0: as many as the system finds."""
        raise NotImplementedError

    def documents(self, question: str) -> list[Passage]:
        """The best passages until `k` documents are among them: a document ranks by its best passage."""
        k = self.system.k
        while True:
            found = self.retrieve(question, k)
            if len({one.document_id for one in found}) >= self.system.k or len(found) < k or k >= MOST_PASSAGES:
                return found
            k *= 2

    def answer(self, question: str, earlier: Sequence[Message] = ()) -> Answer:
        """The pipeline's answer; `earlier` are the conversation's turns before it."""
        raise NotImplementedError

    def ask(self, asked: LabelledQuestion, seed: int, *, tries: int = 1, earlier: Sequence[Message] = ()) -> Record:
        """Ask one question; a failure is a record too, never an exception (but for what is yours to mend, and bugs)."""
        tag = f"{self.name}/{asked.query.id}#{seed}"
        started = time.perf_counter()
        said: dict[str, Any] = {}
        try:
            with scope(tags={TAG: tag}):
                if self.taped:
                    said = _of_answer(self.answer(asked.query.text, earlier))
                else:
                    find = self.retrieve if asked.query.gold else self.documents
                    said = _of_passages(find(standalone(asked.query.text, earlier)))
        except Misconfigured:
            raise
        except SurefootError as error:
            said = {"error": f"{type(error).__name__}: {error}"[:SAID]}
        seconds = time.perf_counter() - started
        return Record(
            system=self.name,
            question=asked.query.id,
            seed=seed,
            pipeline_s=seconds,
            tries=tries,
            cost=self.taped.take(tag) if self.taped else Cost(),
            **said,
        )


class _Lexical(OpenedSystem):
    """BM25 and a chat model, nothing else: what vectors and a framework must beat."""

    def __init__(self, system: System, found: SystemModels, tape: Recording, material: Dataset) -> None:
        super().__init__(system, found, tape)
        self.passages = {one.id: one for document in material.documents for one in corpus.passages(document)}
        self.index = Lexical(list(self.passages.values()))

    def retrieve(self, question: str, k: int = 0) -> list[Passage]:
        return [self.passages[key] for key in self.index.search(question, k=k or self.system.k)]

    def answer(self, question: str, earlier: Sequence[Message] = ()) -> Answer:
        assert self.taped is not None
        started = time.perf_counter()
        searched = standalone(question, earlier)
        found = self.retrieve(searched)
        system, user = render(searched, found)
        reply = self.taped.model.invoke([Message.system(system), *earlier, Message.user(user)], **self.options)
        refused = is_refusal(reply.text)
        text = without_no_answer(without_thinking(reply.text))
        return Answer(
            text=text,
            citations=() if refused else citations(text, found),
            passages=tuple(found),
            refused=refused,
            model=reply.target,
            input_tokens=reply.usage.input_tokens,
            output_tokens=reply.usage.output_tokens,
            seconds=time.perf_counter() - started,
            cost_usd=reply.cost_usd,
            attempts=reply.attempts,
            framework="lexical",
        )


class _Framework(OpenedSystem):
    """A reference pipeline by its public functions: index(), retrieve(), answer()."""

    def __init__(
        self, system: System, found: SystemModels, tape: Recording, material: Dataset, *, place: Path, progress: bool, near: Path
    ) -> None:
        super().__init__(system, found, tape, near=near)
        assert found.embed is not None
        self.pipeline = import_module(MODULES[system.framework])
        self.library = Library(place, framework=system.framework, embed=found.embed, create=True)
        sizes = {"size_chars": system.chunk_chars, "overlap_chars": system.chunk_chars // 6} if system.chunk_chars else {}
        self.pipeline.index(self.library, list(material.documents), progress=progress, **sizes)
        self.search = _search(system, found, near)
        if system.prompt:
            self.options["prompt"] = near / system.prompt
        _ = self.library.lexical  # built once, before threads ask for it

    def retrieve(self, question: str, k: int = 0) -> list[Passage]:
        search = self.search | {"k": k or self.system.k}
        found: Sequence[Passage] = self.pipeline.retrieve(self.library, question, **search)
        return list(found)

    def answer(self, question: str, earlier: Sequence[Message] = ()) -> Answer:
        assert self.taped is not None
        history: dict[str, Any] = {}
        if earlier:
            kept = History()
            kept.add(CONVERSATION, *earlier)
            history = {"history": kept, "conversation": CONVERSATION}
        answer: Answer = self.pipeline.answer(self.library, question, self.taped.model, **self.search, **self.options, **history)
        return answer


def _search(system: System, found: SystemModels, near: Path) -> dict[str, Any]:
    """How a pipeline is asked to search."""
    search: dict[str, Any] = {"k": system.k}
    if system.fusion or system.dense_share is not None:
        assert found.embed is not None
        tuned = fusion_for(found.embed.space) if system.dense_share is None else Fusion(other=system.dense_share)
        search["fusion"] = msgspec.structs.replace(tuned, method=system.fusion or tuned.method)
    if system.reranker == "chat":
        assert found.chat is not None
        search["rerank"] = ChatReranker(found.chat)
    elif system.reranker.startswith("cross-encoder:"):
        search["rerank"] = CrossEncoder(system.reranker.partition(":")[2])
    elif system.reranker:
        search["rerank"] = function(system.reranker, near=near)
    return search


def open_system(
    system: System, found: SystemModels, tape: Recording, material: Dataset, *, place: Path, progress: bool = False, near: Path = Path()
) -> OpenedSystem | OwnSystem:
    """Index the material and stand ready. `place` is a folder for indexes; equal corpora and embedding spaces share one."""
    if system.is_own:
        return OwnSystem(system, material, near=near)
    if system.framework == "lexical":
        return _Lexical(system, found, tape, material)
    assert found.embed is not None
    cut = system.chunk_chars or ""
    mark = hashlib.sha256(f"{material.corpus_mark}\0{found.embed.space}\0{system.framework}\0{cut}".encode()).hexdigest()[:16]
    return _Framework(system, found, tape, material, place=place / mark, progress=progress, near=near)


def ask_turn(
    opened: OpenedSystem | OwnSystem, asked: LabelledQuestion, seed: int, *, tries: int, material: Dataset, records: Sequence[Record]
) -> Record:
    """Ask a question, `records` being what is known so far. Where an earlier turn failed it is not asked: that is its error."""
    if not asked.earlier:
        return opened.ask(asked, seed, tries=tries)
    said: list[Message] = []
    if material.history == "accepted":
        for key in asked.earlier:
            said += [Message.user(material.asked[key].query.text), Message.assistant(material.accepted(key))]
        return opened.ask(asked, seed, tries=tries, earlier=said)
    last = {record.question: record for record in records if record.system == opened.name and record.seed == seed}
    for key in asked.earlier:
        record = last.get(key)
        if record is None or record.error:
            error = f"not asked: turn {key} before it failed"
            return Record(system=opened.name, question=asked.query.id, seed=seed, tries=tries, error=error)
        said += [Message.user(material.asked[key].query.text), Message.assistant(without_marks(record.answer))]
    return opened.ask(asked, seed, tries=tries, earlier=said)


def _of_answer(answer: Answer) -> dict[str, Any]:
    cited = tuple(dict.fromkeys(TextSpan(one.document_id, one.start, one.end) for one in answer.citations))
    return {**_of_passages(answer.passages), "answer": answer.text, "refused": answer.refused, "citations": cited, "model": answer.model}


def _of_passages(found: Sequence[Passage]) -> dict[str, Any]:
    return {"passages": tuple(Shown(id=one.id, document=one.document_id, start=one.start, end=one.end, score=one.score) for one in found)}
