"""What the adapters cost: ours minus the model underneath, beside each framework's own least possible model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.core.llms.mock import MockLLM

from langchain_surefoot import ChatSurefoot
from llama_index.llms.surefoot import Surefoot
from surefoot import ChatModel, ChatReply, Delta, Message, Usage
from surefoot.settle import Replay, prime
from surefoot.types import Traits

CHUNKS = 50
ROUNDS, CALLS = 9, 60
LIMITS = {  # times the framework's own floor
    "langchain": 1.5,
    "langchain stream": 1.5,
    "llamaindex": 2.0,  # its floor is lower by half, so the same microseconds are a larger share
}
WORDS = "Hello there, how are you?"


class Instant:
    """An edge that answers at once."""

    traits = Traits()
    name = "instant:m"

    async def chat(self, call: Any) -> Any:
        if call.stream:
            return await prime(Replay([Delta(text="w ")] * CHUNKS + [Delta(finish_reason="stop")]))
        return ChatReply(text="fine", usage=Usage(input_tokens=10, output_tokens=5), model="m", target=self.name)


class LeastChat(BaseChatModel):
    """LangChain's floor: a message with usage and metadata, or chunks of text."""

    model: str = "m"

    @property
    def _llm_type(self) -> str:
        return "least"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        usage: Any = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
        message = AIMessage(content="fine", usage_metadata=usage, response_metadata={"model_name": "m", "finish_reason": "stop"})
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return self._generate(messages)

    async def _astream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        for _ in range(CHUNKS):
            yield ChatGenerationChunk(message=AIMessageChunk(content="w "))


class LeastLLM(MockLLM):
    """LlamaIndex's floor: a message with raw usage."""

    @llm_chat_callback()
    async def achat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return ChatResponse(message=ChatMessage("fine", role="assistant"), raw={"usage": {"prompt_tokens": 10, "completion_tokens": 5}})


async def drain(stream: Any) -> None:
    async for _ in stream:
        pass


async def least_us(*asks: Callable[[], Awaitable[Any]]) -> list[float]:
    """CPU microseconds a call of each, the best of rounds taken in turn, so that a busy machine disturbs all alike."""
    best = [float("inf")] * len(asks)
    for _ in range(ROUNDS):
        for index, ask in enumerate(asks):
            started = time.process_time()
            for _ in range(CALLS):
                await ask()
            best[index] = min(best[index], (time.process_time() - started) / CALLS * 1e6)
    return best


@pytest.mark.figures
@pytest.mark.parametrize("what", LIMITS)
def test_an_adapter_costs_about_as_much_as_its_framework(what):
    """An adapter translates in and out; if it cost more, it would do something else, too."""
    core, ours = ChatModel(Instant()), [Message.user(WORDS)]
    chat, least, said = ChatSurefoot(chat=core), LeastChat(), [HumanMessage(WORDS)]
    llm, least_llm, told = Surefoot(chat=core), LeastLLM(), [ChatMessage(WORDS)]
    ways: dict[str, Any] = {
        "langchain": (lambda: core.ainvoke(ours), lambda: chat.ainvoke(said), lambda: least.ainvoke(said)),
        "langchain stream": (lambda: drain(core.astream(ours)), lambda: drain(chat.astream(said)), lambda: drain(least.astream(said))),
        "llamaindex": (lambda: core.ainvoke(ours), lambda: llm.achat(told), lambda: least_llm.achat(told)),
    }
    beneath, whole, floor = asyncio.run(least_us(*ways[what]))
    share = (whole - beneath) / floor
    print(f"\n{what}: model {beneath:.0f} us, with the adapter {whole:.0f}, the framework's floor {floor:.0f}: {share:.2f} of it")
    assert share < LIMITS[what]
