"""Numbers that memory need not hold: none is lost, none is another's, and a forked child keeps away from its parent's file."""

from __future__ import annotations

import gc
import os
import sqlite3

import psutil
import pytest

from surefoot.storage.overflow import OverflowNumbers


def test_numbers_are_kept_by_name_until_they_are_taken():
    """Whatever the name is made of; nothing is opened before there is something to keep."""
    numbers = OverflowNumbers()
    assert (numbers.get("a"), numbers.take("a"), numbers._database) == (None, None, None)
    numbers.put([("a", 1, "x"), ("\ud800 'é", 2**62, "x"), ("b", -3, "")])
    numbers.add("a", 4)
    numbers.add("nobody", 4)
    assert [numbers.get(name) for name in ("a", "\ud800 'é", "b", "nobody")] == [5, 2**62, -3, None]
    assert [numbers.take("a"), numbers.take("a")] == [5, None]


def test_classes_of_the_same_length_go_together():
    """Days before a day, not the months before it."""
    numbers = OverflowNumbers()
    numbers.put([(name, 1, name) for name in ("2026-11-29", "2026-11-30", "2026-10", "")])
    numbers.drop_classes_before("2026-11-30")
    assert [numbers.get(name) for name in ("2026-11-29", "2026-11-30", "2026-10", "")] == [None, 1, 1, 1]


def test_either_all_are_kept_or_none():
    """Whoever hears that there was no room still has them."""
    numbers = OverflowNumbers()
    with pytest.raises((sqlite3.Error, OverflowError)):
        numbers.put([("a", 1, ""), ("b", 2**70, "")])
    assert numbers.get("a") is None


def test_a_hundred_thousand_take_a_few_megabytes_and_leave_no_descriptor():
    """The rest is in a file that has no name."""
    process = psutil.Process()
    before, files = process.memory_info().rss, process.num_fds()
    numbers = OverflowNumbers()
    for at in range(0, 100_000, 1000):
        numbers.put([(f"tenant={n}|day|hard|5.0|2026-11-30", n, "2026-11-30") for n in range(at, at + 1000)])
    assert process.memory_info().rss - before < 12 * 2**20
    assert [numbers.get(f"tenant={n}|day|hard|5.0|2026-11-30") for n in (0, 54_321, 99_999)] == [0, 54_321, 99_999]
    del numbers
    gc.collect()
    assert process.num_fds() == files


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_begins_anew_and_leaves_its_parents_alone():
    """Two processes in one unshared file would spoil it."""
    numbers = OverflowNumbers()
    numbers.put([("a", 1, "")])
    reads, writes = os.pipe()
    if (child := os.fork()) == 0:
        found = [numbers.get("a")]
        numbers.put([("a", 7, "")])
        os.write(writes, repr([*found, numbers.take("a"), numbers.get("a")]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reads, 100) == b"[None, 7, None]"
    os.close(reads)
    os.close(writes)
    numbers.put([("b", 2, "")])
    assert [numbers.take("a"), numbers.take("b")] == [1, 2]
