"""POST /v1/responses: OpenAI's Responses API, passed through to targets that speak it."""

from __future__ import annotations

import msgspec

from surefoot.gateway.errors import HttpError
from surefoot.gateway.exchange import HttpExchange
from surefoot.gateway.records import StreamedAnswer, WholeAnswer
from surefoot.gateway.routes.asking import opened, rendered, whole
from surefoot.gateway.services import Services
from surefoot.gateway.wire.anthropic_messages import named_event
from surefoot.gateway.wire.openai_responses import response_body, response_events, responses_asked
from surefoot.settings import Target


async def responses(services: Services, exchange: HttpExchange) -> WholeAnswer | StreamedAnswer:
    """Ask, whole or as a stream. Raises HttpError (400) for a model whose targets do not speak this API."""
    asked = responses_asked(exchange.body)
    model = services.chat(exchange, asked.model)
    others = [one.name for one in services.targets(asked.model) if not _speaks(one)]
    if others:
        why = f"{', '.join(others)} of the model {asked.model!r} does not speak the Responses API; use /v1/chat/completions, or, for a "
        raise HttpError(400, "unsupported", f'{why}server that does, say options = {{api = "responses"}} of the target', param="model")
    if not asked.stream:
        return WholeAnswer(response_body(await whole(exchange, model, asked.messages, asked.options)))
    source = await opened(exchange, model, asked.messages, asked.options)
    return StreamedAnswer(
        rendered(exchange, source, write=response_events, last=bytes, broken=lambda error: named_event(_failed(error), "error"))
    )


def _speaks(target: Target) -> bool:
    """Whether a target is asked in the Responses API: it says so, or is OpenAI itself and says nothing."""
    said = dict(target.options).get("api")
    return said == "responses" or (said is None and target.provider == "openai" and not target.base_url)


def _failed(error: HttpError) -> bytes:
    """The API's error event; OpenAI's SDK raises for one that has an `error` in it."""
    said = {"code": error.code, "message": str(error), "param": error.param}
    return msgspec.json.encode({"type": "error", **said, "error": {"type": error.kind, **said}})
