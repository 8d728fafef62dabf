"""POST /v1/rag/query: a cited answer from documents, whole or as a stream. Whose documents they are the key says, never the body."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from importlib import import_module
from typing import Any, Protocol

import msgspec

from surefoot.errors import Misconfigured
from surefoot.gateway.errors import HttpError, http_error
from surefoot.gateway.exchange import HttpExchange
from surefoot.gateway.records import StreamedAnswer, WholeAnswer
from surefoot.gateway.routes.asking import call_options
from surefoot.gateway.services import Services
from surefoot.gateway.settings import RagSettings
from surefoot.gateway.wire.bodies import fields_of, flag, rest_of, text_field, value_of
from surefoot.models.requests import scope
from surefoot.types import Usage

INDEX = "surefoot_rag.serving:ServedIndex"  # a package above this one, with an extra of its own
MOST_QUESTION = 8_000  # characters
MOST_K = 50
OPTIONS = ("k", "where", "temperature", "max_tokens", "refuse_unsupported")


class RagIndex(Protocol):
    """An index of documents, each tenant's apart."""

    async def answer(self, question: str, tenant: str, chat: Any, embed: Any, asked: Mapping[str, Any]) -> Any:
        """The answer, a record."""

    def stream(self, question: str, tenant: str, chat: Any, embed: Any, asked: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """The passages, pieces of text, the answer."""


def opened(settings: Mapping[str, RagSettings], services: Services) -> dict[str, RagIndex]:
    """The indexes of the configuration. Raises Misconfigured for one whose models are not there, or where the package is missing."""
    found: dict[str, RagIndex] = {}
    for name, said in settings.items():
        for kind, model in (("chat", said.chat), ("embed", said.embed)):
            if model not in services.models.names(kind):
                known = ", ".join(services.models.names(kind)) or "none"
                raise Misconfigured(f"[serve.rag.{name}]: there is no {kind} model {model!r}; there are: {known}")
        module, _, attribute = INDEX.partition(":")
        try:
            made = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise Misconfigured(f'[serve.rag] needs {error.name}, not installed here: run  pip install "surefoot[rag]"') from error
        found[name] = made(said.index, name=said.framework, embed=services.models.embed(said.embed))
    return found


async def query(services: Services, exchange: HttpExchange) -> WholeAnswer | StreamedAnswer:
    """Answer a question."""
    fields = fields_of(exchange.body)
    question = text_field(fields, "question")
    if len(question) > MOST_QUESTION or not question.strip():
        raise HttpError(400, "invalid_request", f"question is text of at most {MOST_QUESTION} characters, and not empty", param="question")
    name, said = _collection(services, value_of(fields, "collection"))
    stream = flag(fields, "stream")
    asked = {one: value for one in OPTIONS if (value := value_of(fields, one)) is not None}
    _check(asked)
    if rest := rest_of(fields):
        known = ", ".join(("question", "collection", "stream", *OPTIONS))
        raise HttpError(
            400, "invalid_request", f"unknown fields in {rest[:200]}; known are {known}. Whose documents are asked, the key says"
        )
    tenant = "" if said.tenant == "shared" else exchange.grant.tenant
    chat, embed = services.chat(exchange, said.chat), services.embed(exchange, said.embed)
    exchange.model = said.chat
    index = services.indexes[name]
    if stream:
        return StreamedAnswer(_events(exchange, index.stream(question, tenant, chat, embed, asked)))
    with scope(**call_options(exchange, stream=False)):
        try:
            answer = await index.answer(question, tenant, chat, embed, asked)
        except Misconfigured as error:
            raise _nothing() from error
    _note(exchange, answer)
    return WholeAnswer(msgspec.json.encode(answer))


def _collection(services: Services, name: Any) -> tuple[str, RagSettings]:
    known = services.settings.rag
    if name is None and len(known) == 1:
        name = next(iter(known))
    if not isinstance(name, str) or name not in known:
        raise HttpError(404, "not_found", f"collection is one of {', '.join(known)}", param="collection")
    return name, known[name]


def _check(asked: Mapping[str, Any]) -> None:
    """Raise HttpError (400) for options that cannot be."""
    k, where = asked.get("k", 1), asked.get("where", {})
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MOST_K:
        raise HttpError(400, "invalid_request", f"k is a whole number from 1 to {MOST_K}", param="k")
    if not isinstance(where, dict):
        raise HttpError(400, "invalid_request", 'where is an object such as {"language": "tr"}', param="where")
    if not isinstance(asked.get("refuse_unsupported", True), bool):
        raise HttpError(400, "invalid_request", "refuse_unsupported is true or false", param="refuse_unsupported")


async def _events(exchange: HttpExchange, pieces: AsyncGenerator[Any, None]) -> AsyncGenerator[bytes, None]:
    """`passages`, `text` piece by piece, `answer`; `error` in its place where the answer broke off."""
    has_begun = False
    try:
        while True:
            with scope(**call_options(exchange, stream=True)):
                piece = await anext(pieces, None)
            if piece is None:
                return
            kind = "text" if isinstance(piece, str) else "passages" if isinstance(piece, tuple) else "answer"
            if kind == "answer":
                _note(exchange, piece)
            has_begun = True
            yield _event(kind, piece)
    except Exception as error:
        if not has_begun:  # the status is not sent yet
            raise (_nothing() if isinstance(error, Misconfigured) else error) from error
        found = http_error(error)
        exchange.error = found.code
        yield b"event: error\ndata: %b\n\n" % found.openai()
    finally:
        await pieces.aclose()


def _event(kind: str, data: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(data))


def _note(exchange: HttpExchange, answer: Any) -> None:
    """What the answer says of itself, for the log, the metrics and the key's limits."""
    usage = Usage(input_tokens=answer.input_tokens, output_tokens=answer.output_tokens)
    exchange.note(target=answer.model, trail=(), cost_usd=answer.cost_usd, usage=usage, cached=False)
    exchange.attempts = answer.attempts


def _nothing() -> HttpError:
    """Nothing was indexed for the key's tenant: where it would stand is nobody's business."""
    return HttpError(404, "not_found", "no documents were indexed for this key or its team")
