"""ChatModel and EmbedModel as their users hold them."""

from __future__ import annotations

import asyncio
import copy
import pickle  # noqa: TID251 - to show what happens when others pickle
import threading
import time

import msgspec
import pytest

import surefoot
from surefoot import ChatModel, EmbedModel, Message, Policy, Target
from surefoot.errors import BadRequest, BatchFailed, ConnectionLost, DeadlineExceeded, DeadlineTooNear, Exhausted, Misconfigured, Overloaded
from surefoot.testing import Pause, Scripted
from surefoot.types import ChatRequest
from tests.loops import ended, home_busy, in_a_thread

QUICK = Policy(backoff_base_s=0.001, attempts=3, attempts_per_target=3)


def test_invoke_from_a_plain_thread():
    """Sync is a view of async."""
    reply = ChatModel(Scripted("hello")).invoke("Merhaba!")
    assert (reply.text, reply.attempts, reply.finish_reason) == ("hello", 1, "stop")


async def test_invoke_inside_a_running_loop():
    """Jupyter runs a loop; a sync call there must work and not deadlock."""
    assert ChatModel(Scripted("hello")).invoke("hi").text == "hello"


def test_three_loops_in_a_row_use_one_model():
    """The neighbours die of "Event loop is closed" here."""
    chat = ChatModel(Scripted("a", "b", "c"))
    assert [asyncio.run(chat.ainvoke("hi")).text for _ in range(3)] == ["a", "b", "c"]


def test_stream_yields_deltas_then_the_whole_reply():
    """What streaming costs and used is known once it has ended, and only then."""
    stream = ChatModel(Scripted("one two three")).stream("count")
    assert stream.reply is None
    assert "".join(delta.text for delta in stream) == "one two three"
    assert stream.reply is not None
    assert stream.reply.text == "one two three"
    assert stream.reply.attempts == 1


async def test_astream_can_be_left_early():
    """A provider bills until its stream is dropped."""
    provider = Scripted("one two three four")
    async with ChatModel(provider).astream("count") as stream:
        async for _ in stream:
            break
    assert stream.reply is None
    assert provider.in_flight == 0


def test_retries_are_counted_on_the_reply():
    """A provider that fails twice then succeeds gets exactly three calls."""
    provider = Scripted(Overloaded("busy"), Overloaded("busy"), "fine")
    reply = ChatModel(provider, policy=QUICK).invoke("hi")
    assert (reply.text, reply.attempts, provider.calls) == ("fine", 3, 3)
    assert [one.error for one in reply.trail] == ["Overloaded", "Overloaded", ""]


def test_exhausted_holds_every_failure():
    """Whoever debugs needs all of them, in order."""
    provider = Scripted(Overloaded("1"), Overloaded("2"), Overloaded("3"))
    with pytest.raises(Exhausted) as caught:
        ChatModel(provider, policy=QUICK).invoke("hi")
    assert [str(error) for error in caught.value.exceptions] == ["1", "2", "3"]


def test_batch_keeps_order_and_one_bad_prompt_does_not_lose_the_others():
    """Nothing that was paid for is lost."""
    chat = ChatModel(Scripted("a", "b"))
    replies = chat.batch(["x", "", "y"], return_exceptions=True)
    assert [getattr(reply, "text", type(reply)) for reply in replies] == ["a", BadRequest, "b"]
    with pytest.raises(BatchFailed) as caught:
        ChatModel(Scripted("a", "b")).batch(["x", "", "y"])
    assert [getattr(reply, "text", None) for reply in caught.value.replies] == ["a", None, "b"]


@pytest.mark.parametrize("how", ["raised", "cancels the task"])
def test_batch_keeps_the_places_of_calls_that_were_cancelled_from_inside(how):
    """A transport torn down under two calls: two errors in their places, and all others are asked."""

    def answer(call):
        number = int(call.request.messages[-1].text)
        if number == 5:
            raise ValueError("a provider of one's own that fails in its own way")
        if number not in {1, 2}:
            return f"re: {number}, {asyncio.current_task().cancelling()} cancellations pending"
        if how == "raised":
            raise asyncio.CancelledError("torn down")
        asyncio.current_task().cancel()
        return [Pause(1), "too late"]

    replies = ChatModel(Scripted(answer), policy=QUICK).batch([str(n) for n in range(8)], max_in_flight=2, return_exceptions=True)
    kinds = ["", ConnectionLost, ConnectionLost, "", "", ValueError, "", ""]
    assert [getattr(reply, "text", type(reply)) for reply in replies] == [
        kind or f"re: {n}, 0 cancellations pending" for n, kind in enumerate(kinds)
    ]


async def test_a_batch_that_is_cancelled_ends_all_its_calls():
    """The caller's own cancellation is nobody's error."""
    provider = Scripted("never", times=8, latency_s=60)
    batch = asyncio.create_task(ChatModel(provider).abatch(["x"] * 8, max_in_flight=4))
    while provider.calls < 4:
        await asyncio.sleep(0.005)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    assert provider.idle()
    assert provider.calls == 4


def test_a_call_may_have_no_deadline_of_its_own():
    """The policy's is for those who say nothing."""
    chat = ChatModel(Scripted("slow", times=2, latency_s=0.6), policy=Policy(deadline_s=0.2))
    assert chat.invoke("hi", deadline_s=None).text == "slow"
    with pytest.raises(DeadlineExceeded):
        chat.invoke("hi")


def test_three_loops_and_eight_threads_never_exceed_one_limit():
    """There is only one place where limits are."""
    provider = Scripted("ok", times=200, latency_s=0.002)
    target_like = provider
    chat = ChatModel(target_like, policy=Policy())
    chat._stack.handler()
    chat._stack._endpoints[0].concurrency._fixed = 3

    def loop_worker():
        async def many():
            await asyncio.gather(*(chat.ainvoke("hi") for _ in range(10)))

        asyncio.run(many())

    def thread_worker():
        for _ in range(5):
            chat.invoke("hi")

    workers = [threading.Thread(target=loop_worker) for _ in range(3)] + [threading.Thread(target=thread_worker) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert provider.calls == 70
    assert provider.peak == 3


def test_equal_targets_share_one_endpoint():
    """Two model objects with the same target obey one limit."""
    target = Target("openai:m", base_url="http://127.0.0.1:9/v1", api_key="k", concurrency=3)
    one, two = ChatModel(target), ChatModel(target)
    one.describe()
    two.describe()
    assert one._stack._endpoints[0] is two._stack._endpoints[0]


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (lambda: ChatModel("opnai:gpt"), "did you mean 'openai'"),
        (lambda: ChatModel("gpt-5"), "provider:model"),
        (lambda: ChatModel(), "at least one target"),
        (lambda: ChatModel("openai:gpt-5-mini"), "OPENAI_API_KEY"),
        (lambda: ChatModel(Target("openai:m", api_key="env:NO_SUCH_VARIABLE")), "NO_SUCH_VARIABLE"),
        (lambda: ChatModel(Target("openai:m", requests_per_minute=0)), "requests_per_minute"),
        (lambda: ChatModel(Scripted("x"), temprature=0), "temperature"),
        (lambda: ChatModel(Scripted("x"), max_tokens=0), "counts from 1"),
        (lambda: surefoot.EmbedModel("local:no-such-model-here"), "surefoot[st]"),
    ],
)
def test_bad_settings_fail_when_built_naming_the_remedy(build, word, monkeypatch):
    """Before anything is sent or spent."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    if word == "surefoot[st]":
        monkeypatch.setattr("surefoot.providers.local.embed.find_spec", lambda name: None)
    with pytest.raises(Misconfigured, match=word.replace("[", r"\[")):
        build()


@pytest.mark.parametrize(
    ("prompt", "options", "word"),
    [
        ([], {}, "no messages"),
        ("", {}, "empty"),
        ("hi", {"temprature": 1}, "temperature"),
        ("hi", {"max_tokens": 0}, "counts from 1"),
        (["text"], {}, "Message"),
        ([{"role": "usr", "content": "x"}], {}, "'usr' is none of"),
        ("hi", {"timeout": "soon"}, "number of seconds"),
        ("hi", {"schema": "json"}, "JSON schema"),
        ("hi", {"deadline_s": -1}, "above 0"),
    ],
)
def test_bad_requests_are_refused_before_sending(prompt, options, word):
    """Nothing sent, nothing spent, and the message says what to do."""
    provider = Scripted("never")
    with pytest.raises(BadRequest, match=word):
        ChatModel(provider).invoke(prompt, **options)
    assert provider.calls == 0


def test_scope_reaches_the_call_through_threads_and_loops():
    """Context variables cross to the background loop."""
    heard = []
    chat = ChatModel(Scripted("a", "b"))
    chat.subscribe(heard.append, inline=True)
    with surefoot.scope(tenant="acme", tags={"job": "nightly"}):
        chat.invoke("hi")
        asyncio.run(chat.ainvoke("hi"))
    ended = [event for event in heard if type(event).__name__ == "CallEnded"]
    assert [(event.tenant, event.tags) for event in ended] == [("acme", (("job", "nightly"),))] * 2


def test_subscribers_hear_events_in_order_and_can_leave():
    """`chat.subscribe(print)` is how people look inside."""
    heard = []
    chat = ChatModel(Scripted(Overloaded("busy"), "fine", "again"), policy=QUICK)
    end = chat.subscribe(lambda event: heard.append(type(event).__name__))
    chat.invoke("hi")
    chat.flush_events()
    assert heard == ["CallStarted", "AttemptEnded", "Retried", "AttemptEnded", "CallEnded"]
    end()
    chat.invoke("hi")
    assert len(heard) == 5


def test_a_model_says_why_it_cannot_be_pickled_and_copies_are_itself():
    """Frameworks copy what holds a model; a pickle would write keys down, and connections cannot be written."""
    for model in (ChatModel(Target("openai:m", api_key="in the clear")), EmbedModel(Target("openai:m", api_key="in the clear"))):
        with pytest.raises(TypeError, match=r"cannot be pickled: build it in the process that uses it"):
            pickle.dumps({"model": model})
        assert copy.copy(model) is copy.deepcopy([model])[0] is model
    target = Target("openai:m", api_key="env:KEY")
    assert pickle.loads(pickle.dumps((target, Policy(attempts=2)))) == (target, Policy(attempts=2))


def test_describe_shows_layers_and_no_secret():
    """The layers, in order, with their settings."""
    text = ChatModel(Target("openai:m", base_url="http://127.0.0.1:9/v1", api_key="sk-CANARY"), "local:extractive").describe()
    assert "CANARY" not in text
    layers = [line.split(":")[0].strip() for line in text.splitlines()]
    assert layers.index("trace") < layers.index("deadline") < layers.index("fallback") < layers.index("retry") < layers.index("concurrency")


def test_a_conversation_and_options_reach_the_provider():
    """Messages and options arrive as they were typed."""
    provider = Scripted("ok")
    ChatModel(provider).invoke([Message.system("Be brief."), Message.user("What is RAG?")], temperature=0.2, max_tokens=200, stop="END")
    request = provider.requests[0]
    assert (request.temperature, request.max_tokens, request.stop) == (0.2, 200, ("END",))
    assert [message.role for message in request.messages] == ["system", "user"]


def test_a_models_own_options_hold_for_every_call_unless_it_says_otherwise():
    """Said once where the model is built; fields of `extra` are joined one by one."""
    provider = Scripted("a", "b", "c", "d")
    chat = ChatModel(provider, temperature=0, max_tokens=500, extra={"top_k": 1, "user": "u"})
    chat.invoke("hi")
    chat.invoke("hi", temperature=1, extra={"top_k": 2})
    list(chat.stream("hi", max_tokens=None))
    chat.batch(["hi"], seed=1)
    said = [(one.temperature, one.max_tokens, one.seed, msgspec.json.decode(one.extra)) for one in provider.requests]
    assert said == [
        (0, 500, None, {"top_k": 1, "user": "u"}),
        (1, 500, None, {"top_k": 2, "user": "u"}),
        (0, None, None, {"top_k": 1, "user": "u"}),
        (0, 500, 1, {"top_k": 1, "user": "u"}),
    ]
    assert "options: temperature=0, max_tokens=500, extra=..." in chat.describe()


def test_a_request_says_of_itself_what_a_models_options_leave_open():
    """Adapters hand over whole requests."""
    provider = Scripted("a")
    request = ChatRequest(messages=(Message.user("hi"),), temperature=1)
    ChatModel(provider, temperature=0, seed=7, deadline_s=5, tags={"job": "nightly"}).invoke(request)
    assert (provider.requests[0].temperature, provider.requests[0].seed) == (1, 7)


def test_the_sdks_words_mean_what_they_mean_there():
    """extra_headers, extra_query, extra_body and timeout, of a call or of a model."""
    provider = Scripted("a", Pause(30))
    chat = ChatModel(provider, extra_headers={"x-a": "b"})
    chat.invoke("hi", extra_body={"top_k": 3}, extra_query={"q": 1}, timeout=None)
    extra = {"extra_headers": {"x-a": "b"}, "extra_query": {"q": 1}, "extra_body": {"top_k": 3}}
    assert msgspec.json.decode(provider.requests[0].extra) == extra
    with pytest.raises((DeadlineExceeded, DeadlineTooNear)):
        chat.invoke("hi", timeout=0.2)


def test_messages_may_be_dicts():
    """As OpenAI's clients write them, one or several, beside our own."""
    provider = Scripted("a", "b")
    chat = ChatModel(provider)
    chat.invoke({"role": "user", "content": "hi"})
    chat.invoke([Message.system("Be brief."), {"role": "user", "content": [{"type": "text", "text": "hi"}]}])
    assert [request.messages[-1] for request in provider.requests] == [Message.user("hi")] * 2


def test_a_busy_background_loop_takes_no_time_from_a_calls_deadline():
    """The deadline runs from the caller's asking; it began when the loop took the call up, seconds later."""
    chat = ChatModel(Scripted("a", "b"))
    chat.invoke("warm")
    found = []

    def ask():
        try:
            found.append(chat.invoke("hi", deadline_s=0.2))
        except DeadlineTooNear as error:
            found.append(error)

    with home_busy():
        asking = in_a_thread(ask)
        time.sleep(0.5)
    assert ended(asking)
    assert isinstance(found[0], DeadlineTooNear)
