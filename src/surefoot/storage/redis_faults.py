"""What is wrong with a Redis, in words that say what to do."""

from __future__ import annotations

from typing import Any


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
