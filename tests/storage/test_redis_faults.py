"""Failures of a Redis are named by their cause."""

from __future__ import annotations

import pytest
from redis import exceptions

from surefoot.storage.redis_faults import is_connection_lost, is_down, name_cause


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
