# ruff: noqa: RUF012 - langchain-tests reads its settings off the class
"""langchain-tests' standard suites, set up once for every vendor: derive, name the model, say what the vendor cannot do.

No standard test is overridden, and every test has an event loop of its own: no client is tied to one. `test_stream_time` streams from
the simulators: its recorder leaves loopback alone, so nothing is recorded and nothing is timed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.runnables import Runnable
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests, EmbeddingsUnitTests

from langchain_surefoot import ChatSurefoot, SurefootEmbeddings
from surefoot.testing.wire import WireSim
from tests.integrations.conftest import address

KEY = "sk-simulated"
DETAILS = ["reasoning_output", "cache_read_input"]


class Unit(ChatModelUnitTests):
    """Construction, binding, serialisation."""

    target = ""
    variable = ""
    options: Mapping[str, Any] = {}
    chat_model_class = ChatSurefoot

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": self.target, "api_key": KEY, "options": self.options}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {self.variable: KEY}, {"model": self.target}, {"model": self.target}


@pytest.mark.usefixtures("served_files")
class Integration(ChatModelIntegrationTests):
    """Real calls through the vendor's SDK."""

    target = ""
    options: Mapping[str, Any] = {}
    chat_model_class = ChatSurefoot
    reasoning: Mapping[str, Any] = {"reasoning_effort": "medium"}
    supported_usage_metadata_details = {"invoke": DETAILS, "stream": DETAILS}
    supports_json_mode = True
    supports_image_inputs = True
    supports_image_urls = True
    supports_pdf_inputs = True
    supports_anthropic_inputs = True
    enable_vcr_tests = True

    @pytest.fixture(scope="session")
    def vcr_config(self) -> dict[str, Any]:
        return {"ignore_localhost": True, "record_mode": "none"}

    @pytest.fixture(autouse=True)
    def _vendor(self, vendors: dict[str, WireSim]) -> None:
        provider = self.target.partition(":")[0]
        vendors[provider].reset()
        where = address(provider, vendors[provider])
        type(self).chat_model_params = {"model": self.target, "base_url": where, "api_key": KEY, "options": self.options}

    def _ask(self, content: Any, *, stream: bool, **options: Any) -> AIMessage:
        llm: Runnable[Any, AIMessage] = ChatSurefoot(**self.chat_model_params).bind(**options)
        if not stream:
            return llm.invoke([HumanMessage(content)])
        whole = AIMessageChunk(content="")
        for chunk in llm.stream([HumanMessage(content)]):
            whole = whole + chunk
        return whole

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        return self._ask("Think about it.", stream=stream, **self.reasoning)

    def invoke_with_cache_creation_input(self, *, stream: bool = False) -> AIMessage:
        return self._ask(self._marked(f"new {stream}"), stream=stream)

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        self._ask(self._marked("known"), stream=stream)
        return self._ask(self._marked("known"), stream=stream)

    @staticmethod
    def _marked(word: str) -> list[Any]:
        return [{"type": "text", "text": f"{word} " * 5000, "cache_control": {"type": "ephemeral"}}]


class EmbedUnit(EmbeddingsUnitTests):
    """Construction."""

    target = ""
    variable = ""
    embeddings_class = SurefootEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": self.target, "api_key": KEY}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {self.variable: KEY}, {"model": self.target}, {"model": self.target}


class EmbedIntegration(EmbeddingsIntegrationTests):
    """Real calls through the vendor's SDK."""

    target = ""
    embeddings_class = SurefootEmbeddings

    @pytest.fixture(autouse=True)
    def _vendor(self, vendors: dict[str, WireSim]) -> None:
        provider = self.target.partition(":")[0]
        type(self).embedding_model_params = {"model": self.target, "base_url": address(provider, vendors[provider]), "api_key": KEY}
