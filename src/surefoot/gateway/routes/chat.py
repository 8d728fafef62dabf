"""POST /v1/chat/completions."""

from __future__ import annotations

from surefoot.gateway.exchange import HttpExchange
from surefoot.gateway.records import StreamedAnswer, WholeAnswer
from surefoot.gateway.routes.asking import opened, rendered, whole
from surefoot.gateway.services import Services
from surefoot.gateway.wire.openai_chat import DONE, ChunkWriter, chat_asked, completion, options_for


async def completions(services: Services, exchange: HttpExchange) -> WholeAnswer | StreamedAnswer:
    """Ask, whole or as a stream."""
    asked = chat_asked(exchange.body)
    model = services.chat(exchange, asked.model)
    options = options_for(asked, model.targets)
    if not asked.stream:
        return WholeAnswer(completion(await whole(exchange, model, asked.messages, options), asked.model))
    source = await opened(exchange, model, asked.messages, options)
    writer = ChunkWriter(asked.model, include_usage=asked.include_usage)
    chunks = rendered(exchange, source, write=writer.write, last=lambda: DONE, broken=lambda error: b"data: %b\n\n" % error.openai())
    return StreamedAnswer(chunks)
