"""Copies and pickles of the four classes: what is shared stays shared, and a key never travels."""

from __future__ import annotations

import copy
import multiprocessing
import pickle  # noqa: TID251 - what process pools do to components
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from langchain_core.load import dumps, loads
from llama_index.core import Document
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import TextNode
from openai import AsyncOpenAI

from langchain_surefoot import ChatSurefoot, SurefootEmbeddings
from llama_index.embeddings.surefoot import SurefootEmbedding
from llama_index.llms.surefoot import Surefoot
from surefoot import ChatModel, EmbedModel, Target
from surefoot.adapter.pickling import Sealed, opened
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


LITERAL = {
    "api_key": "sk-literal",
    "fallbacks": ["openai:p", Target("openai:n", api_key="sk-other", headers={"x-key": "sk-third"}), Target("openai:q", api_key="env:Q")],
    "headers": {"x-key": "sk-fourth"},
    "options": {"proxy": "http://user:sk-fifth@127.0.0.1:9"},
    "idle_s": 7,
}


def test_a_literal_key_travels_sealed(make, monkeypatch):
    """Worker processes of this one can open it, as they share what multiprocessing gives a family; nobody else can."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")
    monkeypatch.setenv("Q", "sk-from-the-environment")
    first = make(**LITERAL)
    data = pickle.dumps(first)
    assert b"sk-" not in data
    again = pickle.loads(data)
    assert again.surefoot is first.surefoot  # equal settings share one model in a process
    assert again.api_key.get_secret_value() == "sk-literal"
    monkeypatch.setattr(multiprocessing.current_process(), "authkey", b"another family")
    with pytest.raises(Misconfigured, match=r"pickled by another program.*api_key='env:"):
        pickle.loads(data)


@pytest.mark.parametrize("at", [0, 20, 50, -1], ids=["nonce", "seal", "text", "end"])
def test_a_spoilt_seal_is_told(at):
    """One byte of it changed, wherever it stands; nothing of it is read then."""
    _, (data,) = Sealed("sk-literal").__reduce__()
    assert opened(data) == "sk-literal"
    spoilt = bytearray(data)
    spoilt[at] ^= 1
    with pytest.raises(Misconfigured, match="another program"):
        opened(bytes(spoilt))


@pytest.mark.parametrize(
    ("fields", "names"),
    [({"surefoot_cache": MemoryStore()}, "name the cache"), ({"client": AsyncOpenAI(api_key="sk-x")}, "SDK client")],
)
def test_what_a_pickle_would_lose_is_told(make, fields, names, monkeypatch):
    """LlamaIndex drops in silence what it cannot pickle."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")
    with pytest.raises(TypeError, match=names):
        pickle.dumps(make(**fields))


def _asked(component: Any) -> Any:
    return component.surefoot.describe(), component.get_text_embedding("x")


@pytest.mark.heavy
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_ask_with_the_literal_key(method, sim):
    """However the processes are started: with the address, the key and the policy of the one that sent it."""
    first = SurefootEmbedding(
        "openai:text-embedding-3-small", base_url=f"{sim.url}/v1", api_key="sk-literal", headers={"x-team": "blue"}, attempts=1
    )
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        described, vector = pool.submit(_asked, first).result(timeout=120)
    assert vector == first.get_text_embedding("x")
    assert "1 attempts" in described
    assert {request.headers.get("authorization") for request in sim.requests} == {"Bearer sk-literal"}
    assert {request.headers.get("x-team") for request in sim.requests} == {"blue"}


@pytest.mark.heavy
def test_an_ingestion_with_workers_embeds_with_a_literal_key(sim):
    """Documents, the embedding model, two processes. No splitter: unpickled offline, LlamaIndex's wants a vocabulary from the network."""
    embedding = SurefootEmbedding("openai:text-embedding-3-small", base_url=f"{sim.url}/v1", api_key="sk-literal")
    documents = [Document(text=f"{word} sleeps all day long.") for word in ("A cat", "A dog", "An owl", "A fox")]
    nodes = IngestionPipeline(transformations=[embedding]).run(documents=documents, num_workers=2)
    assert len(nodes) == 4
    assert all(node.embedding for node in nodes)


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
