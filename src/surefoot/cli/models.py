"""`surefoot models`: which models are known, with windows and prices, or which a server has."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from surefoot import facts
from surefoot._documented import Documented
from surefoot.cli.tables import table
from surefoot.errors import Misconfigured
from surefoot.usage.prices import rates

MTOK = 1_000_000


class ListedModel(Struct, Documented, frozen=True, kw_only=True):
    """A line of the list: one model, or all whose names begin so."""

    model: str
    """The target's name, "provider:model"; models whose names go on behind it are meant too."""
    window: int | None = None
    """Context window in tokens; None: not known."""
    output: int | None = None
    """The longest answer in tokens; None: not known."""
    dimensions: int | None = None
    """The length of its vectors; None: it does not embed."""
    input_usd: float | None = None
    """US dollars a million input tokens; None: no list knows the price."""
    output_usd: float | None = None
    """US dollars a million output tokens; None: no list knows the price."""


def add_models(commands: Any) -> None:
    """The parser of `surefoot models`."""
    models = commands.add_parser("models", help="which models are known, with windows and prices")
    models.add_argument(
        "of", nargs="?", default="", metavar="PROVIDER[:BEGINNING]", help="only these, such as openai or anthropic:claude-opus"
    )
    models.add_argument("--json", action="store_true", help="for programs")
    models.set_defaults(run=_models)


def _models(args: argparse.Namespace) -> int:
    word, _, begins = args.of.partition(":")
    provider = facts.provider_called(word)
    if word and not provider:
        raise Misconfigured(f"unknown provider {word!r}: known are {', '.join(facts.ours())}")
    names = (provider,) if provider else facts.BY_THEIR_OWN
    rows = [row for name in names for row in _rows(name, begins.lower())]
    if not rows:
        raise Misconfigured(f"no row begins with {args.of!r}; what the service itself has, `surefoot doctor -m {provider}:MODEL` tells")
    if args.json:
        print(msgspec.json.encode(rows).decode())
        return 0
    heads = ("model", "window", "answer", "dimensions", "$/M input", "$/M output")
    lines = [(one.model, one.window, one.output, one.dimensions, one.input_usd, one.output_usd) for one in rows]
    print(table(heads, [[_cell(value) for value in line] for line in lines]))
    return 0


def _rows(name: str, begins: str) -> Iterator[ListedModel]:
    provider = facts.provider_of(name)
    for one in () if provider is None else provider.models:
        if not one.begins.startswith(begins) or not (one.window or one.output or one.text_tokens or one.dimensions):
            continue
        known = rates(name, one.begins)
        yield ListedModel(
            model=f"{name}:{one.begins}",
            window=one.window or one.text_tokens,
            output=one.output,
            dimensions=one.dimensions,
            input_usd=None if known is None else round(known.fresh * MTOK, 4),
            output_usd=None if known is None else round(known.output * MTOK, 4),
        )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
