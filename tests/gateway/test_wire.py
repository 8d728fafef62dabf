"""Chat completions through the gateway, by OpenAI's own SDK over real HTTP, beside the same call on the direct wire."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from surefoot.testing.wire import OpenAISim, fault
from tests.gateway.conftest import KEY, Served

ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Merhaba, what is the capital of Iceland?"}]}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "d",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
def client(gateway: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0)


@pytest.fixture
def direct(sim: OpenAISim) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{sim.url}/v1", api_key="any", max_retries=0)


PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


CORPUS: dict[str, dict[str, Any]] = {
    "plain": ASKED,
    "options": {
        **ASKED,
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 50,
        "stop": ["zzz"],
        "seed": 7,
        "user": "u1",
        "frequency_penalty": 0.1,
    },
    "system": {"messages": [{"role": "developer", "content": "Be brief."}, *ASKED["messages"]]},
    "tools": {**ASKED, "tools": [TOOL], "tool_choice": "required"},
    "one tool": {**ASKED, "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
    "schema": {
        **ASKED,
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "city",
                "strict": True,
                "schema": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}},
                    "required": ["name"],
                    "additionalProperties": False,
                },
            },
        },
    },
    "json": {"messages": [{"role": "user", "content": "WholeAnswer in JSON."}], "response_format": {"type": "json_object"}},
    "logprobs": {**ASKED, "logprobs": True, "top_logprobs": 2},
    "three": {**ASKED, "n": 3},
    "picture": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {
                        "type": "image_url",
                        "image_url": {
                            "url": PNG,
                            "detail": "low",
                        },
                    },
                ],
            }
        ]
    },
    "tool result": {
        "messages": [
            *ASKED["messages"],
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        ],
        "tools": [TOOL],
    },
}


def plain(answer: Any) -> Any:
    """An answer without what no two calls share: ids, and when it was made."""

    def stripped(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: stripped(one) for name, one in value.items() if name not in {"id", "created", "created_at", "completed_at", "item_id"}
            }
        return [stripped(one) for one in value] if isinstance(value, list) else value

    return stripped(answer.model_dump())


@pytest.mark.parametrize("name", CORPUS)
def test_an_answer_is_what_the_direct_wire_gives(name: str, client: openai.OpenAI, direct: openai.OpenAI):
    """Whole and streamed: each field of the SDK's objects is the same."""
    asked = {"model": "gpt-5-mini", **CORPUS[name]}
    through = {**asked, "model": "default"}
    assert plain(client.chat.completions.create(**through)) == plain(direct.chat.completions.create(**asked))
    for options in ({}, {"stream_options": {"include_usage": True}}):
        ours = list(client.chat.completions.create(**through, stream=True, **options))
        theirs = list(direct.chat.completions.create(**asked, stream=True, **options))
        assert [plain(one) for one in ours] == [plain(one) for one in theirs]


def test_what_goes_upstream_is_what_was_sent(client: openai.OpenAI, sim: OpenAISim):
    """A field that nobody knows is passed on as it is."""
    client.chat.completions.create(model="default", **ASKED, extra_body={"new_field": {"a": [1, 2]}, "metadata": {"x": "y"}})
    sent = sim.requests[-1].json
    assert sent["new_field"] == {"a": [1, 2]}
    assert sent["metadata"] == {"x": "y"}
    assert sent["messages"] == ASKED["messages"]


def test_a_stream_that_is_cut_ends_with_an_error_and_no_end_mark(gateway: Served, sim: OpenAISim, client: openai.OpenAI):
    """Half an answer never passes for a whole one."""
    sim.script([fault("stream_cut")])
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="default", **ASKED, stream=True))


@pytest.mark.parametrize("route", ["chat/completions", "embeddings", "messages"])
@pytest.mark.parametrize(
    "said", [{"extra_body": {"model": "gpt-9"}}, {"extra_headers": {"authorization": "Bearer x"}}, {"extra_query": None}]
)
def test_the_librarys_own_words_are_no_fields(route: str, said: dict[str, Any], gateway: Served, sim: OpenAISim):
    """In the library they name another model and write headers; a key that may ask one model would ask any."""
    body = {"model": "embedder", "input": "a"} if route == "embeddings" else {**ASKED, "model": "default", "max_tokens": 9}
    answer = httpx.post(f"{gateway.url}/v1/{route}", headers={"authorization": f"Bearer {KEY}"}, json={**body, **said}, timeout=60)
    assert (answer.status_code, sim.request_count) == (400, 0)
    assert "extra_" in answer.json()["error"]["message"]
