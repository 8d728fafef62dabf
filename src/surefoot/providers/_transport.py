"""Our own connections under a vendor SDK's HTTP client: a transport for httpx or httpx2, whichever the SDK stands on.

The SDK's default transport costs several times as much with many calls in flight, its aiohttp one twice. Redirects, cookies and
decompression stay with the client above; proxies are not for this transport (see `pooled_client`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from surefoot.providers._hosts import Host
from surefoot.providers._http1 import ProtocolError, Response


def _head(request: Any) -> bytes:
    """Everything before the body."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    for name, value in request.headers.raw:
        if b"\n" in value or b"\r" in value or b"\n" in name or b"\r" in name:
            raise ProtocolError("a header with a line break in it")
        lines.append(name + b": " + value)
    return b"\r\n".join([*lines, b"", b""])


@lru_cache(maxsize=2)
def transport_class(http: Any) -> Any:
    """The transport for the module httpx or httpx2; made here, for its bases are that module's."""

    class Stream(http.AsyncByteStream):  # type: ignore[misc]
        """The body as it comes."""

        def __init__(self, response: Response) -> None:
            self._response = response

        async def __aiter__(self) -> AsyncIterator[bytes]:
            while block := await self._response.block():
                yield block

        async def aclose(self) -> None:
            """Drop the connection, unless the body was read to its end."""
            self._response.close()

    class Transport(http.AsyncBaseTransport):  # type: ignore[misc]
        """Sends through `_hosts`; lives on one loop."""

        def __init__(self, *, connect_s: float | None) -> None:
            self._connect_s = connect_s
            self._hosts: dict[tuple[str, str, int | None], Host] = {}

        async def handle_async_request(self, request: Any) -> Any:
            """One exchange. Raises OSError, TimeoutError or ProtocolError."""
            url = request.url
            where = (url.scheme, url.host, url.port)
            host = self._hosts.get(where)
            if host is None:
                if url.scheme not in {"http", "https"} or not url.host:
                    raise http.UnsupportedProtocol(f"an address that begins with {url.scheme!r}: it must be http:// or https://")
                address = urlsplit(f"{url.scheme}://{url.netloc.decode('ascii')}")
                host = self._hosts[where] = Host(address, connect_s=self._connect_s)
            head = _head(request)
            response = await host.send(head + await request.aread(), inflate=False)
            headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()]
            return http.Response(response.status, headers=headers, stream=Stream(response), extensions={"http_version": b"HTTP/1.1"})

        async def aclose(self) -> None:
            """Hang up everywhere."""
            for host in self._hosts.values():
                host.close()

    return Transport
