"""All providers alike: one contract over every vendor, each on its SDK's lane and on the direct one, and over the models in this process.

The same file runs with the newest SDKs and (`make test-official`) with the oldest. What a provider cannot do stands here with its reason.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import genai_prices
import pytest
import pytest_asyncio
from msgspec import Struct

from surefoot import ChatModel
from surefoot.providers.anthropic.endpoint import AnthropicProvider
from surefoot.providers.google.endpoint import GoogleProvider
from surefoot.providers.local.endpoint import LocalProvider
from surefoot.providers.openai.endpoint import OpenAIProvider
from surefoot.settings import Target
from surefoot.testing import PROVIDER_PROMISES, ProviderContract
from surefoot.testing.wire import AnthropicSim, GeminiSim, OpenAISim, WireFault, WireSim, faults_for
from surefoot.types import Message

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "sk-CANARY-0123456789abcdef"


class Vendor(Struct, frozen=True):
    """One provider behind a simulator."""

    provider: Any
    sim: type[WireSim]
    target: str
    path: str = ""  # what its base_url has after the host
    cannot: dict[str, str] = {}
    thinker: dict[str, Any] = {}
    speaker: dict[str, Any] = {}
    options: tuple[tuple[str, Any], ...] = ()


VENDORS = {
    "openai": Vendor(
        OpenAIProvider, OpenAISim, "openai:gpt-4.1", "/v1",
        thinker={"model": "o4-mini", "reasoning_effort": "high"},
        speaker={"model": "gpt-4o-audio-preview", "extra": '{"modalities": ["text", "audio"]}'},
    ),
    "responses": Vendor(
        OpenAIProvider, OpenAISim, "openai:gpt-4.1", "/v1",
        cannot={
            "stop": "the Responses API has no stop sequences",
            "sounds": "the Responses API has no place for recordings",
            "speech": "the Responses API answers in text",
        },
        thinker={"model": "o4-mini", "reasoning_effort": "high"},
        options=(("api", "responses"),),
    ),
    "anthropic": Vendor(
        AnthropicProvider, AnthropicSim, "anthropic:claude-haiku-4-5",
        cannot={
            "embed": "Anthropic offers no embeddings",
            "dimensions": "no embeddings",
            "as_is": "no embeddings",
            "sounds": "the Messages API has no place for recordings",
            "speech": "the Messages API answers in text",
        },
        thinker={"model": "claude-opus-4-6", "reasoning_effort": "high"},
    ),
    "google": Vendor(
        GoogleProvider, GeminiSim, "google:gemini-3-flash",
        cannot={"raw_arguments": "Gemini's arguments are JSON objects, not text: a broken call has a finish reason of its own"},
        thinker={"reasoning_effort": "high"},
        speaker={"extra": '{"generationConfig": {"responseModalities": ["TEXT", "AUDIO"]}}'},
    ),
}  # fmt: skip
LANES = [(vendor, lane) for vendor in VENDORS for lane in ("sdk", "direct")]

IN_PROCESS = {"server": "the model runs in this process"}
TEXT_ONLY = {
    "tools": "reads and writes text only", "raw_arguments": "no tools", "schema": "follows no schema", "vision": "text only",
    "pdf": "text only", "sounds": "text only", "speech": "text only", "thinking": "does not think aloud",
}  # fmt: skip
NO_EMBEDDING = {"embed": "a chat model", "dimensions": "a chat model", "as_is": "a chat model"}
NO_CHAT = {"chat": "an embedding model", "dimensions": "the model has one size", "as_is": "the engine gives unit length only"}
PASSAGES = (
    '<passages>\n<passage id="1">The harbour office opens at 08:15 on weekdays. It closes at five.</passage>\n'
    '<passage id="2">Tickets cost 12 lira.</passage>\n</passages>\n<question>When does the harbour office open?</question>'
)
LOCAL: dict[str, dict[str, Any]] = {
    "local:extractive": {
        "question": PASSAGES,
        "cannot": {**IN_PROCESS, **TEXT_ONLY, **NO_EMBEDDING, "system": "reads the passages of the last message alone"},
    },
    "local:multilingual-e5-small": {"cannot": {**IN_PROCESS, **TEXT_ONLY, **NO_CHAT}},
    "local:smollm2": {"question": "Write one sentence about the sea.", "cannot": {**IN_PROCESS, **TEXT_ONLY, **NO_EMBEDDING}},
    "local:all-MiniLM-L6-v2": {"cannot": {**IN_PROCESS, **TEXT_ONLY, **NO_CHAT}},
}
HEAVY = {"local:smollm2", "local:all-MiniLM-L6-v2"}
LONG = {("responses", lane, "never_takes_a_cut_stream_for_whole") for lane in ("sdk", "direct")}  # its events are long: ten seconds each
ROWS = [
    pytest.param((vendor, lane), row, surface, id=f"{vendor}-{lane}-{surface}-{row.name}")
    for vendor, lane in LANES
    for surface in ("chat", "stream", "embed")
    if surface != "embed" or "embed" not in VENDORS[vendor].cannot
    for row in faults_for(VENDORS[vendor].sim.vendor, surface)  # type: ignore[arg-type]
]


def _cannot(name: str) -> dict[str, str]:
    return LOCAL[name]["cannot"] if name in LOCAL else VENDORS[name].cannot


# Every promise that means something there; what a provider cannot do, with the reason, stands above and is held by ProviderContract itself.
PROMISES = [
    pytest.param(
        provider,
        promise,
        id=f"{'-'.join(filter(None, provider))}-{promise}",
        marks=[pytest.mark.heavy] if provider[0] in HEAVY or (*provider, promise) in LONG else [],
    )
    for provider in (*LANES, *((name, "") for name in LOCAL))
    for promise, kept in PROVIDER_PROMISES.items()
    if not set(kept.needs) & set(_cannot(provider[0]))
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def contract(request) -> AsyncIterator[ProviderContract]:
    name, lane = request.param
    if name in LOCAL:
        provider = LocalProvider(Target(name))
        yield ProviderContract(provider, **LOCAL[name])
        await provider.aclose()
        return
    vendor = VENDORS[name]
    with vendor.sim() as sim:
        provider = vendor.provider(
            Target(vendor.target, base_url=sim.url + vendor.path, api_key=KEY, lane=lane, options=vendor.options), None
        )
        yield ProviderContract(
            provider, sim=sim, cannot=vendor.cannot, thinker=vendor.thinker, speaker=vendor.speaker, secrets=(KEY, "CANARY"),
        )  # fmt: skip
        await provider.aclose()


@pytest.mark.parametrize(("contract", "promise"), PROMISES, indirect=["contract"])
async def test_every_provider_keeps_every_promise(contract: ProviderContract, promise: str):
    """One name, one meaning, whoever answers: that is what makes a fallback safe."""
    assert not contract.excuse(promise)
    await contract.check(promise)


@pytest.mark.parametrize(("contract", "row", "surface"), ROWS, indirect=["contract"])
async def test_every_row_of_the_fault_table_is_told_as_what_it_is(contract: ProviderContract, row: WireFault, surface: Any):
    """The class says whether money was spent and whether to ask again; one request is sent; key and prompt appear nowhere."""
    await contract.check_fault(row, surface)


PRICED = {"openai": "openai:gpt-5-mini", "anthropic": "anthropic:claude-haiku-4-5", "google": "google:gemini-2.5-flash"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("lane", ["sdk", "direct"])
@pytest.mark.parametrize("name", PRICED)
async def test_cost_is_computed_from_the_details(name: str, lane: Any, stream: bool):
    """Of two equal calls the second reads the cache and costs less: by the list price, of all that was billed, thoughts included."""
    vendor = VENDORS[name]
    prompt = [Message(role="system", content="Be brief. " * 3000, cache=True), Message.user("Hello")]
    with vendor.sim() as sim:
        chat = ChatModel(Target(PRICED[name], base_url=sim.url + vendor.path, api_key=KEY, lane=lane))
        replies = []
        for _ in range(2):
            if not stream:
                replies.append(await chat.ainvoke(prompt, max_tokens=4000, reasoning_effort="high"))
                continue
            answer = chat.astream(prompt, max_tokens=4000, reasoning_effort="high")
            async for _delta in answer:
                pass
            replies.append(answer.reply)
        await chat.aclose()
    first, second = replies
    assert second.usage.cached_tokens > 1000
    assert first.usage.cached_tokens == 0
    assert second.usage.reasoning_tokens > 0
    assert 0 < second.cost_usd < first.cost_usd
    for reply in replies:
        usage = reply.usage
        told = genai_prices.Usage(
            input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cache_read_tokens=usage.cached_tokens or None,
            cache_write_tokens=usage.cache_write_tokens or None,
        )  # fmt: skip
        listed = genai_prices.calc_price(told, model_ref=PRICED[name].partition(":")[2], provider_id=name).total_price
        assert reply.cost_usd == pytest.approx(float(listed))


@pytest.mark.parametrize("contract", [pytest.param(lane, id="-".join(lane)) for lane in LANES], indirect=True)
async def test_no_row_of_the_table_is_left_out(contract: ProviderContract, request):
    """The list of cases above is the contract's own."""
    name = request.node.callspec.id.partition("-")[0]
    assert [(row.name, surface) for row, surface in contract.fault_rows()] == [
        (case.values[1].name, case.values[2]) for case in ROWS if case.values[0] == (name, "sdk")
    ]
