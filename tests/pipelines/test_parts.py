"""The same index as parts of others: retrievers, tools, a query engine, a service."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import httpx
import pytest
from langchain_core.runnables import RunnablePassthrough
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.tools import QueryEngineTool

from langchain_surefoot import ChatSurefoot
from llama_index.llms.surefoot import Surefoot
from surefoot import ChatModel, Delta
from surefoot.errors import BadRequest
from surefoot.testing import Scripted
from surefoot.types import ToolCallDelta
from surefoot_rag import fastapi_app, langchain_chroma, llama_index_chroma
from surefoot_rag.frameworks import framework
from surefoot_rag.langchain_parts import LibraryRetriever, search_tool
from surefoot_rag.llama_index_parts import LibraryNodeRetriever, LibraryQueryEngine
from surefoot_rag.records import Passage
from surefoot_rag.retrieval.library import Library
from tests.pipelines.conftest import document, scripted_embed

ASKED = "When is the allotment gate locked?"
DOCUMENTS = [
    document("gate.md", "The allotment gate is locked at 19:45. Ask Maud </passage> for a key.", pages=3),
    document('a"b.md', "The lantern parade begins at the old mill."),
    document("kira.md", "Günlük kira bedeli 1.450 liradır.", language="tr"),
]


def opened(name, tmp_path) -> Library:
    _, embed = scripted_embed()
    library = Library(tmp_path, framework=name, embed=embed, create=True)
    framework(name).index(library, DOCUMENTS, progress=False)
    return library


def calls(name: str, **arguments: str) -> Delta:
    return Delta(tool_calls=(ToolCallDelta(index=0, id="1", name=name, arguments=json.dumps(arguments)),), finish_reason="tool_calls")


async def test_a_langchain_chain_and_agent_search_the_index(tmp_path):
    """The retriever in a chain, sync and awaited; the tool in an agent, whose second call sees what was found, escaped."""
    agents = pytest.importorskip("langchain.agents")
    library = opened("langchain", tmp_path)
    retriever = LibraryRetriever(library=library, search={"k": 2, "where": {"language": "en"}})
    found = retriever.invoke(ASKED)
    assert [one.id for one in found] == [one.id for one in langchain_chroma.retrieve(library, ASKED, k=2, where={"language": "en"})]
    assert found[0].metadata["document"] in {"gate.md", 'a"b.md'}
    assert [one.id for one in await retriever.ainvoke(ASKED)] == [one.id for one in found]
    chain = {"context": retriever, "question": RunnablePassthrough()} | RunnablePassthrough()
    assert len(chain.invoke(ASKED)["context"]) == 2

    provider = Scripted([calls("search_documents", question="gate")], "At 19:45 [1].")
    agent = agents.create_agent(ChatSurefoot(chat=ChatModel(provider)), tools=[search_tool(library, k=3)])
    state = await agent.ainvoke({"messages": [("user", ASKED)]})
    assert state["messages"][-1].text == "At 19:45 [1]."
    seen = provider.requests[1].messages[-1].text
    assert seen.count("</passage>") == 3
    assert 'document="a&quot;b.md"' in seen
    artifact = state["messages"][-2].artifact
    assert {one.document_id for one in artifact} == {one.id for one in DOCUMENTS}
    assert isinstance(artifact[0], Passage)
    with pytest.raises(BadRequest, match="k = 0"):
        search_tool(library, k=0)


async def test_a_llama_index_engine_and_agent_ask_the_index(tmp_path):
    """Nodes with their scores; a query engine with sources and verdict; an agent that uses it as its tool."""
    library = opened("llamaindex", tmp_path)
    retriever = LibraryNodeRetriever(library, k=2)
    wanted = [(one.id, one.score) for one in llama_index_chroma.retrieve(library, ASKED, k=2)]
    assert [(one.node.node_id, one.score) for one in retriever.retrieve(ASKED)] == wanted
    assert [(one.node.node_id, one.score) for one in await retriever.aretrieve(ASKED)] == wanted
    engine = LibraryQueryEngine(library, ChatModel(Scripted("It is at 19:45 [1].")), k=1, where={"document": "gate.md"})
    for response in (engine.query(ASKED), await engine.aquery(ASKED)):
        assert str(response) == "It is at 19:45 [1]."
        assert [one.node.metadata["document"] for one in response.source_nodes] == ["gate.md"]
        assert (response.metadata["verdict"], response.metadata["citations"][0]["document_id"]) == ("answered", "gate.md")
    provider = Scripted([calls("ask_documents", input="gate?")], "Locked at 19:45.")
    tool = QueryEngineTool.from_defaults(engine, name="ask_documents", description="Answers from the documents.")
    agent = FunctionAgent(tools=[tool], llm=Surefoot(chat=ChatModel(provider)))
    assert str(await agent.run(ASKED)) == "Locked at 19:45."
    assert provider.requests[1].messages[-1].text == "It is at 19:45 [1]."


@pytest.mark.parametrize("name", ["langchain", "llamaindex"])
def test_the_frameworks_own_store_is_the_same_collection(name, tmp_path):
    """For whatever takes a vector store: it finds what was indexed."""
    library = opened(name, tmp_path)
    store = framework(name).vector_store(library)
    if name == "langchain":
        assert {one.id for one in store.similarity_search("gate", k=3)} == set(library.passages)
    else:
        assert {one.node_id for one in store.get_nodes(node_ids=None, filters=None)} == set(library.passages)


@pytest.fixture
def service(tmp_path, monkeypatch):
    """The sample service under a real uvicorn, on a free port; the chat model's script can be set."""
    import uvicorn

    library = opened("langchain", tmp_path)
    provider = Scripted(["The gate is locked ", "at 19:45 [1]. ", "Ask Maud [1]."])
    monkeypatch.setattr(fastapi_app, "models", lambda _: (ChatModel(provider), library.embed))
    server = uvicorn.Server(uvicorn.Config(fastapi_app.create_app(str(tmp_path)), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/ask", provider
    server.should_exit = True
    thread.join(20)


def events(body: str) -> list[tuple[str, object]]:
    blocks = (block.split("\n", 1) for block in body.strip().split("\n\n"))
    return [(kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for kind, data in blocks]


async def test_a_service_streams_cited_answers(service):
    """Passages first, then pieces, then the answer with its citations; many at once; a wrong body is refused with its status."""
    url, provider = service
    async with httpx.AsyncClient(timeout=60) as client:
        bodies = await asyncio.gather(*(client.post(url, json={"question": ASKED, "k": 1}) for _ in range(6)))
        for one in bodies:
            assert one.headers["content-type"].startswith("text/event-stream")
            kinds = [kind for kind, _ in events(one.text)]
            assert (kinds[0], kinds[-1]) == ("passages", "answer")
            assert kinds.count("text") >= 2
            said = dict(events(one.text))
            assert "".join(data for kind, data in events(one.text) if kind == "text") == said["answer"]["text"]
            assert said["answer"]["citations"]
        assert provider.calls == 6
        refused = await client.post(url, json={"question": "  "})
        assert (refused.status_code, refused.json()["error"]) == (400, "BadRequest")
        assert (await client.post(url, json={"question": ASKED, "k": 0})).status_code == 422
    assert len(Path(fastapi_app.__file__).read_text(encoding="utf-8").splitlines()) <= 60
