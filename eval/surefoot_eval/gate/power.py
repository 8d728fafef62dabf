"""How often the gate alarms when nothing changed, and catches what did, beside the textbook's exact test: python -m surefoot_eval power"""

from __future__ import annotations

import argparse
import math

from surefoot_eval.gate.gate import ALPHA, MARGIN, simulate

CELLS = (  # questions, share of verdicts that flip by luck, seeds under which each is asked
    (50, 0.05, 1), (100, 0.05, 1), (300, 0.02, 1), (300, 0.05, 1), (300, 0.05, 2), (300, 0.05, 3),
    (300, 0.10, 1), (300, 0.10, 3), (1000, 0.05, 1),
)  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Print the table; returns 1 if a cell alarms without a change more often than `ALPHA`, by more than the simulation's own error."""
    print(f"{args.runs} simulated pairs of runs a cell, seed {args.seed}, accuracy .8, margin {MARGIN}")
    print("    n seeds  flip  drop    fail    pass  inconclusive   exact McNemar")
    alarms = 0.0
    for drop in (0.0, 0.05):
        for n, flip, seeds in CELLS:
            got = simulate(n, flip=flip, drop=drop, runs=args.runs, seed=args.seed, seeds=seeds)
            shares = f"{got.failed:7.3f} {got.passed:7.3f} {got.inconclusive:13.3f} {got.exact:15.3f}"
            print(f"{n:5} {seeds:5} {flip:5.2f} {drop:5.2f} {shares}", flush=True)
            alarms = max(alarms, got.failed if not drop else 0.0)
    return int(alarms > ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / args.runs))
