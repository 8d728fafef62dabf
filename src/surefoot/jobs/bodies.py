"""Errors as they are kept: JSON of the class's name, the message, the plain fields. Reading one builds an error of ours, nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from surefoot import errors
from surefoot._documented import Documented
from surefoot.errors import Exhausted, SurefootError

FIELDS = ("status", "code", "retry_after_s", "request_id", "target", "partial")
FOREIGN_CHARS = 500  # of what an error that is none of ours says


class KeptError(Struct, Documented, frozen=True, kw_only=True, omit_defaults=True):
    """An error as JSON."""

    error: str
    """The class's name."""
    message: str
    """What it says."""
    fields: dict[str, Any] = {}
    """Its plain fields that say something: status, code, ..."""
    causes: tuple[KeptError, ...] = ()
    """Of an Exhausted: each attempt's error, in order."""


_decoder = msgspec.json.Decoder(KeptError)


def packed_error(error: BaseException) -> bytes:
    """`error` as JSON."""
    return msgspec.json.encode(_kept(error))


def _kept(error: BaseException) -> KeptError:
    causes: tuple[BaseException, ...] = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    fields = {name: value for name in FIELDS if isinstance(value := getattr(error, name, None), str | int | float) and value != ""}
    message = str(error.message if isinstance(error, BaseExceptionGroup) else error)
    if not isinstance(error, SurefootError):
        message = message[:FOREIGN_CHARS]
    return KeptError(error=type(error).__name__, message=message, fields=fields, causes=tuple(map(_kept, causes)))


def unpacked_error(body: bytes) -> SurefootError:
    """The error that was kept as `body`; a plain SurefootError where its class is not ours."""
    try:
        return _rebuilt(_decoder.decode(body))
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        return SurefootError(f"the kept error cannot be read: {error}")


def _rebuilt(kept: KeptError) -> SurefootError:
    kind = getattr(errors, kept.error, None) if kept.error in errors.__all__ else None
    if kind is None:
        return SurefootError(f"{kept.error}: {kept.message}")
    if issubclass(kind, Exhausted):
        causes = [_rebuilt(one) for one in kept.causes] or [SurefootError(kept.message)]
        return Exhausted(kept.message, causes)
    if issubclass(kind, BaseExceptionGroup):
        return SurefootError(f"{kept.error}: {kept.message}")
    made: SurefootError = kind(kept.message)
    for name, value in kept.fields.items():
        if name in FIELDS and hasattr(made, name):
            setattr(made, name, value)
    return made
