"""Text in the one form that every encoder takes: exactly `str`, and Unicode that can be sent.

Frameworks and data libraries pass subclasses of `str`: LangChain's `message.text` is a TextAccessor, names of models are members of a
StrEnum, a column of a table holds `numpy.str_`. JSON and MessagePack encoders refuse most of them. So the records in `surefoot.types`
convert their text when they are built, and nothing behind them meets a subclass.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from numbers import Integral, Real
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
from msgspec.structs import force_setattr

from surefoot._documented import Documented

SHORT_CHARS = 16 * 1024  # a tool's schema; what is longer (a document in an `extra`) differs from call to call anyway

P = ParamSpec("P")
T = TypeVar("T")


def cached_if_short(maxsize: int) -> Callable[[Callable[Concatenate[str, P], T]], Callable[Concatenate[str, P], T]]:
    """`lru_cache(maxsize)` for functions of a text, of texts up to SHORT_CHARS: what is kept is bounded in bytes, not in entries alone."""

    def wrap(fn: Callable[Concatenate[str, P], T]) -> Callable[Concatenate[str, P], T]:
        kept = lru_cache(maxsize)(fn)

        @wraps(fn)
        def call(text: str, /, *args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return kept(text, *args, **kwargs) if len(text) <= SHORT_CHARS else fn(text, *args, **kwargs)  # type: ignore[arg-type]
            except BaseException:
                del text  # a crash report prints this frame, and the text may hold keys
                raise

        return call

    return wrap


def exact(text: str) -> str:
    """`text` as exactly `str`: its characters, whatever a subclass's own `__str__` says (an Enum's says the member's name)."""
    return text if type(text) is str else str.__str__(text)


def text_of(value: object) -> str:
    """`value` as text: its characters if it is text, else what it prints."""
    return exact(value) if isinstance(value, str) else str(value)


def clean(text: str) -> str:
    """`text` as exactly `str`, with lone surrogates replaced by U+FFFD: they can be neither hashed nor sent."""
    if type(text) is not str:
        text = str.__str__(text)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def clean_fields(record: msgspec.Struct) -> None:
    """Replace all fields of `record` that are text by `clean` text; for the `__post_init__` of frozen records."""
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if isinstance(value, str) and not (type(value) is str and value.isascii()):
            force_setattr(record, name, clean(value))


def one_line(text: str) -> str:
    """`text` with every character that is not printable as its escape: a tenant's line break must not begin a line of its own in a log."""
    if text.isprintable():
        return text
    return "".join([one if one.isprintable() else one.encode("unicode_escape").decode() for one in text])


class TextRecord(msgspec.Struct, Documented, frozen=True, gc=False):
    """A record whose text is exactly `str` without lone surrogates, whatever it was built from."""

    def __post_init__(self) -> None:
        """Convert the text."""
        clean_fields(self)


def plain(value: Any) -> Any:
    """`value` as an encoder takes it, for its `enc_hook`: text and numbers of foreign types. Raises TypeError for anything else."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise TypeError(f"a value of type {type(value).__name__} cannot be encoded")


_json = msgspec.json.Encoder(enc_hook=plain)


def json_text(value: Any) -> str:
    """`value` as JSON text, keys in the given order; U+FFFD for bytes of a `msgspec.Raw` in it that are no UTF-8.

    Raises TypeError for values that JSON does not have.
    """
    return _json.encode(value).decode("utf-8", "replace")
