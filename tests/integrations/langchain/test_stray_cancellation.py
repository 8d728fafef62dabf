"""A cancellation from inside a transport is one call's error, in its place; only a caller's own cancellation ends the others."""

from __future__ import annotations

import asyncio

import pytest

from langchain_surefoot import ChatSurefoot, SurefootEmbeddings
from surefoot import ChatModel, EmbedModel, Policy
from surefoot.errors import ConnectionLost
from surefoot.testing import STALL, Scripted

COUNT, TORN = 8, {1, 2}
PROMPTS = [str(n) for n in range(COUNT)]
ONCE = Policy(attempts=1)
WIDTH = {"max_concurrency": 2}


def torn_down(call):
    if int(call.request.messages[-1].text) in TORN:
        raise asyncio.CancelledError("transport torn down")
    return "fine"


def chat(*steps, **fields):
    provider = Scripted(*(steps or (torn_down,)), **fields)
    return ChatSurefoot(chat=ChatModel(provider, policy=ONCE)), provider


async def as_completed(llm, **words):
    return [pair async for pair in llm.abatch_as_completed(PROMPTS, WIDTH, **words)]


async def in_order(llm, **words):
    return list(enumerate(await llm.abatch(PROMPTS, WIDTH, **words)))


async def in_threads(llm, **words):
    return await asyncio.to_thread(lambda: list(llm.batch_as_completed(PROMPTS, WIDTH, **words)))


WAYS = pytest.mark.parametrize("ask", [as_completed, in_order, in_threads])


@WAYS
async def test_each_prompt_has_its_result_in_its_place(ask):
    """Two are torn down: two errors that may be asked again, six answers, none missing and none twice."""
    llm, provider = chat()
    results = dict(await ask(llm, return_exceptions=True))
    assert sorted(results) == list(range(COUNT))
    assert {n for n, said in results.items() if isinstance(said, ConnectionLost)} == TORN
    assert {results[n].content for n in set(results) - TORN} == {"fine"}
    assert (provider.calls, provider.idle()) == (COUNT, True)


@WAYS
async def test_without_return_exceptions_it_is_raised_as_what_it_is(ask):
    """As a cancellation it would end the caller's task group, or look like its timeout."""
    llm, _ = chat()
    async with asyncio.timeout(20):
        with pytest.raises(ConnectionLost):
            await ask(llm)
    assert asyncio.current_task().cancelling() == 0


async def test_what_langchain_leaves_under_way_ends_with_the_model():
    """Its `abatch_as_completed` cancels nothing when its reader is cancelled; closing the model ends all that is left."""
    llm, provider = chat(lambda call: "fine" if call.request.messages[-1].text == "0" else STALL, times=COUNT)
    seen = []

    async def read():
        async for number, _ in llm.abatch_as_completed(PROMPTS):
            seen.append(number)

    reading = asyncio.create_task(read())
    while not seen or provider.calls < COUNT:
        await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert seen == [0]
    await llm.surefoot.aclose()
    async with asyncio.timeout(20):
        while not provider.idle():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("chunk_size", [None, 2])
async def test_embeddings_that_are_torn_down_are_an_error_and_no_missing_rows(chunk_size):
    """In one request of several or in the only one; a group of embeddings goes on without it."""

    def answer(call):
        if "5" in call.request.texts:
            raise asyncio.CancelledError("transport torn down")
        return "ok"

    embed = SurefootEmbeddings(embed=EmbedModel(Scripted(answer), policy=ONCE), chunk_size=chunk_size)
    with pytest.raises(ConnectionLost):
        await embed.aembed_documents(PROMPTS)
    with pytest.raises(ConnectionLost):
        await embed.aembed_query("5")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(result_of(embed.aembed_documents([text]))) for text in PROMPTS]
    found = [task.result() for task in tasks]
    assert [isinstance(one, ConnectionLost) for one in found] == [text == "5" for text in PROMPTS]
    assert all(len(one) == 1 for one in found if isinstance(one, list))


async def result_of(asked):
    """What came of it, errors included."""
    try:
        return await asked
    except ConnectionLost as error:
        return error
