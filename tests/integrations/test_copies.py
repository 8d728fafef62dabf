"""Copies and pickles of the four classes: what is shared stays shared, and a key never travels."""

from __future__ import annotations

import copy
import pickle  # noqa: TID251 - what process pools do to components
from typing import Any

import pytest
from langchain_core.load import dumps, loads
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import TextNode

from langchain_surefoot import ChatSurefoot, SurefootEmbeddings
from llama_index.embeddings.surefoot import SurefootEmbedding
from llama_index.llms.surefoot import Surefoot
from surefoot import ChatModel, EmbedModel, Target
from surefoot.errors import Misconfigured
from surefoot.storage.memory import MemoryStore
from surefoot.testing import Scripted

EVERY = {
    "ChatSurefoot": (ChatSurefoot, "model", "openai:m", "chat"),
    "SurefootEmbeddings": (SurefootEmbeddings, "model", "openai:m", "embed"),
    "Surefoot": (Surefoot, "model", "openai:m", "chat"),
    "SurefootEmbedding": (SurefootEmbedding, "model_name", "openai:m", "embed"),
}


@pytest.fixture(params=EVERY.values(), ids=EVERY)
def make(request: pytest.FixtureRequest) -> Any:
    kind, field, name, _ = request.param
    return lambda **fields: kind(**{field: name, **fields})


def test_a_deep_copy_shares_the_model_and_no_field(make):
    """Agents and graphs copy what they are built from; a lock or a key cannot be copied, and limits must not be."""
    first = make(api_key="sk-secret", fallbacks=(Target("openai:n", api_key="sk-other"),), surefoot_cache=MemoryStore())
    assert first.surefoot is not None
    again = copy.deepcopy({"llm": [first]})["llm"][0]
    assert again is not first
    assert again.surefoot is first.surefoot
    again.attempts = 1
    assert (first.attempts, again.surefoot.policy.attempts) == (3, 1)


@pytest.mark.parametrize(
    ("kind", "word", "model"), [(one[0], one[3], ChatModel if one[3] == "chat" else EmbedModel) for one in EVERY.values()]
)
def test_around_a_given_model_copies_keep_it_and_pickles_are_refused(kind, word, model):
    """A pickle without the model would ask the vendor's own address, with default policies."""
    given = model(Scripted("x"))
    whole = kind(**{word: given})
    assert copy.deepcopy(whole).surefoot is given
    with pytest.raises(TypeError, match="cannot be pickled: build it there"):
        pickle.dumps(whole)


def test_a_pickle_holds_no_key_and_builds_its_own_model(make, monkeypatch):
    """IngestionPipeline(num_workers=...) and job queues send their components to other processes."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")
    far = Target("openai:n", base_url="http://127.0.0.1:9/v1", api_key="env:OPENAI_API_KEY")
    first = make(base_url="http://127.0.0.1:8/v1", api_key="env:OPENAI_API_KEY", fallbacks=(far,), attempts=2, surefoot_cache="memory")
    assert first.surefoot is not None
    data = pickle.dumps(first)
    assert b"sk-from" not in data
    again = pickle.loads(data)
    assert (again.base_url, again.fallbacks, again.attempts, again.surefoot_cache) == (first.base_url, (far,), 2, "memory")
    assert again.surefoot is first.surefoot  # equal settings share one model in a process


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"api_key": "sk-secret"}, "literal api_key"),
        ({"fallbacks": (Target("openai:n", api_key="sk-secret"),)}, "literal api_key"),
        ({"surefoot_cache": MemoryStore()}, "name the cache"),
    ],
)
def test_what_a_pickle_would_spill_or_lose_is_told(make, fields, names, monkeypatch):
    """LlamaIndex drops in silence what it cannot pickle, and pickles a key in clear."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")
    with pytest.raises(TypeError, match=names):
        pickle.dumps(make(**fields))


FAR = Target("openai:n", base_url="http://127.0.0.1:9/v1", api_key="sk-secret", concurrency=2, headers=(("x-key", "sk-secret"),))


def test_a_stored_fallback_keeps_its_address_and_loses_its_key(monkeypatch):
    """By its name alone it would be asked at the vendor's own address, with whatever key stands in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")
    want = ("openai:p", Target("openai:n", base_url="http://127.0.0.1:9/v1", concurrency=2))
    for kind in (Surefoot, SurefootEmbedding):
        data = kind("openai:m", fallbacks=["openai:p", FAR]).to_json()
        assert kind.from_json(data).fallbacks == want
        assert "sk-secret" not in data
    text = dumps(ChatSurefoot(model="openai:m", fallbacks=["openai:p", FAR]))
    assert loads(text, valid_namespaces=["langchain_surefoot"], allowed_objects="all").fallbacks == want
    assert "sk-secret" not in text
    with pytest.raises(Misconfigured, match="a Target's fields are"):
        ChatSurefoot(model="openai:m", fallbacks=[{"name": "openai:n", "url": "http://127.0.0.1"}])


def test_a_pipelines_component_works_after_the_journey(sim, monkeypatch):
    """As a worker process would: unpickle, then embed."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-simulated")
    first = SurefootEmbedding(model_name="openai:text-embedding-3-small", base_url=f"{sim.url}/v1")
    again = pickle.loads(pickle.dumps(IngestionPipeline(transformations=[first]).transformations))[0]
    assert again([TextNode(text="x")])[0].embedding == first.get_text_embedding("x")
