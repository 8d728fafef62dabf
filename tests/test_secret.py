"""A key shows itself only where the request is signed."""

from __future__ import annotations

import copy
import json
import pickle  # noqa: TID251 - to show that keys and errors behave when others pickle
import traceback

import msgspec
import pytest

from surefoot.secret import Secret
from surefoot.target import Target

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
    """Targets with equal keys share one door."""
    assert Secret("a") == Secret("a") != Secret("b")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert not Secret("")
