"""The bench's own parts: the goals it judges, the charts it draws, the server it measures against. No figure is asserted here."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from surefoot import ChatModel, EmbedModel, Target
from surefoot_eval.bench import goals, plot, worker
from surefoot_eval.bench.crew import grid, ratios
from surefoot_eval.bench.sections import fleet, rag_size, redis, soak
from surefoot_eval.bench.sections.fleet import scenes
from surefoot_eval.bench.server import CHUNKS, DIMENSIONS, TEXT, server
from surefoot_eval.bench.subjects import Setting, prompts


def row(results, what):
    return next(one for one in goals.judged(results) if one["what"] == what)


def test_a_goal_is_met_on_its_own_side_only():
    """A swapped sign would praise what is slow."""
    imports = {"medians": {"import surefoot": {"cpu_ms": 101.0}}, "over_core_ms": 50.0}
    assert row({"import": imports}, "import surefoot")["met"] is False
    assert row({"import": imports}, "ChatSurefoot over langchain_core alone")["met"] is True
    worlds = {"requests-bound": {"share": 0.99, "lost": 0.0}, "tokens-bound": {"share": 0.97, "lost": 0.0}}
    worlds["requests-bound, saved up"] = {"share": 0.8, "lost": 1.0}
    figures = {worker.GIVEN: worlds, worker.LEARNED: worlds}
    found = {"goodput": {"figures": figures, "virtual": {"headers": {"of the quota used": 0.96, "lost": 0.0}}}}
    given = row(found, "goodput, limits given, of ideal")
    assert (given["measured"], given["met"]) == (0.97, False)  # the worse of both worlds of windows
    assert row(found, "goodput, limits learned from headers, of ideal")["met"] is True
    assert row(found, "goodput, limits learned from headers, of the quota (virtual time)")["met"] is True
    assert row(found, "goodput, lost")["met"] is False


def test_what_was_not_run_is_not_met_and_not_missed():
    """An absent peer is named as absent, not counted as beaten."""
    bare = {"overhead": {"medians": {worker.BARE: {"32 in flight": 800.0}, worker.DIRECT: {"32 in flight": 80.0}}}}
    assert row(bare, "ainvoke, 32 in flight, direct lane / bare SDK")["met"] is True
    assert row(bare, "ainvoke, 32 in flight, direct lane / LiteLLM Router")["met"] is None
    assert "| not measured | - |" in goals.table(bare)


def test_ratios_are_by_column_and_leave_out_what_the_base_lacks():
    """A ratio over another column's figure would be no ratio."""
    medians = {"a": {"1": 10.0, "2": 20.0}, "b": {"1": 5.0, "2": 5.0, "3": 1.0}}
    assert ratios(medians, "a")["b"] == {"1": 0.5, "2": 0.25}
    assert "| b | 5 (0.50x) | 5 (0.25x) | 1 |" in grid(medians, "a", unit="us")


@pytest.mark.parametrize(
    "chart",
    [
        plot.bars("a & b", {"surefoot <x>": 3.0, "peer": 12.0}, unit="us"),
        plot.bars("nothing", {}, unit="us"),
        plot.lines("grows", {"calls": {1.0: 5.0, 10_000.0: 6.0}}, unit="us", across="n"),
    ],
)
def test_a_chart_is_whole_svg(chart):
    """Names of peers may hold anything."""
    assert ET.fromstring(chart).tag.endswith("svg")


def test_no_two_prompts_are_alike():
    """A repeated one would be answered by the cache, and measured as a call."""
    for kind in ("one", "mixed"):
        words = prompts(Setting(url="", prompts=kind))
        assert len({next(words) for _ in range(500)}) == 500


def test_the_canned_server_is_understood_by_real_clients():
    """What is measured must be whole answers, streams and vectors, read by the lanes that people use."""
    with server() as provider:
        for lane in ("sdk", "direct"):
            chat = ChatModel(Target("openai:gpt-5-mini", base_url=provider.url, api_key="bench", lane=lane))
            reply = chat.invoke("Hello?")
            assert reply.text == TEXT * 2
            assert reply.usage.total_tokens == 100
            stream = chat.stream("Hello?")
            assert len([delta for delta in stream if delta.text]) == CHUNKS - 2
            embed = EmbedModel(Target("openai:text-embedding-3-small", base_url=provider.url, api_key="bench", lane=lane))
            assert embed.embed(["one", "two", "three"]).shape == (3, DIMENSIONS)
        assert provider.stats()["requests"] == 6


def test_the_size_of_an_index_is_measured_over_what_it_says(tmp_path):
    """As many passages as asked for; one line more on top is one passage more, one document less its forty."""
    size = 2 * rag_size.EACH
    steps = {step: rag_size._step(step, size, str(tmp_path), "langchain") for step in rag_size.STEPS}
    assert (steps["index"]["added"], steps["index"]["removed"]) == (size, 0)
    assert (steps["again"]["added"], steps["again"]["removed"]) == (1, rag_size.EACH)
    shown = rag_size.table({"framework": "langchain", "load": "1", "sizes": {str(size): steps, str(2 * size): steps}})
    assert "| growth over linear (2 x) | 0.50 |" in shown


def test_what_grows_after_the_warm_up_shows():
    """And what grows before does not."""
    samples = [{"at_s": float(i), "rss_mb": 100.0 + min(i, 20), "fds": 10.0 + max(0, i - 60)} for i in range(1, 101)]
    assert soak.compared(samples, "rss_mb") == (120.0, 120.0, 120.0)
    early, middle, late = soak.compared(samples, "fds")
    assert (early, middle, late) == (10.0, 12.5, 42.5)


def test_a_call_without_room_is_none_that_redis_lost():
    """A budget that is used up refuses rightly, whatever Redis does."""
    hows = {1.0: "ok", 2.0: "hit", 4.0: "ok", 5.0: "BudgetExceeded", 6.0: "full", 11.0: "full"}
    found = redis._figures([redis.TimedCall(at_s=at_s, took_s=0.05 if at_s < 3 else 0.25, how=how) for at_s, how in hows.items()])
    assert [found[span]["served"] for span in ("before", "during", "after")] == [1.0, 0.5, None]
    assert redis._later(found, "p50_ms") == "+200"
    assert found["errors"] == {"BudgetExceeded": 1}


def test_the_fullest_minute_is_found_wherever_it_begins():
    """A clock's minutes would hide what stands across two of them."""
    came = [(float(at), 1.0) for at in (0, 50, 55, 59, 65, 70, 109)]
    assert scenes.worst_window(came) == 6  # from 50 to 109
    assert scenes.worst_window([*came, (110.0, 3.0)]) == 8  # the one of 50 is a minute old by then
    assert scenes.within(came, 50.0, 65.0) == 3


def test_a_fleet_that_passes_its_quota_by_little_is_said_to():
    """Each goal on its own side, and a peer that is not installed is no peer that was beaten."""
    of = {"worst": 1.001, "used": 0.99, "used_away": 0.7, "refused": 0, "lost": 0}
    half = {"shared_p50_ms": 1.0, "shared_p99_ms": 12.0, "alone_p50_ms": 1.0, "alone_p99_ms": 3.0, "calls": 9.0}
    one = {"load": {"tokens": of}, "half": half, "cost": {"added_us": 5.5, "shared_us": 6.0, "alone_us": 0.5}}
    one["killed"] = {"back_s": 2.4, "peak": 41.0, "before": 20.0}
    result = {"what": "", "load": "", "load_after": "", "stores": {"redis": one}, "compared": {"litellm": None}}
    judged = [measured <= goal if sense == "<=" else measured >= goal for _, _, sense, goal, measured, _ in fleet.judged(result)]
    assert judged == [False, True, True, False, False, True, False, True]
    assert "LiteLLM Router with Redis | absent" in fleet.table(result)
