"""Nothing of a fault is ever served from the cache: the whole catalogue of faults, at each vendor, on each surface."""

from __future__ import annotations

import numpy as np
import pytest

from surefoot import ChatModel, EmbedModel, Policy, Target
from surefoot.errors import SurefootError
from surefoot.storage.memory import MemoryStore
from surefoot.testing.wire import AnthropicSim, GeminiSim, OpenAISim, faults_for
from surefoot.types import Usage

RIGHT = "The night shift begins at 22:40 and ends at 06:10, every day but Sunday."
POLICY = Policy(attempts=1, breaker=False, deadline_s=5.0, first_token_s=0.3, idle_s=0.3, connect_s=1.0)
SIMS = {"openai": (OpenAISim, "gpt-5-mini"), "anthropic": (AnthropicSim, "claude-haiku-4-5"), "google": (GeminiSim, "gemini-3-flash")}
EMBEDDERS = {"openai": "text-embedding-3-small", "google": "gemini-embedding-001"}


def target(vendor, sim, model, key="k"):
    """A key of its own for each fault: what one fault teaches the limiter must not hold up the next. To the cache they are one target."""
    return Target(f"{vendor}:{model}", base_url=f"{sim.url}/v1" if vendor == "openai" else sim.url, api_key=key, lane="direct")


async def ask(chat, prompt, *, stream):
    """The whole reply, plain or collected from a stream."""
    if not stream:
        return await chat.ainvoke(prompt)
    answer = chat.astream(prompt)
    async for _ in answer:
        pass
    return answer.reply


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("vendor", SIMS)
async def test_no_fault_of_the_catalogue_is_ever_served_from_the_cache(vendor, stream):
    """After the fault the same question is asked again, and what is kept then is the right answer alone."""
    make, model = SIMS[vendor]
    store = MemoryStore()
    faults = [fault for fault in faults_for(vendor, "stream" if stream else "chat") if not fault.marker]
    failed = 0
    with make(answer=RIGHT) as sim:
        chat = ChatModel(target(vendor, sim, model), policy=POLICY, cache=store)
        for fault in faults:
            struck = ChatModel(target(vendor, sim, model, fault.name), policy=POLICY, cache=store)
            prompt = f"When does it begin? ({fault.name})"
            sim.script([fault])
            first = None
            try:
                first = await ask(struck, prompt, stream=stream)
            except SurefootError:
                failed += 1
            await struck.aclose()
            sim.clear_script()
            second = await ask(chat, prompt, stream=stream)
            assert second.text == RIGHT, fault.name
            if second.cached:
                assert first is not None, f"{fault.name}: an error was kept"
                assert first.text == RIGHT, f"{fault.name}: {first.text!r} was kept"
            assert (await ask(chat, prompt, stream=not stream)).cached, fault.name
        await chat.aclose()
    for kept in (row.value for row in store._rows.values()):
        assert (kept.reply.text, kept.reply.finish_reason) == (RIGHT, "stop")
        assert kept.reply.usage != Usage()
    print(f"{vendor}, {'stream' if stream else 'plain'}: {len(faults)} faults, {failed} told as errors, none kept")
    assert len(faults) > 30
    assert failed > len(faults) * 0.7


@pytest.mark.parametrize("vendor", EMBEDDERS)
async def test_no_fault_spoils_a_kept_vector(vendor):
    """Rows that came before or beside a fault are the ones that come without it."""
    make, _ = SIMS[vendor]
    faults = [fault for fault in faults_for(vendor, "embed") if not fault.marker]
    failed = 0
    with make() as sim:
        store, model = MemoryStore(), EMBEDDERS[vendor]
        plain = EmbedModel(target(vendor, sim, model), policy=POLICY)
        cached = EmbedModel(target(vendor, sim, model), policy=POLICY, cache=store)
        for fault in faults:
            struck = EmbedModel(target(vendor, sim, model, fault.name), policy=POLICY, cache=store)
            texts = [f"{fault.name}: {i}" for i in range(3)]
            sim.script([fault])
            try:
                await struck.aembed(texts)
            except SurefootError:
                failed += 1
            await struck.aclose()
            sim.clear_script()
            right = await plain.aembed(texts)
            for _ in range(2):
                np.testing.assert_array_equal(await cached.aembed(texts), right, err_msg=fault.name)
        await plain.aclose()
        await cached.aclose()
    print(f"{vendor}, embeddings: {len(faults)} faults, {failed} told as errors, no vector spoiled")
    assert len(faults) > 20
