"""POST /v1/messages and /v1/messages/count_tokens: Anthropic's protocol, over targets of any vendor."""

from __future__ import annotations

import msgspec

from surefoot.gateway.exchange import HttpExchange
from surefoot.gateway.records import StreamedAnswer, WholeAnswer
from surefoot.gateway.routes.asking import opened, protocols, rendered, whole
from surefoot.gateway.services import Services
from surefoot.gateway.wire.anthropic_messages import MessageWriter, broken_event, message_body, messages_asked
from surefoot.gateway.wire.bodies import fields_of, text_field
from surefoot.models.requests import chat_request
from surefoot.usage.tokens import estimate_input


async def messages(services: Services, exchange: HttpExchange) -> WholeAnswer | StreamedAnswer:
    """Ask, whole or as a stream."""
    model = services.chat(exchange, text_field(fields_of(exchange.body), "model"))
    asked = messages_asked(exchange.body, is_own=protocols(model) == {"anthropic"})
    if not asked.stream:
        return WholeAnswer(message_body(await whole(exchange, model, asked.messages, asked.options), asked.model))
    source = await opened(exchange, model, asked.messages, asked.options)
    writer = MessageWriter(asked.model)
    return StreamedAnswer(
        rendered(
            exchange, source, write=writer.write, last=writer.last,
            broken=lambda error: broken_event(error, exchange.request_id),
        )
    )  # fmt: skip


async def count_tokens(services: Services, exchange: HttpExchange) -> WholeAnswer:
    """How long a request is, by the library's own count: an estimate, of which nothing is asked and nothing spent."""
    model = services.chat(exchange, text_field(fields_of(exchange.body), "model"))
    asked = messages_asked(exchange.body, is_own=protocols(model) == {"anthropic"}, counts_only=True)
    request = chat_request(asked.messages, asked.options, "anthropic")
    return WholeAnswer(msgspec.json.encode({"input_tokens": estimate_input(request, model=model.targets[0])}))
