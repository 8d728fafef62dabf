"""`surefoot usage`: what was spent, from the ledger."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from surefoot.errors import Misconfigured
from surefoot.text import one_line


def _usage(args: argparse.Namespace) -> int:
    from surefoot.storage.sql import is_postgres_url
    from surefoot.usage.ledger import Ledger

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
        widths = [max(len(str(line[n])) for line in [heads, *lines]) for n in range(len(heads))]
        for line in [heads, *lines]:
            print("  ".join(f"{cell!s:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
    return 0
