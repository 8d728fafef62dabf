"""`surefoot usage`: what was spent, from the ledger."""

from __future__ import annotations

import argparse
import csv
import sys
from datetime import date
from pathlib import Path
from typing import Any

from surefoot.cli.tables import table
from surefoot.errors import Misconfigured
from surefoot.text import one_line
from surefoot.usage.ledger import DEFAULT_LEDGER, Ledger


def add_usage(commands: Any) -> None:
    """The parser of `surefoot usage`."""
    usage = commands.add_parser("usage", help="tokens, money and cache savings from a ledger")
    usage.add_argument("--ledger", default=str(DEFAULT_LEDGER), metavar="PLACE", help=f"default {DEFAULT_LEDGER}; or postgresql://...")
    usage.add_argument("--by", action="append", metavar="WORD", help="day, target, tenant or tag:NAME; repeat to split further")
    usage.add_argument("--since", type=_day, metavar="YYYY-MM-DD", help="leave out earlier days (UTC)")
    usage.add_argument(
        "--format", choices=("table", "csv", "chart"), default="table", help="columns for people, lines for programs, or bars of the cost"
    )
    usage.set_defaults(run=_usage)


def _day(word: str) -> str:
    try:
        return date.fromisoformat(word).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{word} is no day, such as 2026-11-30") from None


def _usage(args: argparse.Namespace) -> int:
    from surefoot.storage.sql import is_postgres_url

    if not is_postgres_url(args.ledger) and not Path(args.ledger.removeprefix("sqlite:")).expanduser().exists():
        raise Misconfigured(f"no ledger {args.ledger}: name one with --ledger, and let a model write it with ledger=...")
    by = args.by or ["day"]
    ledger = Ledger(args.ledger)
    rows = ledger.sums(by=by, since_day=args.since or "")
    if aside := ledger.count_set_aside():
        print(
            f"{aside} entries of the ledger {ledger.describe()} are set aside and in no sum: see its table of entries set aside",
            file=sys.stderr,
        )
    heads = (*by, "attempts", "cache_hits", "input_tokens", "output_tokens", "cost_usd", "saved_usd", "estimated", "unpriced")
    lines = []
    for one in rows:
        money = (f"{one.cost_usd:.6f}", f"{one.saved_usd:.6f}")
        tokens = (one.input_tokens, one.output_tokens)
        lines.append((*map(one_line, one.group), one.attempts, one.cache_hits, *tokens, *money, one.estimated, one.unpriced))
    if args.format == "csv":
        csv.writer(sys.stdout).writerows([heads, *lines])
    elif args.format == "chart":
        most = max((one.cost_usd for one in rows), default=0.0) or 1.0
        names = [one_line(" ".join(one.group)) for one in rows]
        wide = max(map(len, names), default=0)
        for name, one in zip(names, rows, strict=True):
            print(f"{name:{wide}}  ${one.cost_usd:<12.6f} {'█' * max(1, round(40 * one.cost_usd / most))}")
    else:
        print(table(heads, [[str(cell) for cell in line] for line in lines]))
    return 0
