"""Failures of a Redis are named by their cause, and told without filling the log."""

from __future__ import annotations

import pytest
from redis import exceptions

from surefoot.redis_faults import CALM_S, LONGEST_PAUSE_S, FailureLog, is_connection_lost, is_down, name_cause


@pytest.mark.parametrize(
    ("error", "cause", "down", "lost"),
    [
        (exceptions.ReadOnlyError("You can't write against a read only replica."), "is a read-only replica", False, False),
        (exceptions.ResponseError("Error running script: -READONLY You can't write"), "is a read-only replica", False, False),
        (exceptions.NoPermissionError("User app has no permissions to run the 'eval' command"), "'eval' command. Grant it", False, False),
        (exceptions.ResponseError("ACL failure in script: User app has no permissions to run the 'set' command"), "Grant it", False, False),
        (exceptions.AuthenticationError("invalid username-password pair"), "refuses our user name or password", True, False),
        (exceptions.OutOfMemoryError("command not allowed"), "is full", False, False),
        (exceptions.BusyLoadingError("loading"), "is still loading", True, False),
        (exceptions.ResponseError("BUSY Valkey is busy running a script."), "busy with somebody's script", True, False),
        (exceptions.ClusterDownError("The cluster is down"), "answered ClusterDownError", True, False),
        (exceptions.TimeoutError("Timeout reading"), "does not answer", True, False),
        (TimeoutError("nothing came within 0.2 s"), "does not answer", True, False),
        (exceptions.ConnectionError("Error 111"), "cannot be reached: Error 111", True, True),
        (ConnectionResetError(), "cannot be reached: ConnectionResetError", True, True),
        (exceptions.ResponseError("WRONGTYPE wrong kind of value"), "answered ResponseError: WRONGTYPE", False, False),
    ],
)
def test_each_failure_is_named_and_sorted(error, cause, down, lost):
    """By what it says about other commands, and by whether a fresh connection may mend it."""
    assert cause in name_cause(error)
    assert (is_down(error), is_connection_lost(error)) == (down, lost)


def test_a_reply_is_no_failure():
    """Nor is a text that talks of one."""
    assert not any(is_down(reply) or is_connection_lost(reply) for reply in (None, b"BUSY ", "READONLY", 0, []))


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
    assert log.count("down", 1.1 + CALM_S + 5) == 1
