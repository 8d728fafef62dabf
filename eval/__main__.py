"""`python -m eval ...`: measure, and say what was measured."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

SECTIONS = ("overhead", "cache", "torture")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m eval")
    commands = parser.add_subparsers(dest="command", required=True)
    bench = commands.add_parser("bench", help="speed and memory beside the peers, in one run, as ratios")
    bench.add_argument("section", nargs="*", default=list(SECTIONS), help=f"of {', '.join(SECTIONS)}; left out: all")
    bench.add_argument("--rounds", type=int, default=5)
    bench.add_argument("--seeds", type=int, default=200, help="of the torture section")
    bench.add_argument("--json", type=Path, help="write the figures here as well")
    _register(commands)
    args = parser.parse_args(argv)
    if args.command != "bench":
        return _measure(args)
    unknown = sorted(set(args.section) - set(SECTIONS))
    if unknown:
        parser.error(f"unknown section {', '.join(unknown)}; known are {', '.join(SECTIONS)}")
    results = {}
    for name in args.section:
        section = import_module(f"eval.bench.{name}")
        results[name] = section.run(rounds=args.seeds if name == "torture" else args.rounds)
        print(f"\n## {name}\n\n{section.table(results[name])}\n")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0


def _register(commands: Any) -> None:
    """The commands that read public data, and the gate's own examination."""
    check = commands.add_parser("selfcheck", help="reproduce published numbers: proof that the harness measures right")
    check.add_argument("--all", action="store_true", help="fail also where something could not be measured")
    power = commands.add_parser("power", help="how often the gate alarms, by simulation")
    power.add_argument("--runs", type=int, default=1000)
    power.add_argument("--seed", type=int, default=1)
    tune = commands.add_parser("tune", help="weights of the fusion on a dev split, figures on the other; the retriever doctor")
    tune.add_argument("--model", action="append", help="embedding model; several times for several")
    tune.add_argument("--set", action="append", help="scifact, xquad-en, xquad-tr, limit-small; left out: all")
    for one in (check, tune):
        one.add_argument("--data", type=Path, required=True, help="folder of public data sets")
        one.add_argument("--cache", type=Path, help="folder where vectors are kept")


def _measure(args: argparse.Namespace) -> int:
    from surefoot.errors import Misconfigured

    try:
        code: int = import_module(f"eval.{args.command}").main(args)
    except Misconfigured as why:
        print(f"eval {args.command}: {why}", file=sys.stderr)
        return 2
    return code


if __name__ == "__main__":
    sys.exit(main())
