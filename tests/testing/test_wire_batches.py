"""The simulated batch APIs, by the vendors' own SDKs: what these send is taken, and what comes back they can read."""

from __future__ import annotations

import io
import json

import pytest

from surefoot.testing.wire import AnthropicSim, GeminiSim, OpenAISim


def test_openai_batches_by_its_sdk():
    """File up, batch, looks, list, both files down; an item that fails stands in the file of errors."""
    import openai

    with OpenAISim(answer="well") as sim, openai.OpenAI(base_url=f"{sim.url}/v1", api_key="k", max_retries=0) as client:
        sim.desk.looks = 2
        bodies = [{"model": "gpt-5-mini", "messages": [{"role": "user", "content": "q"}]}, {"model": "gpt-5-mini", "messages": []}]
        lines = [{"custom_id": f"c{n}", "method": "POST", "url": "/v1/chat/completions", "body": body} for n, body in enumerate(bodies)]
        file = client.files.create(file=("b.jsonl", io.BytesIO("\n".join(map(json.dumps, lines)).encode())), purpose="batch")
        made = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"surefoot": "mine"}
        )
        assert made.status == "in_progress"
        assert [(one.id, one.metadata) for one in client.batches.list()] == [(made.id, {"surefoot": "mine"})]
        assert client.batches.retrieve(made.id).status == "in_progress"
        ended = client.batches.retrieve(made.id)
        assert (ended.status, ended.request_counts.completed, ended.request_counts.failed) == ("completed", 1, 1)
        (well,) = map(json.loads, client.files.content(ended.output_file_id).iter_lines())
        assert (well["custom_id"], well["response"]["body"]["choices"][0]["message"]["content"]) == ("c0", "well")
        (ill,) = map(json.loads, client.files.content(ended.error_file_id).iter_lines())
        assert (ill["custom_id"], ill["response"]["status_code"]) == ("c1", 400)
        sim.desk.looks = 9
        other = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        assert client.batches.cancel(other.id).status == "cancelling"
        assert client.batches.retrieve(other.id).status == "cancelled"
        with pytest.raises(openai.ConflictError):
            client.batches.cancel(other.id)


def test_anthropic_batches_by_its_sdk():
    """Requests in one body; results by custom id, each with what came of it."""
    import anthropic

    with AnthropicSim(answer="well") as sim, anthropic.Anthropic(base_url=sim.url, api_key="k", max_retries=0) as client:
        params = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}]}
        batches = client.messages.batches
        made = batches.create(requests=[{"custom_id": "c0", "params": params}, {"custom_id": "c1", "params": params | {"messages": []}}])
        assert (made.processing_status, made.request_counts.processing) == ("in_progress", 2)
        assert [one.id for one in batches.list()] == [made.id]
        ended = batches.retrieve(made.id)
        assert (ended.processing_status, ended.request_counts.succeeded, ended.request_counts.errored) == ("ended", 1, 1)
        well, ill = batches.results(made.id)
        assert (well.custom_id, well.result.type, well.result.message.content[0].text) == ("c0", "succeeded", "well")
        assert (ill.custom_id, ill.result.type, ill.result.error.error.type) == ("c1", "errored", "invalid_request_error")
        sim.desk.looks = 9
        other = batches.create(requests=[{"custom_id": "c0", "params": params}])
        assert batches.cancel(other.id).processing_status == "canceling"
        assert batches.retrieve(other.id).processing_status == "ended"
        assert [one.result.type for one in batches.results(other.id)] == ["canceled"]


def test_gemini_batches_by_its_sdk():
    """Inline requests with a name; each answer carries the metadata of its request."""
    from google import genai
    from google.genai import types

    with GeminiSim(answer="well") as sim:
        client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=sim.url, api_version="v1beta"))
        asked = {"contents": [{"role": "user", "parts": [{"text": "q"}]}], "metadata": {"key": "c0"}}
        made = client.batches.create(model="gemini-2.5-flash", src=[asked], config={"display_name": "mine"})
        assert (made.state, made.display_name) == (types.JobState.JOB_STATE_RUNNING, "mine")
        assert [one.display_name for one in client.batches.list()] == ["mine"]
        ended = client.batches.get(name=made.name)
        assert ended.state is types.JobState.JOB_STATE_SUCCEEDED
        (well,) = ended.dest.inlined_responses
        assert (well.metadata, well.response.text) == ({"key": "c0"}, "well")
        sim.desk.looks = 9
        other = client.batches.create(model="gemini-2.5-flash", src=[asked])
        client.batches.cancel(name=other.name)
        assert client.batches.get(name=other.name).state is types.JobState.JOB_STATE_CANCELLED
