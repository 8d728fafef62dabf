"""Doors: one for each target in the process, whichever model asks."""

from __future__ import annotations

import gc

import pytest

from surefoot import ChatModel, Policy, Target, runtime
from surefoot.doors import _doors
from surefoot.errors import Misconfigured
from surefoot.testing import Scripted

ADDRESS = "http://127.0.0.1:9/v1"


def doors(*targets, **settings):
    runtime.home()  # doors live on a home loop, and are opened anew for another
    chat = ChatModel(*targets, **settings)
    chat.describe()
    return chat, chat._rooms._doors


def test_equal_targets_share_a_door_whoever_asks():
    """One queue, one rate, one breaker: two models must not take a quota twice."""
    one, (first,) = doors(Target("openai:m", base_url=ADDRESS, api_key="k"))
    other, (again, spare) = doors(Target("openai:m", base_url=ADDRESS, api_key="k"), Target("openai:m", base_url=ADDRESS, api_key="other"))
    assert first is again
    assert spare is not first
    assert spare.breaker is not first.breaker
    del one, other


def test_a_limit_that_is_given_decides_how_many_places_there_are_at_first():
    """Eight places and answers of 2 s are four a second, whatever the limit allows."""
    here = {"base_url": ADDRESS, "api_key": "k"}
    given, learned = Target("openai:given", requests_per_minute=1200, **here), Target("openai:learned", **here)
    fixed = Target("openai:fixed", requests_per_minute=4800, concurrency=5, **here)
    chat, found = doors(given, learned, fixed)
    assert [door.concurrency.limit for door in found] == [20, 8, 5]
    del chat


def test_a_door_that_nobody_holds_is_closed_and_forgotten():
    """Models come and go; connections of those that have gone must not stay."""
    chat, found = doors(Target("openai:gone", base_url=ADDRESS, api_key="k"))
    assert found[0] in _doors.values()
    names = [door.name for door in _doors.values()]
    del chat, found
    gc.collect()
    assert names.count("openai:gone") == 1
    assert "openai:gone" not in [door.name for door in _doors.values()]


def test_a_door_knows_whether_its_target_is_failing():
    """Its queue and the retries ask the same breaker."""
    chat, (door,) = doors(Scripted("fine"), policy=Policy())
    assert door.concurrency.failing is not None
    assert door.concurrency.failing() is door.breaker.is_failing() is False
    del chat


def test_policy_reaches_the_connect_timeout():
    """A setting that is read by nobody lies."""
    chat = ChatModel(Target("openai:m", base_url="http://127.0.0.1:9/v1", api_key="k"), policy=Policy(connect_s=1.5))
    chat.describe()
    assert dict(chat._rooms._doors[0].edge.target.options)["connect_s"] == 1.5


def test_an_edge_needs_the_right_door():
    """A thing that cannot chat is no chat target."""
    with pytest.raises(Misconfigured, match="an edge with chat"):
        ChatModel(object())
    with pytest.raises(Misconfigured, match="empty"):
        ChatModel([])
