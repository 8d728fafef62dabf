"""A key shows itself only where the request is signed."""

from __future__ import annotations

import copy
import json
import logging
import pickle  # noqa: TID251 - to show that keys and errors behave when others pickle
import traceback

import msgspec
import pytest

from surefoot.secret import Secret, guard_logs, in_use, locals_cleared
from surefoot.settings import Target

CANARY = "sk-CANARY-8c1f"


def test_no_rendering_shows_it():
    """repr, str, format, an f-string in a message, a record that holds it."""
    secret = Secret(CANARY)
    target = Target("openai:m", api_key=CANARY)
    shown = f"{secret} {secret!r} {[secret]} {target} {target!r} {vars(type(secret))}"
    assert CANARY not in shown
    assert secret.reveal() == CANARY


def test_a_traceback_with_locals_shows_nothing():
    """Error reporters print local variables."""
    try:
        secret = Secret(CANARY)
        raise ValueError(f"failed with {secret}")
    except ValueError as error:
        text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert CANARY not in text


def test_it_cannot_be_pickled_or_encoded():
    """A pickled key outlives its owner."""
    for attempt in (pickle.dumps, copy.deepcopy, json.dumps, msgspec.json.encode):
        with pytest.raises(TypeError):
            attempt(Secret(CANARY))


def test_equal_values_are_equal_keys():
    """Targets with equal keys share one endpoint."""
    assert Secret("a") == Secret("a") != Secret("b")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert not Secret("")


def test_a_guarded_log_says_nothing_that_holds_a_key(caplog):
    """Signed headers, exceptions that hold them, and a key in use wherever a server repeats it; everything else is said."""
    log = logging.getLogger("a.loud.library")
    guard_logs(log.name, log.name)
    one, same = Secret("sk-in-use/0123456789abcdef"), Secret("sk-in-use/0123456789abcdef")
    in_use(one)
    in_use(same)
    del one
    with caplog.at_level(logging.DEBUG, logger=log.name):
        log.debug("headers: %s", {"Authorization": "Bearer of news"})
        try:
            raise ValueError(same.reveal())
        except ValueError:
            log.debug("Encountered Exception", exc_info=True)
        log.debug("moved to http://there/%s", "sk-in-use%2F0123456789abcdef")
        log.info("moved to %s", same.reveal())
        log.debug("connected")
    assert [record.getMessage() for record in caplog.records] == ["connected"]
    assert len(log.filters) == 1


def _failing(key: str) -> None:
    raise ValueError(str(len(key)))


def _failing_below(held: dict[str, str]) -> None:
    with locals_cleared(held):
        try:
            _failing("ours")
        except ValueError as error:
            raise RuntimeError from error


def _failing_while_handling(held: dict[str, str]) -> None:
    try:
        _failing("theirs")
    except ValueError:
        _failing_below(held)


def test_a_block_that_fails_leaves_no_locals_but_those_of_others():
    """Frames below and their causes are emptied; what the caller was handling already keeps what its debugger wants to see."""

    def last_locals(error: BaseException | None) -> dict[str, object]:
        assert error is not None
        return [dict(frame.f_locals) for frame, _ in traceback.walk_tb(error.__traceback__)][-1]

    held = {"api_key": "sk-1"}
    with pytest.raises(RuntimeError) as caught:
        _failing_while_handling(held)
    ours = caught.value.__cause__
    assert ours is not None
    assert last_locals(ours) == {}
    assert last_locals(ours.__context__) == {"key": "theirs"}
    assert held == {}
    with locals_cleared(held := {"a": "b"}):
        pass
    assert held
