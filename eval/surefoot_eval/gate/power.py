"""How often the gate alarms when nothing changed, and catches what did, beside the textbook's exact test: python -m surefoot_eval power"""

from __future__ import annotations

import argparse

from surefoot_eval.gate.gate import ALPHA, MARGIN, simulate

CELLS = ((50, 0.05), (100, 0.05), (300, 0.02), (300, 0.05), (300, 0.10), (1000, 0.05))  # questions, share of verdicts that flip by luck


def main(args: argparse.Namespace) -> int:
    """Print the table; returns 1 if a cell alarms in more than `ALPHA` of the runs without a change."""
    print(f"{args.runs} simulated pairs of runs a cell, seed {args.seed}, accuracy .8, margin {MARGIN}")
    print("    n  flip  drop    fail    pass  inconclusive   exact McNemar")
    alarms = 0.0
    for drop in (0.0, 0.05):
        for n, flip in CELLS:
            got = simulate(n, flip=flip, drop=drop, runs=args.runs, seed=args.seed)
            print(
                f"{n:5} {flip:5.2f} {drop:5.2f} {got.failed:7.3f} {got.passed:7.3f} {got.inconclusive:13.3f} {got.exact:15.3f}", flush=True
            )
            alarms = max(alarms, got.failed if not drop else 0.0)
    return int(alarms > ALPHA)
