"""The support bot as a web page: one HTML file, answers streamed as server-sent events. python -m apps.support_web --port 8080

The page loads nothing from elsewhere, and its Content-Security-Policy lets run only the script that stands in the file, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from apps.answerer import exit_code
from apps.support import LONGEST, SupportBot, arguments, with_bot
from surefoot.errors import Misconfigured, SurefootError

try:
    from fastapi import FastAPI, Request
    from fastapi.responses import HTMLResponse, Response, StreamingResponse
    from pydantic import BaseModel, Field
    from starlette.middleware.trustedhost import TrustedHostMiddleware
except ImportError as missing:
    raise SystemExit(f"the web page needs {missing.name}: run  pip install fastapi uvicorn") from missing

PAGE = Path(__file__).with_name("support.html").read_text(encoding="utf-8")
HOSTS = ["127.0.0.1", "localhost"]  # another name that resolves to this machine is somebody else's page


class MessageBody(BaseModel):
    """What the page sends; the conversation's name is the one that the first answer gave."""

    text: str = Field(min_length=1, max_length=LONGEST)
    conversation: str = Field("", pattern=r"^([\w-]{22})?$")


def policy(page: str) -> str:
    """The Content-Security-Policy of a page: its own script and style, by hash, and requests to where it came from."""
    hashes = {}
    for tag in ("script", "style"):
        bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = (base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in bodies)
        hashes[tag] = " ".join(f"'sha256-{one}'" for one in digests)
    return (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )


def create_app(bot: SupportBot, hosts: list[str] = HOSTS) -> FastAPI:
    """The page at /, and POST /message."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    headers = {"content-security-policy": policy(PAGE), "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}

    @app.middleware("http")
    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await go_on(request)
        response.headers.update(headers)
        return response

    @app.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse(PAGE)

    @app.post("/message")
    async def message(body: MessageBody) -> StreamingResponse:
        conversation = body.conversation or secrets.token_urlsafe(16)  # nobody guesses another's
        return StreamingResponse(_events(bot, conversation, body.text), media_type="text/event-stream")

    return app


def _events(bot: SupportBot, conversation: str, text: str) -> Iterator[str]:
    yield _event("conversation", conversation)
    try:
        for piece in bot.stream(conversation, text):
            yield _event("text", piece) if isinstance(piece, str) else _event("reply", piece)
    except SurefootError as error:
        yield _event("error", str(error))


def _event(kind: str, data: Any) -> str:
    return f"event: {kind}\ndata: {msgspec.json.encode(data).decode()}\n\n"


def serve(bot: SupportBot, port: int) -> int:
    """Serve the page on this machine alone, until Ctrl-C. Raises Misconfigured for a port that cannot be had."""
    if not 0 < port < 65536:
        raise Misconfigured(f"--port {port}: a port is a number from 1 to 65535")
    import uvicorn

    print(f"http://127.0.0.1:{port}  (Ctrl-C ends)")
    try:
        uvicorn.run(create_app(bot), host="127.0.0.1", port=port, log_level="warning")
    except SystemExit as error:
        raise Misconfigured(f"--port {port}: the port cannot be had; give another one") from error
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page; the exit code."""
    parser = arguments("python -m apps.support_web", __doc__)
    parser.add_argument("--port", type=int, default=8080, help="on this machine alone (default 8080)")
    args = parser.parse_args(argv)
    return exit_code(lambda: with_bot(args, lambda bot: serve(bot, args.port)))


if __name__ == "__main__":
    sys.exit(main())
