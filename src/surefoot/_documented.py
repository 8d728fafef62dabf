"""Field docstrings that `help()` shows.

A field's docstring is the string literal under it. Documentation tools and editors read it from the source; at run time it is gone, since
the compiler drops it. `help()` looks up the docstring of a slot in the class's `__slots__` where that is a mapping, and the fields of a
msgspec record are slots. So `Documented` puts such a mapping there. It reads the source when the first docstring is looked up, never at
import; without source files `help()` shows the bare names.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any


def field_docs(record: type) -> dict[str, str]:
    """The docstrings of the fields that `record` itself declares, by name; empty where its source cannot be read."""
    import ast
    import inspect
    import textwrap

    try:
        (declared,) = ast.parse(textwrap.dedent(inspect.getsource(record))).body
    except (OSError, TypeError, SyntaxError):  # no source file, a class typed into a console, a file changed since it was loaded
        return {}
    found = {}
    for field, text in pairwise(declared.body if isinstance(declared, ast.ClassDef) else ()):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                found[name] = inspect.cleandoc(words)
    return found


class FieldDocs(dict[str, str]):
    """A record's `__slots__`: its own fields by name, each with its docstring, read when the first of them is looked up."""

    def __init__(self, record: type, names: tuple[str, ...]) -> None:
        super().__init__(dict.fromkeys(names, ""))
        self._record: type | None = record

    def __getitem__(self, name: str) -> str:
        if self._record is not None:
            docs, self._record = field_docs(self._record), None
            self.update({known: docs.get(known, "") for known in self})
        return super().__getitem__(name)


class Documented:
    """A record whose fields have docstrings that `help()` shows: `class Thing(Struct, Documented, frozen=True)`."""

    __slots__ = ()

    def __init_subclass__(cls, **settings: Any) -> None:
        """Put the fields' docstrings where `help()` looks for them."""
        super().__init_subclass__(**settings)
        cls.__slots__ = FieldDocs(cls, cls.__slots__)  # type: ignore[assignment]  # a mapping is as good, and holds docstrings
