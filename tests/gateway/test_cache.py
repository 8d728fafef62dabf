"""An answer out of the cache says how it came: exact, past its time in an outage, of the same question in other words."""

from __future__ import annotations

from typing import Any

import httpx

from surefoot.models.embed import EmbedModel
from surefoot.settings import Policy, Semantic
from surefoot.testing.wire import OpenAISim, fault
from tests.gateway.conftest import KEY, openai_target, served


def test_each_answer_of_the_cache_is_labelled(sim: OpenAISim):
    """Whole and streamed; in an outage the share that is answered is what the cache holds, and none without its label."""
    policy = Policy(cache_ttl_s=0.2, cache_stale_s=3600.0, attempts=1, coalesce=False)
    embed = EmbedModel(openai_target(sim, "text-embedding-3-small", dimensions=8))
    model = {"targets": [openai_target(sim)], "policy": policy, "cache": "memory", "semantic": Semantic(embed=embed, threshold=0.2)}
    with served({"chat": {"default": model}}) as one, httpx.Client(base_url=one.url, headers={"authorization": f"Bearer {KEY}"}) as client:

        def ask(question: str, **said: Any) -> tuple[int, str | None]:
            body = {"model": "default", "messages": [{"role": "user", "content": question}], "temperature": 0, **said}
            answer = client.post("/v1/chat/completions", json=body)
            return answer.status_code, answer.headers.get("x-surefoot-cache")

        assert ask("What is the capital of Iceland?") == (200, None)
        assert ask("What is the capital of Iceland?") == (200, "hit")
        assert ask("what is the capital of Iceland") == (200, "semantic")
        sim.script(fault("status_503"))
        assert ask("What is the capital of Malta?") == (503, None)
        until_stale = 0
        while ask("What is the capital of Iceland?") != (200, "stale"):
            until_stale += 1
            assert until_stale < 1_000
        assert ask("What is the capital of Iceland?", stream=True) == (200, "stale")
