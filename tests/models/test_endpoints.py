"""Endpoints: one for each target in the process, whichever model asks."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from surefoot import ChatModel, Policy, Target, runtime
from surefoot.errors import Misconfigured
from surefoot.models.endpoints import _endpoints, beside
from surefoot.testing import Scripted

ADDRESS = "http://127.0.0.1:9/v1"


def endpoints(*targets, **settings):
    runtime.home()  # endpoints live on a background loop, and are opened anew for another
    chat = ChatModel(*targets, **settings)
    chat.describe()
    return chat, chat._stack._endpoints


def test_equal_targets_share_an_endpoint_whoever_asks():
    """One queue, one rate, one breaker: two models must not take a quota twice."""
    one, (first,) = endpoints(Target("openai:m", base_url=ADDRESS, api_key="k"))
    other, (again, spare) = endpoints(
        Target("openai:m", base_url=ADDRESS, api_key="k"), Target("openai:m", base_url=ADDRESS, api_key="other")
    )
    assert first is again
    assert spare is not first
    assert spare.breaker is not first.breaker
    del one, other


def test_a_limit_that_is_given_decides_how_many_places_there_are_at_first():
    """Eight places and answers of 2 s are four a second, whatever the limit allows."""
    here = {"base_url": ADDRESS, "api_key": "k"}
    given, learned = Target("openai:given", requests_per_minute=1200, **here), Target("openai:learned", **here)
    fixed = Target("openai:fixed", requests_per_minute=4800, concurrency=5, **here)
    chat, found = endpoints(given, learned, fixed)
    assert [endpoint.concurrency.limit for endpoint in found] == [20, 8, 5]
    del chat


def test_an_endpoint_that_nobody_holds_is_closed_and_forgotten():
    """Models come and go; connections of those that have gone must not stay."""
    chat, found = endpoints(Target("openai:gone", base_url=ADDRESS, api_key="k"))
    assert found[0] in _endpoints.values()
    names = [endpoint.name for endpoint in _endpoints.values()]
    del chat, found
    gc.collect()
    runtime.run(asyncio.sleep(0))  # it is released on the background loop
    assert names.count("openai:gone") == 1
    assert "openai:gone" not in [endpoint.name for endpoint in _endpoints.values()]


def test_an_endpoint_knows_whether_its_target_is_failing():
    """Its queue and the retries ask the same breaker."""
    chat, (endpoint,) = endpoints(Scripted("fine"), policy=Policy())
    assert endpoint.concurrency.failing is not None
    assert endpoint.concurrency.failing() is endpoint.breaker.is_failing() is False
    del chat


def test_policy_reaches_the_connect_timeout():
    """A setting that is read by nobody lies."""
    chat = ChatModel(Target("openai:m", base_url="http://127.0.0.1:9/v1", api_key="k"), policy=Policy(connect_s=1.5))
    chat.describe()
    assert dict(chat._stack._endpoints[0].provider.target.options)["connect_s"] == 1.5


def test_a_provider_needs_the_right_method():
    """A thing that cannot chat is no chat target."""
    with pytest.raises(Misconfigured, match="a provider with chat"):
        ChatModel(object())
    with pytest.raises(Misconfigured, match="empty"):
        ChatModel([])


def together(threads, work):
    """Call `work(number)` in so many threads at the same moment; what they gave."""
    go, given = threading.Barrier(threads), [None] * threads

    def one(number):
        go.wait()
        given[number] = work(number)

    workers = [threading.Thread(target=one, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return given


def test_threads_that_build_at_once_find_one_endpoint():
    """Two limiters for one target are twice its quota; LlamaIndex asks `traits` from many threads."""
    for turn in range(4):
        runtime.reset_for_tests()
        target = Target(f"openai:race{turn}", base_url=ADDRESS, api_key="k", concurrency=1, lane="direct")
        models = [ChatModel(target) for _ in range(8)]
        together(8, lambda number, models=models: models[number].traits)
        assert len({id(model._stack._endpoints[0].concurrency) for model in models}) == 1
        assert models[0]._stack._endpoints[0].leases == 8


def test_threads_that_ask_one_model_at_once_find_one_stack():
    """Two stacks of one model would share no call, no cached answer's renewal, and no close()."""
    for turn in range(4):
        runtime.reset_for_tests()
        model = ChatModel(Target(f"openai:once{turn}", base_url=ADDRESS, api_key="k", lane="direct"))
        handlers = together(8, lambda _, model=model: model._stack.handler())
        assert len({id(handler) for handler in handlers}) == 1
        gc.collect()
        runtime.run(asyncio.sleep(0))
        assert model._stack._endpoints[0].leases == 1


class Closing(Scripted):
    """Counts how often it was closed."""

    closed = 0

    async def aclose(self):
        self.closed += 1


def test_a_provider_that_was_given_is_closed_once_by_the_last_close():
    """Two models, and two places in one of them; collecting a model does not close what its user made."""
    provider = Closing("fine", times=9)
    one, other, third = ChatModel(provider, provider), ChatModel(provider), ChatModel(provider)
    for chat in (one, other, third):
        assert chat.invoke("hi").text == "fine"
    one.close()
    other.close()
    assert provider.closed == 0
    del third, chat
    gc.collect()
    runtime.run(asyncio.sleep(0))
    assert provider.closed == 0
    one.invoke("hi")
    one.close()
    assert provider.closed == 1


def test_connections_that_nobody_closed_are_closed_with_the_loop():
    """A program that ends without a word leaves no server waiting."""
    provider = Closing("ok")
    runtime.reset_for_tests()
    chat = ChatModel(provider)
    assert chat.invoke("hi").text == "ok"
    assert provider.closed == 0
    runtime.reset_for_tests()  # as at the interpreter's exit
    assert provider.closed == 1


async def test_connections_that_fail_while_being_closed_are_told_and_nothing_else(caplog):
    """Nobody waits for it; a closing that was cancelled, and one that went well, say nothing."""
    caplog.set_level("INFO")

    async def failing():
        raise OSError

    async def hanging():
        await asyncio.sleep(60)

    closings = [beside(failing()), beside(hanging()), beside(asyncio.sleep(0))]
    await asyncio.sleep(0)
    closings[1].cancel()
    await asyncio.gather(*closings, return_exceptions=True)
    await asyncio.sleep(0)
    assert [line for line in caplog.messages if "while being closed" in line] == [
        "connections that nobody used any more failed while being closed: OSError"
    ]
