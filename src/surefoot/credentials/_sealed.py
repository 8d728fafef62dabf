"""Keys in encrypted files: `age:PATH#REFERENCE` and `fernet:PATH#REFERENCE`; REFERENCE (env:NAME, file:PATH) gives what opens them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from surefoot.errors import Misconfigured
from surefoot.secret import Secret

DEFAULT_OPENERS = {"age": "env:SUREFOOT_AGE_IDENTITY", "fernet": "env:SUREFOOT_FERNET_KEY"}


class FromSealedFile:
    """A key in a file that is opened with another; both are read again after the provider refused the key."""

    def __init__(self, scheme: str, reference: str, opener: Callable[[str], Secret]) -> None:
        path, _, by = reference.partition("#")
        self._scheme = scheme
        self._path = Path(path)
        self._by = by or DEFAULT_OPENERS[scheme]
        self._opener = opener
        self._secret = self._open()

    def _open(self) -> Secret:
        where = f"{self._scheme}:{self._path}"
        try:
            sealed = self._path.read_bytes()
        except OSError as error:
            raise Misconfigured(f"no key: cannot read the key file {self._path}: {error.strerror}") from error
        open_with = _age if self._scheme == "age" else _fernet
        value = open_with(sealed, self._opener(self._by))
        if value is None:
            raise Misconfigured(f"{where}: what {self._by.partition(':')[0]}: gives does not open this file")
        if not value:
            raise Misconfigured(f"no key: {where} is empty")
        return value

    async def get(self) -> Secret | None:
        """The key as last read."""
        return self._secret

    async def renew(self, bad: Secret) -> Secret | None:
        """The file's content, if it changed meanwhile."""
        self._secret = await asyncio.to_thread(self._open)
        return None if self._secret == bad else self._secret


def _age(sealed: bytes, identity: Secret) -> Secret | None:
    """Opened with an age identity (as age-keygen writes it, comments and all) or an OpenSSH private key; None if it does not fit."""
    try:
        import pyrage
    except ImportError as error:
        raise Misconfigured('age: needs the package pyrage, not installed here: run  pip install "surefoot[age]"') from error
    try:
        if "OPENSSH PRIVATE KEY" in identity.reveal():
            found = [pyrage.ssh.Identity.from_buffer(identity.reveal().encode())]
        else:
            lines = [line.strip() for line in identity.reveal().splitlines()]
            found = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
        return Secret(pyrage.decrypt(sealed, found).decode().strip()) if found else None
    except (pyrage.DecryptError, pyrage.IdentityError, UnicodeDecodeError):
        return None


def _fernet(sealed: bytes, keys: Secret) -> Secret | None:
    """Opened with a Fernet key; of several, one a line, any may fit (a turned key's old files)."""
    try:
        from cryptography.fernet import Fernet, InvalidToken, MultiFernet
    except ImportError as error:
        raise Misconfigured('fernet: needs the package cryptography, not installed here: run  pip install "surefoot[fernet]"') from error
    try:
        found = MultiFernet([Fernet(line.strip()) for line in keys.reveal().splitlines() if line.strip()])
        return Secret(found.decrypt(sealed.strip()).decode().strip())
    except (InvalidToken, ValueError):
        return None
