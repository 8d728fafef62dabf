"""Metrics for Prometheus: counted once, at the price that was paid, under labels that no caller can make."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from surefoot import ChatModel, EmbedModel, Policy, Target
from surefoot.errors import SurefootError
from surefoot.telemetry.prometheus import PrometheusMetrics
from surefoot.testing.wire import OK, OpenAISim, fault

FAST = Policy(backoff_base_s=0.001, backoff_ceiling_s=0.002)


def samples(metrics: PrometheusMetrics) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels, in the order of their names."""
    found = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for one in family.samples:
            found[one.name, *(value for _, value in sorted(one.labels.items()))] = one.value
    return found


def test_attempts_tokens_and_money_are_counted_as_they_were_billed():
    """Two failures and an answer are three attempts and one bill; the cached answer is none."""
    with OpenAISim() as sim:
        target = Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key="k")
        chat = ChatModel(target, policy=FAST, cache="memory")
        metrics = PrometheusMetrics().watch(chat)
        sim.script([fault("status_503"), fault("status_429"), OK])
        reply = chat.invoke("Merhaba!", temperature=0)
        assert chat.invoke("Merhaba!", temperature=0).attempts == 0
        list(chat.stream("other"))
        embed = EmbedModel(Target("openai:text-embedding-3-small", base_url=f"{sim.url}/v1", api_key="k"))
        metrics.watch(embed)
        embed.embed(["one"])
    found = samples(metrics)
    name = "openai:gpt-5-mini"
    assert found["surefoot_attempts_total", "Overloaded", "first", name] == 1
    assert found["surefoot_attempts_total", "none", "retry", name] == 1
    assert found["surefoot_attempts_total", "RateLimited", "retry", name] == 1
    assert found["surefoot_calls_total", "none", "chat"] == 3
    assert found["surefoot_calls_total", "none", "embed"] == 1
    assert found["surefoot_cache_total", "hit"] == 1
    assert found["surefoot_first_token_seconds_count", name] >= 1
    billed = found["surefoot_cost_usd_total", name]
    assert reply.cost_usd is not None
    assert billed > reply.cost_usd > 0
    assert found["surefoot_tokens_total", "input", name] > reply.usage.input_tokens
    assert ("surefoot_unpriced_attempts_total", name) not in found


def test_no_caller_makes_a_series():
    """Models that calls name, tenants, tags and prompts: thirty of each, and not a line more."""
    with OpenAISim() as sim:
        chat = ChatModel(Target("openai:m", base_url=f"{sim.url}/v1", api_key="sk-CANARY"), policy=FAST)
        metrics = PrometheusMetrics().watch(chat)
        chat.invoke("hi")
        before = len(samples(metrics))
        for n in range(30):
            chat.invoke(f"prompt CANARY {n}", model=f"model-{n}", tenant=f"tenant-{n}", tags={"user": f"u{n}"})
        text = metrics.exposition().decode()
    assert len(samples(metrics)) == before
    assert "CANARY" not in text
    assert "tenant-" not in text
    assert "model-1" not in text


def test_a_breaker_is_seen_to_open_and_a_refusal_has_its_name():
    """An open breaker is what an operator looks for first."""
    with OpenAISim() as sim:
        policy = Policy(attempts=1, breaker_min_calls=3)
        chat = ChatModel(Target("openai:m", base_url=f"{sim.url}/v1", api_key="k"), policy=policy)
        metrics = PrometheusMetrics().watch(chat)
        sim.script([fault("status_503")] * 20)
        for _ in range(10):
            with pytest.raises(SurefootError):
                chat.invoke("hi")
    found = samples(metrics)
    assert found["surefoot_breaker_open", "openai:m"] == 1
    assert found["surefoot_calls_total", "Overloaded", "chat"] >= 3
    assert found["surefoot_calls_total", "CircuitOpen", "chat"] >= 1


def test_a_registry_of_ones_own_takes_them():
    """Beside the metrics of the application; a second set in the same registry is refused by the client's own error."""
    import prometheus_client as client

    registry = client.CollectorRegistry()
    client.Counter("mine", "of the application", registry=registry).inc()
    assert b"mine_total 1.0" in PrometheusMetrics(registry).exposition()
    with pytest.raises(ValueError, match="Duplicated"):
        PrometheusMetrics(registry)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_finds_nothing_to_say():
    """Help, units and suffixes as Prometheus wants them."""
    checked = subprocess.run(["promtool", "check", "metrics"], input=PrometheusMetrics().exposition(), capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
