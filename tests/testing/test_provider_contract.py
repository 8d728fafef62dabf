"""The contract bites: providers with one thing wrong each break the promise about it, and no other way out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from surefoot.core.deltas import Replay, to_deltas
from surefoot.core.stream import Stream, open_stream
from surefoot.errors import BadRequest, Misconfigured, Transient
from surefoot.providers.openai.endpoint import OpenAIProvider
from surefoot.settings import Target
from surefoot.testing import PROVIDER_PROMISES, ProviderContract
from surefoot.testing.wire import OpenAISim, fault
from surefoot.types import Call, ToolCall

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Bent:
    """A good provider, bent in one place."""

    def __init__(self, provider: OpenAIProvider) -> None:
        self.provider = provider
        self.traits = provider.traits

    async def chat(self, call: Call[Any]) -> Any:
        return await self.provider.chat(call)

    async def embed(self, call: Call[Any]) -> Any:
        return await self.provider.embed(call)


class AsksTwice(Bent):
    async def chat(self, call: Call[Any]) -> Any:
        await self.provider.chat(replace(call, stream=False))
        return await self.provider.chat(call)


class ForgetsTools(Bent):
    async def chat(self, call: Call[Any]) -> Any:
        return await self.provider.chat(replace(call, request=replace(call.request, tools=(), tool_choice="")))


class EmptiesArguments(Bent):
    async def chat(self, call: Call[Any]) -> Any:
        answer = await self.provider.chat(replace(call, stream=False))
        calls = tuple(ToolCall(id=one.id, name=one.name) for one in answer.tool_calls)
        answer = replace(answer, tool_calls=calls)
        return await open_stream(Replay(to_deltas(answer))) if call.stream else answer


class Shuffles(Bent):
    async def embed(self, call: Call[Any]) -> Any:
        reply = await self.provider.embed(call)
        return replace(reply, vectors=reply.vectors[::-1].copy())


class Mislabels(Bent):
    async def chat(self, call: Call[Any]) -> Any:
        try:
            return await self.provider.chat(call)
        except Transient as error:
            raise BadRequest(str(error)) from None


class LeavesStreamsOpen(Bent):
    async def chat(self, call: Call[Any]) -> Any:
        answer = await self.provider.chat(call)
        if isinstance(answer, Stream):
            self.kept = answer

            class Deaf:
                async def __anext__(self) -> Any:
                    return await answer.__anext__()

                async def aclose(self) -> None:
                    """Nothing."""

            return await open_stream(Deaf())
        return answer


@pytest.fixture(scope="module")
def sim() -> Iterator[OpenAISim]:
    with OpenAISim() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider(sim) -> AsyncIterator[OpenAIProvider]:
    one = OpenAIProvider(Target("openai:gpt-4.1", base_url=sim.url + "/v1", api_key="k", lane="direct"), None)
    yield one
    await one.aclose()


@pytest.mark.parametrize(
    ("bent", "promise", "words"),
    [
        (AsksTwice, "answers_plainly", "requests for two calls"),
        (ForgetsTools, "obeys_tool_choice", "was heard as"),
        (EmptiesArguments, "calls_tools_in_parallel", "arguments"),
        (EmptiesArguments, "keeps_broken_arguments_as_they_came", ""),
        (Shuffles, "embeds_in_order", "embedded alone is row"),
        (LeavesStreamsOpen, "closes_a_stream_that_is_left", "still serves"),
    ],
)
async def test_a_bent_provider_is_caught(provider, sim, bent, promise, words, monkeypatch):
    """A contract that cannot fail protects nothing."""
    await ProviderContract(provider, sim=sim).check(promise)
    monkeypatch.setattr("surefoot.testing._provider.NOTICED_S", 0.2)  # from here on it is waited for in vain
    crooked = bent(provider)
    with pytest.raises((AssertionError, ValueError), match=words):
        await ProviderContract(crooked, sim=sim).check(promise)
    if hasattr(crooked, "kept"):
        await crooked.kept.aclose()


async def test_a_fault_by_another_name_is_caught(provider, sim):
    """The class decides whether a caller asks again."""
    await ProviderContract(provider, sim=sim).check_fault(fault("status_503"), "chat")
    with pytest.raises(AssertionError, match="Overloaded belongs"):
        await ProviderContract(Mislabels(provider), sim=sim).check_fault(fault("status_503"), "chat")


async def test_a_false_excuse_is_caught(provider, sim):
    """Who says that it cannot must refuse, and its traits must say so too."""
    liar = ProviderContract(provider, sim=sim, cannot={"vision": "so they say"})
    assert liar.excuse("sees_pictures") == "vision: so they say"
    with pytest.raises(AssertionError, match="vision"):
        await liar.check("refuses_before_sending")
    with pytest.raises(AssertionError, match=r"traits\.vision"):
        await liar.check("says_by_its_traits_what_it_cannot_do")


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"cannot": {"sight": "x"}}, "known are"), ({"cannot": {"vision": " "}}, "say why"), ({}, "without a simulator")],
)
async def test_excuses_need_a_known_word_and_a_reason(settings, words):
    """Else a typo excuses everything, or nothing."""
    with pytest.raises(Misconfigured, match=words):
        ProviderContract(object(), **settings)


async def test_every_promise_says_what_it_is_about():
    """Its docstring is what a provider's author reads."""
    assert len(PROVIDER_PROMISES) >= 25
    assert all(promise.run.__doc__ for promise in PROVIDER_PROMISES.values())
