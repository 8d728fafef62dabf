"""The same, through frameworks and routers: our adapters, the frameworks' own models, LiteLLM's Router, pydantic-ai's FallbackModel."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

from surefoot_eval.bench.subjects import EMBEDDER, MODEL, TEXTS, Setting, Subject, _model, messages, null_model, prompts, texts

SPARE_MODEL = "gpt-5-nano"


async def _drain(stream: Any) -> int:
    chunks = 0
    async for _ in stream:
        chunks += 1
    return chunks


def chat_surefoot(setting: Setting, *, lane: str, null: bool = False) -> Subject:
    """LangChain over surefoot."""
    from langchain_surefoot import ChatSurefoot

    return _through_langchain(ChatSurefoot(chat=null_model(all_on=False) if null else _model(setting, lane)), setting)


def _through_langchain(llm: Any, setting: Setting) -> Subject:
    """A chat model of LangChain's, or a chain that ends in one, asked and streamed."""
    from langchain_core.messages import HumanMessage

    words = prompts(setting)

    async def ask() -> int:
        return bool((await llm.ainvoke([HumanMessage(next(words))])).content)

    async def stream() -> int:
        return await _drain(llm.astream([HumanMessage(next(words))]))

    return Subject(ask, stream)


def llama_surefoot(setting: Setting, *, lane: str, null: bool = False) -> Subject:
    """LlamaIndex over surefoot."""
    from llama_index.core.base.llms.types import ChatMessage

    from llama_index.llms.surefoot import Surefoot

    llm = Surefoot(chat=null_model(all_on=False) if null else _model(setting, lane))
    words = prompts(setting)

    async def ask() -> int:
        return bool((await llm.achat([ChatMessage(next(words))])).message.content)

    async def stream() -> int:
        return await _drain(await llm.astream_chat([ChatMessage(next(words))]))

    return Subject(ask, stream)


def null_alone(setting: Setting) -> Subject:
    """The model under the two above, asked directly."""
    from surefoot import Message

    chat = null_model(all_on=False)
    words = prompts(setting)

    async def ask() -> int:
        return bool((await chat.ainvoke([Message.user(next(words))])).text)

    async def stream() -> int:
        return await _drain(chat.astream([Message.user(next(words))]))

    return Subject(ask, stream)


def least_langchain(setting: Setting) -> Subject:
    """LangChain's floor: the smallest chat model that can be written, with usage and metadata as every real one has."""
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

    class Least(BaseChatModel):
        @property
        def _llm_type(self) -> str:
            return "least"

        def _generate(self, *_: Any, **__: Any) -> ChatResult:
            usage: Any = {"input_tokens": 60, "output_tokens": 40, "total_tokens": 100}
            message = AIMessage(content="fine", usage_metadata=usage, response_metadata={"model_name": "m", "finish_reason": "stop"})
            return ChatResult(generations=[ChatGeneration(message=message)])

        async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
            del stop, run_manager
            return self._generate(messages)

        async def _astream(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> Any:
            del messages, stop, run_manager
            for _i in range(58):
                yield ChatGenerationChunk(message=AIMessageChunk(content="w "))

    return _through_langchain(Least(), setting)


def least_llama(setting: Setting) -> Subject:
    """LlamaIndex's floor: a message with raw usage."""
    from llama_index.core.base.llms.types import ChatMessage, ChatResponse
    from llama_index.core.llms.callbacks import llm_chat_callback
    from llama_index.core.llms.mock import MockLLM

    class Least(MockLLM):
        @llm_chat_callback()
        async def achat(self, messages: Any, **_: Any) -> ChatResponse:
            del messages
            return ChatResponse(
                message=ChatMessage("fine", role="assistant"), raw={"usage": {"prompt_tokens": 60, "completion_tokens": 40}}
            )

    llm: Any = Least(max_tokens=None)
    words = prompts(setting)

    async def ask() -> int:
        return bool((await llm.achat([ChatMessage(next(words))])).message.content)

    return Subject(ask)


def chat_openai(setting: Setting, *, retries: bool = True) -> Subject:
    """LangChain's ChatOpenAI, with its own retries off and `with_retry` and `with_fallbacks` around it."""
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    def one(url: str, model: str = MODEL) -> Any:
        return ChatOpenAI(model=model, base_url=url, api_key="bench", max_retries=0, stream_usage=True)

    llm: Any = one(setting.url)
    if retries:
        spare = one(setting.spare or setting.url, SPARE_MODEL)
        llm = llm.with_retry(stop_after_attempt=3).with_fallbacks([spare])
    embedder = OpenAIEmbeddings(model=EMBEDDER, base_url=setting.url, api_key="bench", check_embedding_ctx_length=False, chunk_size=TEXTS)

    async def embed() -> int:
        return len(await embedder.aembed_documents(texts()))

    return replace(_through_langchain(llm, setting), embed=embed)


def llama_openai(setting: Setting) -> Subject:
    """LlamaIndex's OpenAI, its retries off."""
    from llama_index.core.base.llms.types import ChatMessage
    from llama_index.embeddings.openai import OpenAIEmbedding
    from llama_index.llms.openai import OpenAI

    llm = OpenAI(model="gpt-4.1-mini", api_base=setting.url, api_key="bench", max_retries=0, reuse_client=True)
    embedder = OpenAIEmbedding(model=EMBEDDER, api_base=setting.url, api_key="bench", embed_batch_size=TEXTS, max_retries=0)
    words = prompts(setting)

    async def ask() -> int:
        return bool((await llm.achat([ChatMessage(content=next(words))])).message.content)

    async def stream() -> int:
        return await _drain(await llm.astream_chat([ChatMessage(content=next(words))]))

    async def embed() -> int:
        return len(await embedder.aget_text_embedding_batch(texts()))

    return Subject(ask, stream, embed)


def litellm_router(setting: Setting, *, limited: bool = False) -> Subject:
    """LiteLLM's Router with retries and a fallback; with `limited` its rpm and tpm set."""
    warnings.simplefilter("ignore")
    import litellm
    from litellm import Router

    litellm.suppress_debug_info = True
    litellm.telemetry = False

    def one(name: str, url: str) -> dict[str, Any]:
        params: dict[str, Any] = {"model": "openai/gpt-4.1-mini", "api_base": url, "api_key": "bench"}
        if limited:
            params |= {"rpm": int(setting.rpm or 0) or None, "tpm": int(setting.tpm or 0) or None}
        return {"model_name": name, "litellm_params": params}

    models = [one("main", setting.url), one("spare", setting.spare or setting.url)]
    router = Router(model_list=models, num_retries=10 if limited else 2, fallbacks=[] if limited else [{"main": ["spare"]}])
    words = prompts(setting)

    async def ask() -> int:
        return len((await router.acompletion(model="main", messages=messages(next(words)))).choices)

    async def stream() -> int:
        return await _drain(await router.acompletion(model="main", messages=messages(next(words)), stream=True))

    async def embed() -> int:
        answer = await litellm.aembedding(model=f"openai/{EMBEDDER}", input=texts(), api_base=setting.url, api_key="bench")
        return len(answer.data)

    return Subject(ask, stream, embed)


def pydantic_fallback(setting: Setting) -> Subject:
    """pydantic-ai's FallbackModel, asked at the model's own level: no agent around it."""
    import openai
    from pydantic_ai.messages import ModelRequest, UserPromptPart
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.models.fallback import FallbackModel
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    def one(url: str) -> Any:
        return OpenAIChatModel(
            MODEL, provider=OpenAIProvider(openai_client=openai.AsyncOpenAI(base_url=url, api_key="bench", max_retries=0))
        )

    model = FallbackModel(one(setting.url), one(setting.spare or setting.url))
    words = prompts(setting)
    parameters = ModelRequestParameters()

    def said() -> Any:
        return [ModelRequest(parts=[UserPromptPart(content=next(words))])]

    async def ask() -> int:
        return len((await model.request(said(), None, parameters)).parts)

    async def stream() -> int:
        async with model.request_stream(said(), None, parameters) as events:
            return await _drain(events)

    return Subject(ask, stream)
