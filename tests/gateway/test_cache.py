"""An answer out of the cache says how it came: exact, past its time in an outage, of the same question in other words."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from surefoot.gateway.records import KeyGrant
from surefoot.gateway.services import StaticKeys
from surefoot.models.embed import EmbedModel
from surefoot.settings import Policy, Semantic
from surefoot.testing.wire import OpenAISim, fault
from tests.gateway.conftest import FAST, KEY, openai_target, served


def test_each_answer_of_the_cache_is_labelled(sim: OpenAISim):
    """Whole and streamed; in an outage the share that is answered is what the cache holds, and none without its label."""
    embed = EmbedModel(openai_target(sim, "text-embedding-3-small", dimensions=8))
    fresh = {
        "targets": [openai_target(sim)],
        "policy": FAST,
        "cache": "memory",
        "semantic": Semantic(embed=embed, threshold=0.2, patience_s=60.0),
    }
    past = Policy(cache_ttl_s=0.001, cache_stale_s=3600.0, attempts=1, coalesce=False)
    models = {"fresh": fresh, "past": {"targets": [openai_target(sim)], "policy": past, "cache": "memory"}}
    with served({"chat": models}) as one, httpx.Client(base_url=one.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60) as client:

        def ask(model: str, question: str, **said: Any) -> tuple[int, str | None]:
            body = {"model": model, "messages": [{"role": "user", "content": question}], "temperature": 0, **said}
            answer = client.post("/v1/chat/completions", json=body)
            return answer.status_code, answer.headers.get("x-surefoot-cache")

        iceland = "What is the capital of Iceland?"
        assert ask("fresh", iceland) == (200, None)
        assert ask("fresh", iceland) == (200, "hit")
        assert ask("fresh", "what is the capital of Iceland") == (200, "semantic")
        assert ask("past", iceland) == (200, None)
        sim.script(fault("status_503"))
        for stream in (False, True):
            assert ask("past", iceland, stream=stream) == (200, "stale")
            assert ask("past", "What is the capital of Malta?", stream=stream) == (503, None)


@pytest.mark.parametrize("stream", [False, True])
def test_equal_requests_at_once_are_one_call_a_team(stream: bool):
    """Whoever of a team asks: the vendor is asked once, and each client gets the whole answer; another team's are another call."""
    keys = {f"sf-{name}-0123456789abcdefghijklmnopqrstuv": KeyGrant(key_id=name, team=name[0]) for name in ("a1", "a2", "b1", "b2")}
    asked = {"model": "default", "messages": [{"role": "user", "content": "Same?"}], "temperature": 0, "stream": stream}
    with OpenAISim(latency_s=1.0) as slow, served({"chat": {"default": {"targets": [openai_target(slow)]}}}, StaticKeys(keys)) as one:

        async def ask_all() -> list[str]:
            async with httpx.AsyncClient(base_url=one.url, timeout=60) as client:
                asks = [
                    client.post("/v1/chat/completions", json=asked, headers={"authorization": f"Bearer {key}"})
                    for key in keys
                    for _ in range(6)
                ]
                return [answer.text for answer in await asyncio.gather(*asks)]

        answers = asyncio.run(ask_all())
        assert slow.request_count == 2
        assert len(set(answers)) == 2
        assert all(("[DONE]" if stream else "Same?") in text for text in answers)
