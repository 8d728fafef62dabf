"""The checks of structured prediction and of engines."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core import Document, MockEmbedding, PromptTemplate, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.chat_engine import SimpleChatEngine
from pydantic import BaseModel, Field

from llama_index_suite._base import needs

PROMPT = PromptTemplate("Tell a joke about {topic}")
FACTS = [Document(text="The cooldown is five seconds."), Document(text="The limit is three calls.")]


class Joke(BaseModel):
    """A joke."""

    setup: str = Field(description="question to set up the joke")
    punchline: str = Field(description="answer to resolve it")


class Rated(BaseModel):
    """A joke with what others think of it."""

    joke: Joke
    rating: int | None = Field(default=None, description="from 1 to 10")
    tags: list[str] = Field(default_factory=list)


class ProgramChecks:
    """Mixed into LLMSuite."""

    has_structured_prediction: bool = True

    @pytest.fixture(autouse=True)
    def _shapes_are_needed(self, request: pytest.FixtureRequest) -> None:
        if request.function.__name__.startswith("test_structured"):
            needs(self.has_structured_prediction, "structured prediction")

    def test_structured_prediction(self, llm: Any) -> None:
        """An object of the class that was asked for."""
        assert isinstance(llm.structured_predict(Joke, PROMPT, topic="cats"), Joke)

    def test_structured_prediction_async(self, llm: Any) -> None:
        """The same, awaited."""
        assert isinstance(asyncio.run(_awaited(llm.astructured_predict(Joke, PROMPT, topic="cats"))), Joke)

    def test_structured_prediction_streamed(self, llm: Any) -> None:
        """Objects grow to a whole one; a class that keeps its calls in one place alone yields empty ones here."""
        *_, last = llm.stream_structured_predict(Joke, PROMPT, topic="cats")
        assert isinstance(last, Joke)

    def test_structured_prediction_streamed_async(self, llm: Any) -> None:
        """The same, awaited."""

        async def read() -> Any:
            return [one async for one in await llm.astream_structured_predict(Joke, PROMPT, topic="cats")][-1]

        assert isinstance(asyncio.run(read()), Joke)

    def test_structured_prediction_of_nested_classes(self, llm: Any) -> None:
        """References, options and lists in the schema."""
        found = llm.structured_predict(Rated, PROMPT, topic="cats")
        assert isinstance(found, Rated)
        assert isinstance(found.joke, Joke)

    def test_structured_llm(self, llm: Any) -> None:
        """as_structured_llm stands where an LLM stands."""
        shaped = llm.as_structured_llm(Joke)
        assert isinstance(shaped.complete("Tell a joke").raw, Joke)
        assert isinstance(asyncio.run(_awaited(shaped.achat([ChatMessage("Tell a joke")]))).raw, Joke)

    # --- engines ---

    def test_a_chat_engine(self, llm: Any) -> None:
        """It remembers what was said."""
        engine = SimpleChatEngine.from_defaults(llm=llm)
        assert str(engine.chat("Hello"))
        assert "".join(engine.stream_chat("And?").response_gen)
        assert len(engine.chat_history) == 4

    def test_a_chat_engine_async(self, llm: Any) -> None:
        """The same, awaited."""

        async def talk() -> tuple[str, str]:
            engine = SimpleChatEngine.from_defaults(llm=llm)
            first = str(await engine.achat("Hello"))
            response = await engine.astream_chat("And?")
            return first, "".join([token async for token in response.async_response_gen()])

        assert all(asyncio.run(talk()))

    @pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize", "simple_summarize", "accumulate", "compact_accumulate"])
    def test_a_query_engine(self, llm: Any, mode: str) -> None:
        """Every way of making an answer out of passages."""
        engine = self._index().as_query_engine(llm=llm, response_mode=mode)
        assert str(engine.query("How long is the cooldown?"))

    def test_a_query_engine_async_and_streamed(self, llm: Any) -> None:
        """The same, awaited and in pieces."""

        async def ask() -> tuple[str, str]:
            whole = str(await self._index().as_query_engine(llm=llm).aquery("How long?"))
            streamed: Any = await self._index().as_query_engine(llm=llm, streaming=True).aquery("How long?")
            return whole, "".join([token async for token in streamed.async_response_gen()])

        assert all(asyncio.run(ask()))

    @staticmethod
    def _index() -> VectorStoreIndex:
        return VectorStoreIndex.from_documents(FACTS, embed_model=MockEmbedding(embed_dim=4))

    @pytest.mark.parametrize("mode", ["context", "condense_question", "condense_plus_context"])
    def test_a_chat_engine_over_an_index(self, llm: Any, mode: Any) -> None:
        """Retrieval inside a conversation, twice, so that a history is condensed."""
        engine = self._index().as_chat_engine(chat_mode=mode, llm=llm)
        assert str(engine.chat("How long is the cooldown?"))
        assert str(engine.chat("And the limit?"))


async def _awaited(answer: Any) -> Any:
    return await answer
