"""A target with chaos in front: what users rehearse a bad day with."""

from __future__ import annotations

import pytest

from surefoot import ChatModel, EmbedModel, Policy, Target
from surefoot.errors import Misconfigured, QuotaExhausted
from surefoot.testing import Chaos, Chaotic, Scripted
from surefoot.testing.wire import OpenAISim

QUICK = Policy(attempts=6, backoff_base_s=0.001)
HARD = {"server_error": 0.2, "reset": 0.1}


def test_calls_get_through_a_bad_day_and_say_what_it_took():
    """The same seed gives the same day."""
    trails = []
    for _ in range(2):
        provider = Scripted("fine", name="a:m")
        chat = ChatModel(Chaotic(provider, Chaos(rates=HARD, seed=3)), policy=QUICK)
        replies = [chat.invoke(f"question {n}") for n in range(5)]
        assert {reply.text for reply in replies} == {"fine"}
        assert provider.calls == 5  # a fault before the request reaches nobody
        trails.append([[one.error for one in reply.trail] for reply in replies])
    assert trails[0] == trails[1]
    assert any(len(trail) > 1 for trail in trails[0])


def test_faults_carry_the_targets_name():
    """As if the provider had said it."""
    chat = ChatModel(Chaotic(Scripted(name="a:m"), Chaos(rates={"quota": 1.0})), policy=QUICK)
    with pytest.raises(QuotaExhausted) as caught:
        chat.invoke("hi")
    assert caught.value.target == "a:m"


def test_a_real_target_and_embeddings_go_through_it():
    """By name, as everywhere."""
    with OpenAISim() as sim:
        target = Target("openai:m", base_url=f"{sim.url}/v1", api_key="sk-test")
        embed = EmbedModel(Chaotic(target, Chaos(rates=HARD, seed=4)), policy=QUICK)
        assert embed.embed(["one", "two"]).shape[0] == 2
        assert len(sim.requests) == 1
        embed.close()


def test_what_is_no_target_is_refused():
    """Told when built."""
    with pytest.raises(Misconfigured, match="not int"):
        Chaotic(3, Chaos())
