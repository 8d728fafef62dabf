"""One seed alone, with all that was done: `python -m tests.providers.fuzz SEED [SEED ...]`, or many: `... FIRST-LAST`."""

from __future__ import annotations

import asyncio
import collections
import logging
import sys

from tests.providers.fuzz.judge import judged


async def main(*words: str) -> int:
    logging.disable()
    found = 0
    ends: collections.Counter[str] = collections.Counter()
    for word in words:
        first, _, last = word.partition("-")
        for seed in range(int(first), int(last or first) + 1):
            given, end, wrong = await judged(seed)
            ends[type(end.error).__name__ if end.error is not None else "answer"] += 1
            found += bool(wrong)
            if wrong or not last:
                exchange = given.exchange
                print(f"seed {seed}: {exchange.api} {exchange.kind}, {', '.join(given.done)}, HTTP {given.status} {given.headers}")
                print(f"  {given.body[:1500]!r}" if not last else f"  {given.body[:300]!r}")
                print(f"  {end.told}")
                for one in wrong:
                    print(f"  WRONG: {one[:1500]}")
    print(dict(ends.most_common()))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
