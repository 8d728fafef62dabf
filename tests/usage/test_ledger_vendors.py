"""The ledger beside each vendor's own count, through the real SDKs: to the token where usage was sent, else flagged and near.

The simulators count as the vendors do, with a real vocabulary (OpenAI's o200k, for all three: it is the one at hand); the models are named
so that our estimate is that vocabulary's.
"""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from surefoot import ChatModel, Policy, Target
from surefoot.errors import Interrupted
from surefoot.testing.wire import OK, AnthropicSim, GeminiSim, OpenAISim, fault
from surefoot.usage.ledger import Ledger
from surefoot.usage.vocabulary import counter
from tests.loops import own_home  # noqa: F401 - autouse: fresh limits for each test

SIMS = {"openai": OpenAISim, "anthropic": AnthropicSim, "google": GeminiSim}
DOCS = Path(__file__).parent.parent.parent / "pipelines/surefoot_rag/sample" / "docs" / "en"
PROMPT = (DOCS / "circuit-breaker.md").read_text(encoding="utf-8")
STORY = (DOCS / "caching.md").read_text(encoding="utf-8")[:2500]
WHOLE = Policy(attempts=3, breaker=False, backoff_base_s=0.001, deadline_s=30)
AT_ONCE = Policy(attempts=1, breaker=False, deadline_s=30)


@pytest.fixture(autouse=True)
def real_vocabulary(monkeypatch):
    """Prompts and answers are counted as OpenAI would."""
    import tiktoken

    count = counter("openai:gpt-5-mini")
    encoding = count.__closure__[0].cell_contents
    assert isinstance(encoding, tiktoken.Encoding)

    def pieces(text):
        ends = [*encoding.decode_with_offsets(encoding.encode_ordinary(text))[1], len(text)]
        return tuple(text[a:b] for a, b in itertools.pairwise(ends))

    for module in ("_model._brain", "_vendors._anthropic_wire", "_vendors._google_wire", "_vendors._openai_wire"):
        monkeypatch.setattr(f"surefoot.testing.wire.{module}.pieces", pieces)
    for module in ("_model._brain", "_vendors._anthropic_body"):
        monkeypatch.setattr(f"surefoot.testing.wire.{module}.tokens_in", count)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "usage.db")


def model(vendor, sim, ledger, policy, **settings):
    url = f"{sim.url}/v1" if vendor == "openai" else sim.url
    return ChatModel(
        Target(f"{vendor}:gpt-5-mini", base_url=url, api_key="k", input_usd_per_mtok=1.0, output_usd_per_mtok=2.0),
        policy=policy,
        ledger=ledger,
        **settings,
    )


def billed(sim):
    """What the provider would bill, in tokens in and out."""
    return sum(one.input_tokens for one in sim.usage_log.values()), sum(one.output_tokens for one in sim.usage_log.values())


async def read(stream, count=None):
    try:
        async for _ in stream:
            count = None if count is None else count - 1
            if count == 0:
                break
    finally:
        await stream.aclose()


@pytest.mark.parametrize("vendor", SIMS)
async def test_what_was_counted_by_the_provider_is_counted_by_us_to_the_token(vendor, ledger):
    """Completed, streamed, retried, cached prompts, tools left unused: every answer that came with its usage."""
    with SIMS[vendor](answer=STORY) as sim:
        chat = model(vendor, sim, ledger, WHOLE)
        await chat.ainvoke(PROMPT)
        await read(chat.astream(PROMPT + "Again."))
        sim.script([fault("status_503"), OK, fault("status_500"), fault("status_503"), OK])
        await chat.ainvoke("Retried once.")
        await read(chat.astream("Retried twice, streamed."))
        await asyncio.gather(*(chat.ainvoke(f"One of many: {i}") for i in range(20)))
        sim.wait_idle()
        row = ledger.sums(by=())[0]
        print(f"{vendor}: ledger {row.input_tokens} in, {row.output_tokens} out; provider {billed(sim)}; {row.attempts} attempts")
        assert (row.input_tokens, row.output_tokens) == billed(sim)
        assert (row.attempts, row.estimated, row.unpriced) == (24, 0, 0)
        assert row.cost_usd == pytest.approx((row.input_tokens + 2 * row.output_tokens) / 1e6)
        await chat.aclose()


@pytest.mark.parametrize("vendor", SIMS)
async def test_of_a_hedge_the_winner_is_exact_and_the_loser_an_estimate(vendor, ledger):
    """Both are billed; one of them told us. Twenty calls before it earn the hedge."""
    late = []

    def latency_s(request):
        if b"Slow" not in request.body or late:
            return 0.0
        late.append(request)
        return 600.0

    with SIMS[vendor](answer=STORY, latency_s=latency_s) as sim:
        plain = model(vendor, sim, ledger, WHOLE)
        await asyncio.gather(*(plain.ainvoke(f"{PROMPT} {i}") for i in range(25)))
        sim.wait_idle()
        before, told = ledger.sums(by=())[0], billed(sim)
        chat = model(vendor, sim, ledger, Policy(attempts=2, hedge_after=0.05, breaker=False, deadline_s=60))
        stream = chat.astream("Slow. " + PROMPT)
        await read(stream)
        sim.wait_idle()
        row, (tokens_in, tokens_out) = ledger.sums(by=())[0], billed(sim)
        trail = [(one.kind, one.error, one.usage.estimated) for one in stream.reply.trail]
        print(f"{vendor}: {trail}; ledger {row.input_tokens} in, {row.output_tokens} out; provider {tokens_in}, {tokens_out}")
        assert trail == [("first", "CancelledError", True), ("hedge", "", False)]
        assert row.attempts - before.attempts == 2
        assert row.estimated - before.estimated == 1
        assert row.input_tokens - before.input_tokens == pytest.approx(tokens_in - told[0], rel=0.1)
        await chat.aclose()


@pytest.mark.parametrize("how", ["left", "cancelled", "cut"])
@pytest.mark.parametrize("vendor", SIMS)
async def test_what_nobody_counted_is_flagged_and_within_a_tenth(vendor, how, ledger):
    """A stream that its reader leaves, that is cancelled, or that the network cuts: the provider bills what it had made."""
    with SIMS[vendor](answer=STORY, gap_s=0.002) as sim:
        chat = model(vendor, sim, ledger, AT_ONCE)
        if how == "cut":
            sim.script([fault("stream_cut").but(cut_at=0.6)])
            with pytest.raises(Interrupted):
                await read(chat.astream(PROMPT))
        elif how == "left":
            await read(chat.astream(PROMPT), count=100)
        else:
            seen = asyncio.Event()

            async def ask():
                number = 0
                async for _ in chat.astream(PROMPT):
                    number += 1
                    if number == 100:
                        seen.set()

            task = asyncio.create_task(ask())
            await seen.wait()
            task.cancel()
            await asyncio.wait([task])
        sim.wait_idle()
        row = ledger.sums(by=())[0]
        tokens_in, tokens_out = billed(sim)
        print(f"{vendor}, {how}: ledger {row.input_tokens} in, {row.output_tokens} out; provider {tokens_in}, {tokens_out}")
        assert (row.attempts, row.estimated) == (1, 1)
        assert row.input_tokens + row.output_tokens == pytest.approx(tokens_in + tokens_out, rel=0.1)
        assert row.input_tokens == pytest.approx(tokens_in, rel=0.1)
        await chat.aclose()
