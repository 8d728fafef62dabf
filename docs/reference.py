"""Writes the pages of docs/reference/ from the code: `python docs/reference.py`. A test holds that they are what it would write."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

import surefoot
from surefoot import errors, jobs
from surefoot._documented import field_docs
from surefoot.cli.main import EXIT_CODES
from surefoot.cli.main import _parser as commands
from surefoot.settings import Policy, Semantic, SpendLimit, Target
from surefoot_eval.__main__ import _parser as eval_commands
from surefoot_rag.__main__ import _parser as rag_commands

FOLDER = Path(__file__).parent / "reference"
GENERATED = "Generated from the code by `python docs/reference.py`.\n"


def cell(text: str) -> str:
    """Text as it may stand in a table."""
    return " ".join(text.split()).replace("|", "\\|")


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [heads, tuple("---" for _ in heads), *[tuple(cell(one) for one in row) for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def docs_of(record: type) -> dict[str, str]:
    """The docstrings of a record's fields, inherited ones too."""
    return {name: text for one in reversed(record.__mro__) for name, text in field_docs(one).items()}


def fields(record: type[msgspec.Struct]) -> str:
    """A record's fields with default and docstring."""
    docs = docs_of(record)
    rows = []
    for one in msgspec.structs.fields(record):
        default = "" if one.required else repr(one.default) if one.default is not msgspec.NODEFAULT else "()"
        rows.append((f"`{one.name}`", f"`{default}`" if default else "required", docs.get(one.name, "")))
    return table(("field", "default", "what it says"), rows)


def settings() -> str:
    """The records that a file and a program describe."""
    parts = ["# Settings, field by field", GENERATED]
    where = {
        Target: 'Of a target: `Target("provider:model", ...)`, or `[target."provider:model"]` in surefoot.toml.',
        Policy: "Of a model: `Policy(...)`, or `[chat.NAME.policy]` and `[embed.NAME.policy]`.",
        SpendLimit: "Of one budget: `Policy(budgets=[SpendLimit(...)])`, or `[[chat.NAME.policy.budgets]]`.",
        Semantic: "Of the semantic cache: `ChatModel(..., semantic=Semantic(...))`, or `[chat.NAME.semantic]`.",
    }
    for record, says in where.items():
        parts += [f"## {record.__name__}", says + "\n", fields(record)]
    return "\n".join(parts)


def words(action: argparse.Action) -> str:
    """How an argument is typed."""
    value = action.metavar or (action.dest.upper() if action.option_strings else action.dest)
    if action.choices is not None and action.metavar is None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    if not action.option_strings:
        return f"`{value}`"
    return ", ".join(f"`{one}`" for one in action.option_strings) + ("" if action.nargs == 0 else f" `{value}`")


def command(parser: argparse.ArgumentParser, name: str, says: str) -> Iterator[str]:
    """A command's arguments, and its subcommands after it."""
    inner = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    plain = [one for one in parser._actions if one not in inner and not isinstance(one, argparse._HelpAction)]
    if name.count(" ") or plain:
        yield f"## `{name}`\n\n{cell(says)}\n"
    if plain:
        rows = [(words(one), (one.help or "") % {"default": one.default} if "%(" in (one.help or "") else one.help or "") for one in plain]
        yield table(("argument", "meaning"), rows)
    for action in inner:
        helps = {one.dest: one.help or "" for one in action._choices_actions}
        for word, one in action.choices.items():
            if word not in {"rag", "eval"} or " " in name:
                yield from command(one, f"{name} {word}", helps.get(word, ""))


def cli() -> str:
    """All commands."""
    codes = table(("exit code", "meaning"), [(str(code), says) for code, says in EXIT_CODES.items()])
    parts = ["# Commands", GENERATED, "`surefoot ...` and `python -m surefoot ...` are the same.\n", codes]
    for parser, name in ((commands(), "surefoot"), (rag_commands(), "surefoot rag"), (eval_commands(in_repository=False), "surefoot eval")):
        parts += command(parser, name, parser.description or "")
    return "\n".join(parts)


def signature(thing: Any) -> str:
    """A callable's words, without the modules of their types."""
    text = str(inspect.signature(thing))
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)  # annotations are text
    return re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", text)


def methods(kind: type) -> str:
    """A class's public methods with the first paragraph of what they say."""
    rows = []
    for name, thing in inspect.getmembers(kind, lambda one: inspect.isfunction(one) or isinstance(one, property)):
        if name.startswith("_") or not inspect.getdoc(thing):
            continue
        shown = name if isinstance(thing, property) else f"{name}{signature(thing)}".replace("(self, ", "(").replace("(self)", "()")
        rows.append((f"`{shown}`", (inspect.getdoc(thing) or "").split("\n\n")[0]))
    return table(("name", "what it does"), rows) if rows else ""


def described(name: str, thing: Any) -> Iterator[str]:
    """One public name: what it is, its fields, its methods."""
    yield f"## {name}\n\n{inspect.getdoc(thing) or ''}\n"
    if isinstance(thing, type):
        if issubclass(thing, msgspec.Struct):
            yield fields(thing)
        yield methods(thing)


def api() -> str:
    """The public names of `surefoot`, `surefoot.errors` and `surefoot.jobs`."""
    parts = ["# Python, name by name", GENERATED]
    for name in sorted(set(surefoot.__all__) - {"__version__", "errors"}):
        parts += described(f"surefoot.{name}", getattr(surefoot, name))
    parts += ["## surefoot.errors\n", inspect.getdoc(errors) or "", ""]
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.SurefootError)]
    rows = [(f"`{one.__name__}`", one.__bases__[0].__name__, (inspect.getdoc(one) or "").split("\n\n")[0]) for one in kinds]
    parts.append(table(("error", "is a", "when"), rows))
    parts += ["## surefoot.jobs\n", (inspect.getdoc(jobs) or "") + "\n"]
    for name in sorted(name for name in jobs.__all__ if isinstance(getattr(jobs, name), type)):
        parts += described(f"surefoot.jobs.{name}", getattr(jobs, name))
    return "\n".join(parts)


PAGES = {"settings.md": settings, "commands.md": cli, "python.md": api}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for page, make in PAGES.items():
        (FOLDER / page).write_text(make(), encoding="utf-8")
        print(FOLDER / page)
