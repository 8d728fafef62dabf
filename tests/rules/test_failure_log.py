"""An outage is told without filling the log."""

from __future__ import annotations

from surefoot.rules.failure_log import CALM_S, CAUSES, LONGEST_PAUSE_S, FailureLog


def test_a_long_outage_is_told_at_once_and_then_ever_more_rarely():
    """A day of failures, ten a second, is some 290 lines, and none of the failures is left uncounted."""
    log, lines, failures = FailureLog(), [], 0
    for tick in range(864_000):
        failures += 1
        count = log.count("down", tick / 10)
        if count:
            lines.append((tick / 10, count))
    assert [at for at, _ in lines[:4]] == [0, 1, 3, 7]
    assert lines[-1][0] - lines[-2][0] == LONGEST_PAUSE_S
    assert len(lines) < 300
    assert failures - sum(count for _, count in lines) < LONGEST_PAUSE_S * 10


def test_another_cause_or_a_new_outage_is_told_at_once():
    """After a calm the pauses begin anew."""
    log = FailureLog()
    assert [log.count("down", at) for at in (0, 0.1, 1.1)] == [1, 0, 2]
    assert log.count("EVAL NoPermissionError", 1.2) == 1
    assert [log.count("down", 1.3), log.count("EVAL NoPermissionError", 1.3)] == [0, 0], "one outage is none of the other's business"
    assert log.count("down", 1.1 + CALM_S + 5) == 1


def test_the_first_pause_may_be_longer():
    """What is tried twice a second for hours need not be told twice in the first one."""
    log = FailureLog(first_pause_s=10)
    assert [at for at in range(100) if log.count("down", at)] == [0, 10, 30, 70]


def test_causes_without_end_take_no_memory_without_end():
    """A cause may hold what a server said."""
    log = FailureLog()
    assert all(log.count(f"cause {at}", at) == 1 for at in range(10 * CAUSES))
    assert len(log._causes) <= CAUSES
