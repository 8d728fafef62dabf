"""Hand-written HTTP servers: what they send is written out byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Served:
    """What a server saw: its address, a writer for each connection, the head and body of each request."""

    def __init__(self) -> None:
        self.url = ""
        self.writers: list[asyncio.StreamWriter] = []
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []

    async def requests(self, count: int) -> None:
        """Wait until `count` requests have come."""
        async with asyncio.timeout(30):
            while len(self.heads) < count:
                await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def serving(*answers: bytes | Callable[[bytes], bytes], hangs_up: bool = False, ssl: Any = None) -> AsyncIterator[Served]:
    """A server that gives `answers` in order, one a request; a function of the body answers all. With `hangs_up` it closes after each."""
    left, served = list(answers), Served()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):  # cancelled at the test's end
            while left:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
                served.bodies.append(await reader.readexactly(length))
                served.heads.append(head)
                answer = left[0]
                writer.write(answer(served.bodies[-1]) if callable(answer) else left.pop(0))
                await writer.drain()
                if hangs_up:
                    break
            if not hangs_up:
                await reader.read()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=ssl)
    served.url = f"{'https' if ssl else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield served
    finally:
        server.close()
        for writer in served.writers:
            writer.close()


def certificate(folder, name: str, *, signer=None, is_ca: bool = False, days: float = 90, host: str = "127.0.0.1"):
    """A certificate for `host`, valid for `days` more, and its key, each in a PEM file; without a signer it signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, issuer_key = signer or (subject, key)
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=9))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    cert_file.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )  # fmt: skip
    return str(cert_file), str(key_file), (subject, key)
