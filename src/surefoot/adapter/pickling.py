"""Pickles of adapters: whole for the worker processes of this one, and useless to everybody else.

Frameworks send their components to worker processes as pickles (LlamaIndex's `num_workers`). What is secret in one is sealed with the key
that `multiprocessing` gives to all processes of one family, over its own channels: it is random, and stands in memory alone. So a
pickle that is written to a disk or a queue holds no key, and one that is opened by another program says so.
"""

from __future__ import annotations

import hashlib
import hmac
import multiprocessing
import os
import pickle  # noqa: TID251 - of our own making only: nothing is loaded before its seal is found whole
from collections.abc import Callable
from typing import Any

from pydantic import SecretStr

from surefoot.errors import Misconfigured
from surefoot.secret import Secret
from surefoot.settings import Target

NONCE_BYTES, SEAL_BYTES = 16, 32


class Sealed:
    """A value that is pickled sealed, and comes out of the pickle as itself: a key, headers, targets."""

    def __init__(self, value: Any) -> None:
        self._value: Callable[[], Any] = lambda: value

    def __reduce__(self) -> tuple[Any, ...]:
        """Sealed anew each time."""
        return opened, (_sealed(pickle.dumps(_plain(self._value()))),)


def opened(data: bytes) -> Any:
    """What was sealed by this process, or one of its family. Raises Misconfigured in any other."""
    nonce, seal, text = data[:NONCE_BYTES], data[NONCE_BYTES : NONCE_BYTES + SEAL_BYTES], data[NONCE_BYTES + SEAL_BYTES :]
    if not hmac.compare_digest(seal, _seal(nonce, text)):
        raise Misconfigured(
            "this copy was pickled by another program, and its key is sealed to that one's processes; for pickles that travel further "
            "pass a reference such as api_key='env:OPENAI_API_KEY'"
        )
    return _again(pickle.loads(_crossed(nonce, text)))  # noqa: S301 - sealed by us


def _sealed(text: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    crossed = _crossed(nonce, text)
    return nonce + _seal(nonce, crossed) + crossed


def _family() -> bytes:
    return bytes(multiprocessing.current_process().authkey)


def _crossed(nonce: bytes, text: bytes) -> bytes:
    """`text` under a key stream that is used once (SHAKE-256 of key and nonce); again, and it is what it was."""
    stream = hashlib.shake_256(b"surefoot" + _family() + nonce).digest(len(text))
    return bytes(one ^ other for one, other in zip(text, stream, strict=True))


def _seal(nonce: bytes, text: bytes) -> bytes:
    return hmac.digest(_family(), nonce + text, "sha256")


def _plain(value: Any) -> Any:
    """Secrets and the targets that hold them as plain values, to be sealed."""
    if isinstance(value, SecretStr):
        return "SecretStr", value.get_secret_value()
    if isinstance(value, Secret):
        return "Secret", value.reveal()
    if isinstance(value, Target):
        return "Target", {name: _plain(getattr(value, name)) for name in Target.__struct_fields__}
    if isinstance(value, tuple):
        return "tuple", [_plain(one) for one in value]
    return "", value


def _again(plain: Any) -> Any:
    kind, value = plain
    if kind == "tuple":
        return tuple(map(_again, value))
    if kind == "Target":
        return Target(**{name: _again(one) for name, one in value.items()})
    if kind == "SecretStr":
        return SecretStr(value)
    return Secret(value) if kind == "Secret" else value
