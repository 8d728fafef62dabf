"""What is wrong with a Redis, in words that say what to do; and a log that says it without repeating itself."""

from __future__ import annotations

import math
from typing import Any

FIRST_PAUSE_S = 1.0  # between a cause's first and second line
LONGEST_PAUSE_S = 300.0  # an outage of a day is told some 290 times
CALM_S = 60.0  # without a failure for so long, the next one is told at once


def name_cause(error: BaseException) -> str:
    """What `error` means, as the predicate of a sentence about the server: "cannot be reached: ..."."""
    from redis import exceptions as redis

    text = str(error)
    forbidden = isinstance(error, redis.NoPermissionError) or "NOPERM" in text or "ACL failure" in text
    refused_us = isinstance(error, redis.AuthenticationError) or text.startswith(("NOAUTH", "WRONGPASS"))
    causes: list[tuple[bool, str]] = [
        (is_read_only(error), "is a read-only replica: the address leads to no primary"),
        (
            forbidden,
            f"does not permit it: {text}. Grant it with ACL SETUSER",
        ),
        (refused_us, f"refuses our user name or password: {text}"),
        (isinstance(error, redis.OutOfMemoryError), "is full (maxmemory) and evicts nothing"),
        (isinstance(error, redis.BusyLoadingError), "is still loading its data"),
        (text.startswith("BUSY "), "is busy with somebody's script"),
        (isinstance(error, TimeoutError | redis.TimeoutError), f"does not answer: {text}"),
        (isinstance(error, redis.ConnectionError | OSError), f"cannot be reached: {text or type(error).__name__}"),
    ]
    return next((cause for holds, cause in causes if holds), f"answered {type(error).__name__}: {text}")


def is_read_only(reply: Any) -> bool:
    """True for the refusal of a replica, also where a script met it."""
    return isinstance(reply, Exception) and "READONLY" in f"{type(reply).__name__.upper()} {reply}"


def is_connection_lost(reply: Any) -> bool:
    """True for a failure that a fresh connection may mend."""
    from redis import exceptions as redis

    return isinstance(reply, redis.ConnectionError | ConnectionError) and not isinstance(
        reply, redis.AuthenticationError | redis.BusyLoadingError
    )


def is_down(reply: Any) -> bool:
    """True for a reply that every other command would get too."""
    from redis import exceptions as redis

    if not isinstance(reply, Exception):
        return False
    lost = redis.ConnectionError | redis.TimeoutError | redis.ClusterDownError | OSError
    return isinstance(reply, lost) or str(reply).startswith(("BUSY ", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH"))


class FailureLog:
    """Decides which failures are worth a line: a cause's first, then after pauses that double up to LONGEST_PAUSE_S."""

    def __init__(self) -> None:
        self._causes: dict[str, _Cause] = {}

    def count(self, key: str, now_s: float) -> int:
        """How many failures of `key` there were since its last line, this one included; 0 if no line is due."""
        cause = self._causes.get(key)
        if cause is None or now_s - cause.failed_at_s > CALM_S + cause.pause_s:
            cause = self._causes[key] = _Cause()
        cause.failed_at_s = now_s
        cause.untold += 1
        if now_s < cause.due_at_s:
            return 0
        told, cause.untold = cause.untold, 0
        cause.due_at_s = now_s + cause.pause_s
        cause.pause_s = min(LONGEST_PAUSE_S, 2 * cause.pause_s)
        return told


class _Cause:
    """One cause's lines so far."""

    __slots__ = ("due_at_s", "failed_at_s", "pause_s", "untold")

    def __init__(self) -> None:
        self.due_at_s = -math.inf
        self.failed_at_s = 0.0
        self.pause_s = FIRST_PAUSE_S
        self.untold = 0
