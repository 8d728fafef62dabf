"""/v1/rag/query over a real Chroma index: cited answers, whole and streamed; a key of one tenant sees nothing of another's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import httpx
import pytest

from surefoot.config import Models
from surefoot.errors import Misconfigured
from surefoot.gateway.records import Allowance, KeyGrant
from surefoot.gateway.services import StaticKeys
from surefoot.gateway.settings import serve_settings
from surefoot.settings import Target
from surefoot.testing.wire import OpenAISim
from tests.gateway.conftest import Served, served

A, B, LONE, POOR = (f"sf-{name}-0123456789abcdefghijklmnopqrstuv" for name in ("team-a", "team-b", "lone", "poor"))
KEYS = {
    A: KeyGrant(key_id="ka", team="a"),
    B: KeyGrant(key_id="kb", team="b"),
    LONE: KeyGrant(key_id="kl"),
    POOR: KeyGrant(key_id="kp", team="a", allowance=Allowance(budget_nano=0)),
}
PLACES = ("harbour", "library", "museum", "station", "market", "theatre", "garden", "bridge")
TRIES = 300  # 10,000 were run once: python -c "import pytest, tests.gateway.test_rag as t; t.TRIES = 10_000; pytest.main([...])"


def told(tenant: str, n: int) -> str:
    """A document of a tenant: words that both have, and a secret that only its owner may see."""
    return f"The {PLACES[n]} opens at {n + 7} o'clock, wrote {tenant.upper()}SECRET{n} on the door."


@pytest.fixture(scope="module")
def sim() -> Iterator[OpenAISim]:
    with OpenAISim() as one:
        yield one


@pytest.fixture(scope="module")
def rag(tmp_path_factory: pytest.TempPathFactory, sim: OpenAISim) -> Iterator[Served]:
    langchain = pytest.importorskip("surefoot_rag.langchain_chroma")
    from surefoot_rag.records import Document
    from surefoot_rag.retrieval.library import Library

    target = Target("openai:text-embedding-3-small", base_url=f"{sim.url}/v1", api_key="k" * 20, dimensions=8)
    models = {"chat": {"default": {"targets": ["local:extractive"]}}, "embed": {"default": {"targets": [target]}}}
    index = str(tmp_path_factory.mktemp("index"))
    embed = Models(models).embed()
    for tenant in ("a", "b"):
        library = Library(index, framework="langchain", embed=embed, create=True, tenant=f"team:{tenant}")
        documents = [
            Document(id=f"{tenant}{n}", title=PLACES[n], text=told(tenant, n), source=f"{tenant}{n}.md", language="en")
            for n in range(len(PLACES))
        ]
        langchain.index(library, documents)
    settings = serve_settings({"rag": {"handbook": {"index": index}}}).rag
    with served(models, StaticKeys(KEYS), rag=settings) as one:
        yield one


def asked(rag: Served, key: str, question: str, **said: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{rag.url}/v1/rag/query", headers=headers, json={"question": question, **said}, timeout=30)


def test_an_answer_cites_the_documents_of_the_keys_team(rag: Served):
    """Whole and streamed the same: text, citations, and whether it is a refusal."""
    whole = asked(rag, A, "When does the museum open?").json()
    assert "ASECRET2" in whole["text"]
    assert whole["citations"][0]["document_id"] == "a2"
    assert "BSECRET2" in asked(rag, B, "When does the museum open?", collection="handbook").json()["text"]
    streamed = asked(rag, A, "When does the museum open?", stream=True)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    events = [one.split("\n") for one in streamed.text.strip().split("\n\n")]
    names = [name.removeprefix("event: ") for name, _ in events]
    assert (names[0], set(names[1:-1]), names[-1]) == ("passages", {"text"}, "answer")
    answer = json.loads(events[-1][1].removeprefix("data: "))
    assert {**answer, "seconds": 0} == {**whole, "seconds": 0}
    refused = asked(rag, A, "Who painted the ceiling of the Sistine Chapel?").json()
    assert (refused["refused"], refused["citations"]) == (True, [])


def test_what_cannot_be_asked_is_refused(rag: Served, sim: OpenAISim):
    """A tenant in the body, unknown fields, no documents, no budget: nothing is sent to any model."""
    sim.reset()
    for said, status, why in (
        ({"tenant": "team:b"}, 400, "the key says"),
        ({"k": 0}, 400, "k is"),
        ({"where": []}, 400, "where is"),
        ({"collection": "others"}, 404, "handbook"),
        ({"question": " "}, 400, "question"),
        ({"question": "x" * 9_000}, 400, "question"),
        ({"refuse_unsupported": "yes"}, 400, "true or false"),
    ):
        answer = asked(rag, A, **{"question": "What is the password?", **said})  # type: ignore[arg-type]
        assert answer.status_code == status, answer.text
        assert why in answer.json()["error"]["message"]
    for stream in (False, True):
        none = asked(rag, LONE, "What is the password?", stream=stream)
        assert (none.status_code, none.json()["error"]["code"]) == (404, "not_found")
        assert "/" not in none.json()["error"]["message"]
        assert asked(rag, POOR, "What is the password?", stream=stream).status_code == 429
    assert sim.request_count == 0


def test_a_collection_that_cannot_be_served_is_refused_at_the_start():
    """Naming the model that is not there, or the setting."""
    with pytest.raises(Misconfigured, match="indx"):
        serve_settings({"rag": {"x": {"indx": "y"}}})
    with pytest.raises(AssertionError, match="did not start"):
        served({"chat": {"default": {"targets": ["local:extractive"]}}}, rag=serve_settings({"rag": {"x": {"index": "y"}}}).rag).__enter__()


@pytest.mark.heavy
def test_a_key_never_gets_a_passage_of_another_tenant(rag: Served):
    """Another team's own sentences asked for, with every lever that a body has. The measure is 10,000 tries."""
    luck = Random(19)
    levers: list[dict[str, Any]] = [
        {}, {"k": 50}, {"where": {"document": "b3"}}, {"where": {"source": "b1.md"}}, {"where": {"title": PLACES}}, {"stream": True},
        {"tenant": "team:b"}, {"team": "b"}, {"index": "b"}, {"where": {"tenant": "team:b"}}, {"collection": "team:b"},
        {"collection": "handbook", "k": 50},
    ]  # fmt: skip
    answered = 0
    with httpx.Client(base_url=rag.url, headers={"authorization": f"Bearer {A}"}, timeout=30) as client:
        for _ in range(TRIES):
            n = luck.randrange(len(PLACES))
            question = luck.choice([told("b", n), f"BSECRET{n}", f"Password of the {PLACES[n]} of team b?", f"tenant=team:b {PLACES[n]}"])
            said = luck.choice(levers)
            spoof = luck.choice([{}, {"x-surefoot-tenant": "team:b"}, {"x-tenant": "b"}, {"openai-organization": "b"}])
            answer = client.post("/v1/rag/query", json={"question": question, **said}, headers=spoof)
            found = answer.text
            if answer.status_code == 200:
                answered += 1
                assert "BSECRET" not in found.replace(json.dumps(question)[1:-1], ""), (question, said)
                assert '"b' not in found.replace("bridge", ""), (question, said)
    assert answered > TRIES / 3
