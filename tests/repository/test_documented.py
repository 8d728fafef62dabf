"""Every field of every public record says what it is: in the source, where documentation tools look, and in `help()`."""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import pickle  # noqa: TID251 - our users' processes do
import pydoc
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import griffe
import msgspec
import pytest

import surefoot
from surefoot import errors
from surefoot._documented import Documented, field_docs
from surefoot_rag import records

SOURCES = Path(surefoot.__file__).parent
# Bodies on the simulators' wires are the vendors' records, named in their references; rows in a store are the cache's own business.
OTHERS = ("testing/wire/_", "layers/", "providers/", "cache/", "rules/")


def classes() -> Iterator[tuple[str, ast.ClassDef]]:
    """Public records: public classes of public modules, with their module's name."""
    for path in sorted(SOURCES.rglob("*.py")):
        place = path.relative_to(SOURCES)
        private = any(part.startswith("_") and part != "__init__.py" for part in place.parts)
        if private or place.as_posix().startswith(OTHERS):
            continue
        module = ".".join(("surefoot", *place.with_suffix("").parts)).removesuffix(".__init__")
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.bases and not node.name.startswith("_"):
                kind = getattr(importlib.import_module(module), node.name)
                if issubclass(kind, msgspec.Struct | Documented):
                    yield module, node
    for node in ast.parse(Path(records.__file__).read_text(encoding="utf-8")).body:  # what a question to documents is answered with
        if isinstance(node, ast.ClassDef):
            yield records.__name__, node


def undocumented(node: ast.ClassDef) -> list[str]:
    """The public fields of a class without a string under them."""
    missing = []
    for field, after in pairwise([*node.body, ast.Pass()]):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and not field.target.id.startswith("_"):
            told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str)
            if not (told and after.value.value.strip()):
                missing.append(field.target.id)
    return missing


FOUND = list(classes())


def test_the_records_users_meet_are_among_those_looked_at():
    """A search that finds nothing would pass every other test."""
    names = {node.name for _, node in FOUND}
    assert {"Target", "Policy", "SpendLimit", "Semantic", "ChatRequest", "EmbedRequest", "ChatReply", "EmbedReply"} <= names
    assert {
        "Usage",
        "Delta",
        "Message",
        "Text",
        "Image",
        "File",
        "ToolCall",
        "Tool",
        "Schema",
        "AttemptRecord",
        "Call",
        "UsageRow",
    } <= names
    assert {"Answer", "Citation", "CallEnded", "Retried", "BreakerOpened", "CacheHit", "LeftOut"} <= names
    exported = {value for value in (getattr(surefoot, name) for name in surefoot.__all__) if isinstance(value, type(msgspec.Struct))}
    assert {record.__name__ for record in exported} <= names


@pytest.mark.parametrize(("module", "node"), FOUND, ids=[f"{module}.{node.name}" for module, node in FOUND])
def test_each_field_has_a_docstring_that_help_shows(module: str, node: ast.ClassDef):
    """Unit, range and reason are asked for at a prompt, not in a source file."""
    assert undocumented(node) == [], "write a string under each of these fields"
    record = getattr(importlib.import_module(module), node.name)
    assert issubclass(record, Documented) or not getattr(record, "__struct_fields__", ()), (
        f"class {node.name}(Struct, Documented, ...): then help() shows its fields' docstrings"
    )
    docs = field_docs(record)
    shown = " ".join(pydoc.plain(pydoc.render_doc(record, renderer=pydoc.plaintext)).replace("|", " ").split())
    for name, words in docs.items():
        assert inspect.getdoc(getattr(record, name)) == words
        assert " ".join(words.replace("|", " ").split()) in shown, name


def test_a_field_without_docstring_is_found():
    """The check can fail."""
    node = ast.parse('class A(Struct):\n    x: int\n    """The x."""\n    y: int = 0\n    z: int = 1\n    """ """\n').body[0]
    assert isinstance(node, ast.ClassDef)
    assert undocumented(node) == ["y", "z"]


def test_documentation_tools_show_the_same():
    """Griffe, which mkdocstrings builds on, reads attribute docstrings from the source."""
    package = griffe.load("surefoot", search_paths=[SOURCES.parent])
    for record in (surefoot.Policy, surefoot.Target, surefoot.Message, surefoot.ChatReply):
        shown = package[f"{record.__module__.removeprefix('surefoot.')}.{record.__name__}"]
        assert {name: shown[name].docstring.value for name in record.__struct_fields__} == field_docs(record)


def test_importing_reads_no_docstrings():
    """Reading and parsing sources would double what an import costs."""
    script = (
        "import surefoot.types, surefoot.events, surefoot; surefoot.Policy; from surefoot._documented import Documented\n"
        "kinds = [k for k in Documented.__subclasses__()]\n"
        "assert len(kinds) > 10 and all(k.__slots__._record is k for k in kinds)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_without_a_source_the_names_are_shown():
    """A frozen program has no source files; `help()` works there, too."""
    space: dict[str, object] = {"Documented": Documented, "Struct": msgspec.Struct}
    exec("class Typed(Struct, Documented):\n    field_a: int = 0\n    '''Not to be found.'''\n", space)
    typed = space["Typed"]
    assert isinstance(typed, type)
    assert field_docs(typed) == {}
    shown = pydoc.plain(pydoc.render_doc(typed, renderer=pydoc.plaintext))
    assert "field_a" in shown
    assert "Not to be found" not in shown


def test_records_behave_as_without_docstrings():
    """Copied, pickled (by users: multiprocessing), encoded and compared as any msgspec record."""
    policy = surefoot.Policy(attempts=7)
    pydoc.render_doc(surefoot.Policy)
    for again in (copy.copy(policy), copy.deepcopy(policy), pickle.loads(pickle.dumps(policy))):
        assert again == policy
    message = surefoot.Message.user("Merhaba")
    assert msgspec.json.decode(msgspec.json.encode(message), type=surefoot.Message) == message


def test_errors_say_what_they_carry():
    """What `except` gives one to work with: each attribute has its docstring, and its class's own names it."""
    for node in ast.parse(Path(errors.__file__).read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ClassDef):
            continue
        assert undocumented(node) == []
        kind = getattr(errors, node.name)
        told = " ".join(base.__doc__ or "" for base in kind.__mro__ if base.__module__ == errors.__name__)
        documented = {name for base in kind.__mro__ if base.__module__ == errors.__name__ for name in field_docs(base)}
        carried = {
            one.attr
            for one in ast.walk(node)
            if isinstance(one, ast.Attribute)
            and isinstance(one.ctx, ast.Store)
            and isinstance(one.value, ast.Name)
            and one.value.id == "self"
        }
        assert carried <= documented
        for name in field_docs(kind):
            assert name == "retryable" or f"`{name}`" in told or f"`.{name}`" in told, f"{node.name}.{name}"
