"""Each route by real clients over real HTTP."""

from __future__ import annotations

import openai
import pytest

from surefoot.testing.wire import OpenAISim
from tests.gateway.conftest import KEY, Served


@pytest.fixture
def client(gateway: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0)


def test_models_are_those_of_the_configuration(client: openai.OpenAI):
    """By their names there; any other is a 404 that says which there are."""
    assert [one.id for one in client.models.list()] == ["default", "claude", "embedder"]
    assert client.models.retrieve("claude").id == "claude"
    with pytest.raises(openai.NotFoundError, match="there are: default, claude"):
        client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "x"}])


@pytest.mark.parametrize("form", ["float", "base64"])
def test_vectors_are_those_of_the_direct_wire(form: str, client: openai.OpenAI, sim: OpenAISim):
    """In numbers and in base64, of one text and of many."""
    direct = openai.OpenAI(base_url=f"{sim.url}/v1", api_key="any", max_retries=0)
    for given in ("one text", ["a", "b"]):
        asked = {"input": given, "dimensions": 8, "encoding_format": form}
        ours = client.embeddings.create(model="embedder", **asked)
        theirs = direct.embeddings.create(model="text-embedding-3-small", **asked)
        assert ours.usage == theirs.usage
        if form == "base64":
            assert [one.embedding for one in ours.data] == [one.embedding for one in theirs.data]
        else:
            for one, other in zip(ours.data, theirs.data, strict=True):
                assert one.embedding == pytest.approx(other.embedding, rel=1e-6)
    with pytest.raises(openai.BadRequestError, match="tokens"):
        client.embeddings.create(model="embedder", input=[[1, 2]])
