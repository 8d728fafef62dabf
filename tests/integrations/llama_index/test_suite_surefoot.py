"""The LlamaIndex suite over our two classes, through the three vendors' real SDKs, on loopback."""

from __future__ import annotations

import pytest

from llama_index.embeddings.surefoot import SurefootEmbedding
from llama_index.llms.surefoot import Surefoot
from llama_index_suite import EmbeddingSuite, LLMSuite
from surefoot.testing.wire import WireSim
from tests.integrations.conftest import address

KEY = "sk-simulated-key"


class Chat(LLMSuite):
    """Every check runs."""

    target = ""
    llm_class = Surefoot
    secrets = (KEY,)
    has_image_inputs = True
    has_document_inputs = True

    @pytest.fixture(autouse=True)
    def _vendor(self, vendors: dict[str, WireSim]) -> None:
        provider = self.target.partition(":")[0]
        vendors[provider].reset()
        type(self).llm_params = {"model": self.target, "base_url": address(provider, vendors[provider]), "api_key": KEY}


class TestOpenAI(Chat):
    target = "openai:gpt-5-mini"


class TestAnthropic(Chat):
    target = "anthropic:claude-haiku-4-5"


class TestGoogle(Chat):
    target = "google:gemini-3-flash"


class Embed(EmbeddingSuite):
    """Every check runs."""

    target = ""
    embedding_class = SurefootEmbedding
    secrets = (KEY,)

    @pytest.fixture(autouse=True)
    def _vendor(self, vendors: dict[str, WireSim]) -> None:
        provider = self.target.partition(":")[0]
        vendors[provider].reset()
        type(self).embedding_params = {"model_name": self.target, "base_url": address(provider, vendors[provider]), "api_key": KEY}


class TestOpenAIEmbedding(Embed):
    target = "openai:text-embedding-3-small"


class TestGoogleEmbedding(Embed):
    target = "google:gemini-embedding-001"
