"""Cited answers over HTTP as server-sent events: `passages`, `text` piece by piece, then `answer` with its citations.

uvicorn --factory surefoot_rag.fastapi_app:create_app; then POST /ask {"question": "..."}
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from surefoot.errors import BadRequest, SurefootError
from surefoot_rag.frameworks import framework, models
from surefoot_rag.retrieval.library import INDEX_DIR, Library


class AskBody(BaseModel):
    """The body of a question."""

    question: str = Field(max_length=4000)
    k: int = Field(5, ge=1, le=50)


def create_app(index: str = str(INDEX_DIR), *, name: str = "langchain", config: str | None = None) -> FastAPI:
    """The service over one index, with the models of `config` (left out: offline)."""
    chat, embed = models(config)

    library, app = Library(index, framework=name, embed=embed), FastAPI()

    @app.exception_handler(SurefootError)
    async def told(_: Request, error: SurefootError) -> JSONResponse:
        return JSONResponse({"error": type(error).__name__, "message": str(error)}, 400 if isinstance(error, BadRequest) else 503)

    @app.post("/ask")
    async def ask(body: AskBody) -> StreamingResponse:
        stream = await framework(name).astream(library, body.question, chat, k=body.k).open()
        return StreamingResponse(_events(stream), media_type="text/event-stream")

    return app


async def _events(stream: Any) -> AsyncIterator[str]:
    async with stream:
        yield _event("passages", [{"source": one.source, "page": one.page} for one in stream.passages])
        try:
            async for piece in stream:
                yield _event("text", piece)
            yield _event("answer", msgspec.to_builtins(stream.answer))
        except SurefootError as error:
            yield _event("error", str(error))


def _event(kind: str, data: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
