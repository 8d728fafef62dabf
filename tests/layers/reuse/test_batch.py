"""Many texts in requests a provider takes; one bad text never loses the others."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.core.stack import stack
from surefoot.errors import (
    AuthFailed,
    BadRequest,
    BatchFailed,
    ConnectionLost,
    ContextTooLong,
    Exhausted,
    MalformedReply,
    Overloaded,
    RateLimited,
)
from surefoot.layers.repeat.retry import Retry
from surefoot.layers.reuse.batch import PROBES, Batch
from surefoot.layers.watch.attempt import Attempt
from surefoot.layers.watch.trace import Trace
from surefoot.testing import Scripted, make_call
from surefoot.testing.contract import PROMISES, LayerContract
from surefoot.testing.scripted import vectors
from surefoot.types import EmbedReply, EmbedRequest, Usage
from surefoot.types.calls import VectorParts
from surefoot.usage.tokens import estimate_text
from tests.layers.helping import now

pytestmark = pytest.mark.looptime

OWN_SHAPE = {"transparent_when_idle", "settles_once_on_failure", "outlives_a_loop_that_died_in_mid_call"}  # they count one request


def names(n, *, start=0):
    return [f"t{i}" for i in range(start, start + n)]


def refusing(bad, error=BadRequest, latency_s=0.0):
    """A provider that refuses any request with one of `bad` in it."""
    return Scripted(lambda call: error("bad input") if bad & set(call.request.texts) else "ok", latency_s=latency_s)


def row(text):
    return vectors([text], 4)[0]


@pytest.mark.parametrize("promise", [one for one in PROMISES if one not in OWN_SHAPE])
async def test_split_calls_keep_the_contract_too(promise):
    """Two texts in two requests: cancelled at any await, nothing is left under way."""
    await LayerContract(lambda provider: stack(provider, Batch(max_texts=1)), kind="embed").check(promise)


async def test_a_small_call_goes_through_untouched():
    """The usual case costs nothing."""
    provider, call = Scripted("ok"), make_call(["a", "b"])
    reply = await stack(provider, Batch())(call)
    assert provider.seen == [call]
    assert np.array_equal(reply.vectors, vectors(["a", "b"], 4))


async def test_a_cancellation_from_inside_one_part_is_that_parts_error():
    """A transport torn down under it: passed over, its texts would come back without vectors, as if all were well."""

    def answer(call):
        if call.request.texts == ("t3",):
            raise asyncio.CancelledError("torn down")
        return "ok"

    with pytest.raises(ConnectionLost):
        await stack(Scripted(answer), Batch(max_texts=1, in_flight=2))(make_call(names(6)))


async def test_parts_run_side_by_side_and_come_back_in_order():
    """Seven requests of one second take one, and nobody sees them."""
    provider, texts = Scripted("ok", latency_s=1), names(20)
    begun = now()
    reply = await stack(provider, Trace(), Batch(max_texts=3), Attempt(target="a"))(make_call(texts))
    assert np.array_equal(reply.vectors, vectors(texts, 4))
    assert [len(request.texts) for request in provider.requests] == [3, 3, 3, 3, 3, 3, 2]
    assert (now() - begun, provider.peak, reply.attempts) == (1, 7, 7)
    assert reply.usage == Usage(input_tokens=70)
    assert [attempt.number for attempt in reply.trail] == [1, 2, 3, 4, 5, 6, 7]


async def test_no_more_at_once_than_allowed():
    """A large job leaves room for others."""
    provider = Scripted("ok", latency_s=1)
    await stack(provider, Batch(max_texts=1, in_flight=3))(make_call(names(10)))
    assert provider.peak == 3


async def test_equal_texts_are_asked_for_once():
    """A corpus repeats its headers."""
    provider, texts = Scripted("ok"), ["a", "b", "a", "a", "c", "b"]
    reply = await stack(provider, Batch())(make_call(texts))
    assert [request.texts for request in provider.requests] == [("a", "b", "c")]
    assert np.array_equal(reply.vectors, vectors(texts, 4))


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 8), st.integers(5, 40))
def test_parts_cover_all_texts_within_both_limits(sizes, max_texts, max_tokens):
    """A text larger than the limit goes alone: the provider may still take it, our count is an estimate."""
    from surefoot.usage.tokens import estimate_text

    texts = ["x" * size * 4 for size in sizes]
    parts = Batch(max_texts=max_texts, max_tokens=max_tokens).parts(texts)
    assert [i for begin, end in parts for i in range(begin, end)] == list(range(len(texts)))
    for begin, end in parts:
        assert end - begin <= max_texts
        assert end - begin == 1 or sum(estimate_text(text) for text in texts[begin:end]) <= max_tokens


@pytest.mark.parametrize("error", [BadRequest, ContextTooLong, MalformedReply])
@pytest.mark.parametrize("n", [2, 8, 100, 1024])
async def test_one_bad_text_costs_at_most_two_log_n_further_requests(n, error):
    """At every place in the batch; the others' vectors are on the error, bit for bit."""
    texts = names(n)
    for bad in {0, 1, n // 2, n - 1}:
        provider = refusing({f"t{bad}"}, error)
        with pytest.raises(error, match=f"^text {bad}: bad input") as caught:
            await stack(provider, Batch())(make_call(texts))
        assert provider.calls - 1 <= 2 * math.ceil(math.log2(n))
        missing = np.isnan(caught.value.vectors).all(axis=1)
        assert np.flatnonzero(missing).tolist() == [bad]
        assert np.array_equal(np.delete(caught.value.vectors, bad, 0), np.delete(vectors(texts, 4), bad, 0))


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 70), st.integers(1, 20), st.data())
def test_any_bad_texts_are_found_and_no_good_one_is_lost(n, max_texts, data):
    """However many, wherever they stand, with duplicates."""
    texts = data.draw(st.lists(st.sampled_from(names(n)), min_size=1, max_size=80))
    bad = data.draw(st.sets(st.sampled_from(sorted(set(texts))), max_size=4))

    async def run():
        provider = refusing(bad)
        ask = stack(provider, Batch(max_texts=max_texts))
        if not bad:
            assert np.array_equal((await ask(make_call(texts))).vectors, vectors(texts, 4))
            return
        with pytest.raises(BadRequest) as caught:
            await ask(make_call(texts))
        matrix = caught.value.vectors
        if matrix is None:
            assert bad == set(texts)
            return
        for text, got in zip(texts, matrix, strict=True):
            assert np.isnan(got).all() if text in bad else np.array_equal(got, row(text))

    asyncio.run(run())


async def test_the_text_the_provider_names_is_taken_out_at_once():
    """A local model counts before it computes and says which text it is: three requests, not 2 log n."""
    texts = names(64)

    def local(call):
        at = call.request.texts.index("t40") if "t40" in call.request.texts else None
        return "ok" if at is None else ContextTooLong(f"text {at} has 600 tokens", code=f"text:{at}")

    provider = Scripted(local)
    with pytest.raises(ContextTooLong, match=r"^text 40 has 600 tokens$"):
        await stack(provider, Batch())(make_call(texts))
    assert provider.calls == 4


async def test_several_bad_texts_are_all_named():
    """Whoever mends the input mends it once."""
    with pytest.raises(BadRequest, match=r"2 of 9 texts .* text 2: bad input; text 7: bad input") as caught:
        await stack(refusing({"t2", "t7"}), Batch())(make_call(names(9)))
    assert np.flatnonzero(np.isnan(caught.value.vectors[:, 0])).tolist() == [2, 7]


async def test_different_failures_come_as_a_batch_failed():
    """Each with its own kind; replies hold a row or an error for each text."""

    def mixed(call):
        return ContextTooLong("long") if "t0" in call.request.texts else BadRequest("bad") if "t3" in call.request.texts else "ok"

    with pytest.raises(BatchFailed) as caught:
        await stack(Scripted(mixed), Batch())(make_call(names(5)))
    assert [type(error) for error in caught.value.exceptions] == [ContextTooLong, BadRequest]
    assert [type(reply) for reply in caught.value.replies] == [ContextTooLong, np.ndarray, np.ndarray, BadRequest, np.ndarray]
    assert np.flatnonzero(np.isnan(caught.value.vectors[:, 0])).tolist() == [0, 3]


async def test_one_text_alone_fails_as_itself():
    """No partial result, no wrapping."""
    with pytest.raises(ContextTooLong, match=r"^bad input$") as caught:
        await stack(refusing({"t0"}, ContextTooLong), Batch())(make_call(["t0"]))
    assert caught.value.vectors is None


async def test_a_mistake_in_the_request_is_not_taken_apart_text_by_text():
    """A wrong field refuses everything: 2,048 texts must not become 4,095 requests."""
    for n in (20, 100, 2048):
        provider = Scripted(BadRequest("no such field"))
        with pytest.raises(BadRequest, match=r"^no such field$"):
            await stack(provider, Batch())(make_call(names(n)))
        assert provider.calls <= 1 + 2 + 4 + 8 + PROBES


@pytest.mark.parametrize("n", [16, 400])
async def test_half_the_texts_being_bad_is_no_mistake_in_the_request(n):
    """Every part has a bad one in it, and still no good one is lost."""
    bad = {f"t{i}" for i in range(0, n, 2)}
    with pytest.raises(BadRequest) as caught:
        await stack(refusing(bad), Batch())(make_call(names(n)))
    assert np.flatnonzero(np.isnan(caught.value.vectors[:, 0])).tolist() == list(range(0, n, 2))


async def test_a_wrong_size_is_not_taken_apart_either():
    """It is the model's, not a text's."""
    provider = Scripted("ok", dimensions=3)
    with pytest.raises(MalformedReply, match="8 were asked for"):
        await stack(provider, Batch())(make_call(EmbedRequest(texts=tuple(names(64)), dimensions=8)))
    assert provider.calls == 1


async def test_a_failure_that_is_not_about_the_texts_ends_the_batch_and_keeps_what_came():
    """A revoked key refuses the rest as well: what is under way is waited for, nothing further is sent."""
    provider = Scripted(lambda call: AuthFailed("no") if "t4" in call.request.texts else "ok", latency_s=1)
    with pytest.raises(AuthFailed) as caught:
        await stack(provider, Batch(max_texts=2, in_flight=2))(make_call(names(12)))
    assert provider.calls == 4
    assert np.flatnonzero(np.isnan(caught.value.vectors[:, 0])).tolist() == [4, 5, 8, 9, 10, 11]
    with pytest.raises(AuthFailed) as caught:
        await stack(Scripted(AuthFailed("no")), Batch(max_texts=2))(make_call(names(12)))
    assert caught.value.vectors is None


async def test_each_request_has_the_attempts_of_a_call():
    """A hundred requests share no count of three; the reply's trail holds them all."""
    failed = set()

    def once(call):
        first = call.request.texts[0]
        if first in failed:
            return "ok"
        failed.add(first)
        return Overloaded("busy")

    provider = Scripted(once)
    ask = stack(provider, Trace(), Batch(max_texts=1), Retry(attempts=3, draw=lambda: 0.0), Attempt(target="a"))
    reply = await ask(make_call(names(10)))
    assert (reply.attempts, len(reply.trail)) == (20, 20)


async def test_a_rate_limit_that_ends_every_part_is_caught_as_one():
    """Whoever embeds a thousand texts catches the same class as for one."""
    provider = Scripted(RateLimited("t: slow down", status=429), times=99)
    ask = stack(provider, Trace(), Batch(max_texts=2), Retry(attempts=2, draw=lambda: 0.0), Attempt(target="t"))
    with pytest.raises(RateLimited) as caught:
        await ask(make_call(names(6)))
    assert caught.value.status == 429
    assert caught.value.attempts == provider.calls
    some = Scripted("ok", RateLimited("t: slow down", status=429, retry_after_s=1.0), times=99)
    with pytest.raises(RateLimited) as caught:
        await stack(some, Batch(max_texts=2), Retry(attempts=2, draw=lambda: 0.0))(make_call(names(6)))
    assert (caught.value.status, caught.value.retry_after_s, caught.value.vectors.shape[0]) == (429, 1.0, 6)


async def test_retries_come_before_taking_apart():
    """A malformed answer may pass; only when it does not, the texts are suspected."""
    provider = refusing({"t1"}, MalformedReply)
    with pytest.raises(MalformedReply, match=r"^text 1: bad input") as caught:
        await stack(provider, Batch(), Retry(attempts=2, draw=lambda: 0.0))(make_call(names(2)))
    assert isinstance(caught.value.__cause__, Exhausted)
    assert provider.calls == 2 + 1 + 2


def answer(change):
    """A provider whose vectors are spoilt by `change(matrix, texts)`."""

    def spoilt(call):
        matrix = vectors(call.request.texts, 4)
        return EmbedReply(vectors=change(matrix, call.request.texts), target="a:m", space="s")

    return Scripted(spoilt)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
async def test_a_row_that_is_no_vector_is_an_error_and_its_neighbours_are_fine(value):
    """Rejected at the boundary: in an index it would be near everything, or nothing."""

    def spoil(matrix, texts):
        if "t2" in texts:
            matrix[texts.index("t2")] = value
        return matrix

    provider = answer(spoil)
    with pytest.raises(MalformedReply, match=r"^text 2: .*zero or holds NaN") as caught:
        await stack(provider, Batch())(make_call(names(4)))
    assert np.flatnonzero(np.isnan(caught.value.vectors[:, 0])).tolist() == [2]
    assert provider.calls == 1


async def test_a_provider_that_drops_rows_is_asked_text_by_text():
    """Without a count that fits nobody knows which row is whose."""
    provider = answer(lambda matrix, texts: matrix[:1])
    reply = await stack(provider, Batch())(make_call(names(4)))
    assert np.array_equal(reply.vectors, vectors(names(4), 4))


async def test_parts_of_different_spaces_never_become_one_matrix():
    """One foreign vector spoils an index."""

    def other(call):
        space = "b" if "t3" in call.request.texts else "a"
        return EmbedReply(vectors=vectors(call.request.texts, 4), target="x", space=space)

    with pytest.raises((MalformedReply, BatchFailed), match="space"):
        await stack(Scripted(other), Batch(max_texts=2))(make_call(names(4)))


async def test_a_fault_that_is_none_of_ours_comes_out_as_itself():
    """A bug is not hidden in a group of one."""
    with pytest.raises(ZeroDivisionError):
        await stack(Scripted(lambda call: 1 / 0), Batch(max_texts=1))(make_call(names(4)))


async def test_cancelling_ends_every_request_under_way():
    """Nobody waits for vectors nobody wants."""
    provider = Scripted("ok", latency_s=10)
    task = asyncio.create_task(stack(provider, Batch(max_texts=1))(make_call(names(20))))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (provider.in_flight, provider.calls) == (0, 8)


async def test_chats_pass():
    """The layer is for embeddings."""
    provider = Scripted("hello")
    assert (await stack(provider, Batch())(make_call("hi"))).text == "hello"


async def test_the_connection_that_breaks_under_one_part_does_not_lose_the_others():
    """They are paid for."""
    provider = Scripted(lambda call: ConnectionLost("reset") if "t2" in call.request.texts else "ok")
    with pytest.raises(ConnectionLost) as caught:
        await stack(provider, Batch(max_texts=2))(make_call(names(4)))
    assert np.array_equal(caught.value.vectors[:2], vectors(names(2), 4))


def test_every_request_begins_with_all_the_tokens_it_may_have():
    """Else the second one, and all after it, would be sent half empty."""
    texts = ["harbour " * 5] * 8
    each = estimate_text(texts[0])
    assert Batch(max_texts=100, max_tokens=2 * each).parts(texts) == [(0, 2), (2, 4), (4, 6), (6, 8)]


@pytest.mark.parametrize(("count", "said"), [(1, "bad input"), (2, "text 1: bad input"), (3, "text 1: bad input")])
async def test_one_text_of_a_call_with_others_is_named(count, said):
    """The last one that is not in the cache: of several texts, the caller must hear which one it was; of one it knows."""
    call = make_call(["t0"])
    call.state.parts = VectorParts([min(1, count - 1)], count, lambda *_: None)
    with pytest.raises(BadRequest, match=f"^{said}"):
        await stack(refusing({"t0"}), Batch())(call)
