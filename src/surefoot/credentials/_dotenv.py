"""The .env file: parsed once and again only when it has changed, and never while a call runs.

Whoever builds a model looks here; a call uses what was found then. After a refusal it is looked at again, on a worker thread.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from surefoot.errors import Misconfigured
from surefoot.secret import Secret

DOTENV = "SUREFOOT_DOTENV"  # names the .env file; set but empty: none is read


def dotenv_path() -> Path:
    """Where the .env file is; the null device where none shall be read."""
    return Path(os.environ.get(DOTENV, ".env") or os.devnull)  # noqa: TID251 - one of the readers of the environment


def in_dotenv(name: str) -> Secret | None:
    """The variable `name` of the .env file, None where there is no file or no such line.

    Raises Misconfigured where the file names it and python-dotenv, which reads it, is not installed. Reads a file: not for the loop.
    """
    path = dotenv_path()
    if not path.is_file():
        return None
    try:
        state = path.stat()
        file = _parsed(str(path.absolute()), state.st_mtime_ns, state.st_size, state.st_ino)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read: {error.strerror}") from error
    if name not in file.names:
        return None
    if file.values is None:
        raise Misconfigured(f'{path} is not read: python-dotenv is not installed here; run  pip install "surefoot[dotenv]"')
    return file.values.get(name)


class _File:
    """A parsed .env file. `values` is None where nothing can parse it; `names` are its words then."""

    __slots__ = ("names", "values")

    def __init__(self, path: str) -> None:
        self.values: dict[str, Secret] | None = None
        try:
            from dotenv import dotenv_values
        except ImportError:
            words = Path(path).read_text(encoding="utf-8", errors="replace").replace("=", " ").split()
            self.names = frozenset(word for word in words if word.isidentifier())
            return
        self.values = {name: Secret(value) for name, value in dotenv_values(path).items() if value}
        self.names = frozenset(self.values)


@lru_cache(maxsize=8)
def _parsed(path: str, mtime_ns: int, size_bytes: int, inode: int) -> _File:
    """The file as it was at that moment."""
    del mtime_ns, size_bytes, inode
    return _File(path)
