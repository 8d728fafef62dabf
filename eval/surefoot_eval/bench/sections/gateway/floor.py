"""The floor: the same uvicorn, uvloop and httptools, over the same aiohttp; it passes bytes on and looks at none.

python -m surefoot_eval.bench.sections.gateway.floor UPSTREAM PORT
"""

from __future__ import annotations

import sys
from typing import Any


class BytePipe:
    """An ASGI application that copies a request to `upstream` and its answer back."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._session: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request, or the life of the server."""
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: Any, receive: Any, send: Any) -> None:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        chunks = []
        while True:
            message = await receive()
            chunks.append(message.get("body", b""))
            if not message.get("more_body"):
                break
        headers = {"content-type": "application/json", "authorization": "Bearer upstream"}
        async with self._session.post(self._upstream + scope["path"], data=b"".join(chunks), headers=headers) as answer:
            kind = answer.headers.get("content-type", "application/json").encode()
            start = {"type": "http.response.start", "status": answer.status, "headers": [(b"content-type", kind)]}
            if "content-length" in answer.headers:
                body = await answer.read()
                start["headers"].append((b"content-length", b"%d" % len(body)))
                await send(start)
                await send({"type": "http.response.body", "body": body})
                return
            await send(start)
            async for block in answer.content.iter_any():
                await send({"type": "http.response.body", "body": block, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


def main() -> None:
    """Serve until it is told to end."""
    import uvicorn

    upstream, port = sys.argv[1:]
    uvicorn.run(
        BytePipe(upstream), host="127.0.0.1", port=int(port), http="httptools", loop="uvloop", access_log=False, log_level="error",
        server_header=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
