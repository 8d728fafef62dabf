"""Damaged answers by the thousand, without sockets: each ends in an answer or in one error of ours.

A seed that fails is run alone by `python -m tests.providers.fuzz SEED`, which shows the answer and what was done to it.
"""

from __future__ import annotations

import resource
import sys

import pytest

from tests.providers.fuzz.judge import judged

QUICK, ALL = 500, 20_000
A_TEST = 50  # seeds
GROWTH_BYTES = 300 * 1024 * 1024


async def check(first: int, count: int) -> None:
    found = []
    for seed in range(first, first + count):
        _, end, wrong = await judged(seed)
        if wrong:
            found.append(f"python -m tests.providers.fuzz {seed}: {end.told[:300]}\n    " + "\n    ".join(wrong))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("first", range(0, QUICK, A_TEST))
async def test_damaged_answers_end_in_an_answer_or_one_error_of_ours(first):
    """No other exception, no half answer that passes for whole, no key in a message, nothing that cannot be sent back."""
    await check(first, A_TEST)


@pytest.mark.heavy
@pytest.mark.parametrize("first", range(QUICK, ALL, A_TEST * 10))
async def test_twenty_thousand_damaged_answers(first):
    """The rest of them, in bounded memory."""
    before = peak_bytes()
    await check(first, min(A_TEST * 10, ALL - first))
    assert peak_bytes() - before < GROWTH_BYTES


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
