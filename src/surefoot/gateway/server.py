"""Runs the gateway on uvicorn: raw ASGI, uvloop and httptools, one loop, which is the background loop of the process.

Imported only to serve: it needs `surefoot[serve]`.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TextIO

import msgspec
import uvicorn

from surefoot.errors import Misconfigured
from surefoot.gateway.app import Gateway
from surefoot.gateway.records import RequestEnded


class GatewayServer(uvicorn.Server):
    """uvicorn for a gateway: not ready from the moment it is told to end, with those in flight still to be answered."""

    def __init__(self, gateway: Gateway, *, log_level: str = "warning") -> None:
        """Raises Misconfigured for a certificate that is not there."""
        settings = gateway.services.settings
        for file in (settings.tls_certificate, settings.tls_key):
            if file and not Path(file).expanduser().is_file():
                raise Misconfigured(f"[serve]: there is no file {file}")
        self._gateway = gateway
        super().__init__(
            uvicorn.Config(
                gateway,
                host=settings.host,
                port=settings.port,
                http="httptools",
                loop="auto",  # uvloop, where it has a build
                ws="none",
                lifespan="on",
                access_log=False,
                log_level=log_level,
                proxy_headers=False,  # who asks is told by the key, never by a header that anybody can write
                server_header=False,
                timeout_graceful_shutdown=int(settings.drain_s) + 1,
                ssl_certfile=str(Path(settings.tls_certificate).expanduser()) if settings.tls_certificate else None,
                ssl_keyfile=str(Path(settings.tls_key).expanduser()) if settings.tls_key else None,
            )
        )

    @property
    def port(self) -> int:
        """The port it listens on, once it has started."""
        return int(self.servers[0].sockets[0].getsockname()[1])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: readiness is off at once."""
        self._gateway.services.is_draining = True
        super().handle_exit(sig, frame)


def serve(gateway: Gateway) -> None:
    """Serve until SIGTERM or SIGINT; those in flight then have `drain_s` to end. Raises Misconfigured where it does not start."""
    server = GatewayServer(gateway)
    if gateway.services.settings.log:
        gateway.services.observers.append(JsonLog(sys.stderr))
    server.run()
    if not server.started:
        raise Misconfigured("the gateway did not start; the lines above say why")


class JsonLog:
    """A line of JSON for each request: `JsonLog(sys.stderr)`. It holds no key, prompt or answer."""

    def __init__(self, to: TextIO) -> None:
        self._to = to

    def __call__(self, ended: RequestEnded) -> None:
        """Write it."""
        said: dict[str, object] = {"at": datetime.now(UTC).isoformat(timespec="milliseconds")}
        said |= {name: value for name in ended.__struct_fields__ if (value := getattr(ended, name)) or name == "status"}
        self._to.write(msgspec.json.encode(said).decode() + "\n")
        self._to.flush()
