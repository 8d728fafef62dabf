"""How targets stand, as a model tells it."""

from __future__ import annotations

from surefoot import ChatModel, Policy, Target
from surefoot.testing.wire import OpenAISim


def test_a_target_is_told_with_its_limits_and_its_breaker():
    """Nothing before the first call; closed and idle after one."""
    with OpenAISim() as sim:
        target = Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key="k", concurrency=3, requests_per_minute=600)
        chat = ChatModel(target, policy=Policy(attempts=1))
        assert chat.states() == ()
        chat.invoke("hi")
        (one,) = chat.states()
        assert (one.target, one.breaker, one.in_flight, one.limit, one.waiting) == ("openai:gpt-5-mini", "closed", 0, 3, 0)
        assert (one.requests_per_minute, one.tokens_per_minute) == (600, None)
        chat.close()
        assert chat.states() == ()
