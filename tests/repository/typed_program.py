"""A program as users write it, which type checkers read and nobody runs; a line that must be an error says so at its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_type

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms import LLM

import surefoot
from langchain_surefoot import ChatSurefoot, PromptCachingMiddleware, SurefootEmbeddings
from llama_index.embeddings.surefoot import SurefootEmbedding
from llama_index.llms.surefoot import Surefoot
from surefoot import ChatModel, ChatReply, EmbedModel, Message, Policy, Target
from surefoot.errors import BatchFailed, RateLimited, SurefootError


def core(questions: Sequence[str], flag: bool) -> list[str]:
    """Ask one, ask many, read a stream."""
    first = Target("openai:gpt-5-mini", requests_per_minute=500, lane="direct", options=(("api", "responses"),))
    chat = ChatModel([first, "openai:gpt-5"], "anthropic:claude-haiku-4-5", policy=Policy(deadline_s=60, hedge_after="p95"), temperature=0)
    reply = chat.invoke([Message.system("Be brief."), {"role": "user", "content": "Merhaba"}], max_tokens=50, prompt_cache="auto")
    assert_type(reply, ChatReply)
    cost: float | None = reply.cost_usd
    tokens: int = reply.usage.input_tokens
    replies = chat.batch(questions, max_in_flight=8)
    assert_type(replies, list[ChatReply])
    texts = [one.text for one in replies]
    mixed = chat.batch(questions, return_exceptions=True, temperature=0.5)
    assert_type(mixed, list[ChatReply | Exception])
    texts += [one.text if isinstance(one, ChatReply) else str(one) for one in mixed]
    assert_type(chat.batch(questions, return_exceptions=flag), list[ChatReply | Exception])
    for one in mixed:
        print(one.text)  # error
    with chat.stream("Count to five") as deltas:
        texts += [delta.text for delta in deltas]
    try:
        chat.invoke("x", deadline_s=3, tags={"job": "nightly"})
    except RateLimited as limited:
        print(limited.status, limited.retry_after_s, cost, tokens)
    except SurefootError as error:
        print(str(error), error.attempts)
    chat.invoke("x", temprature=0)  # error
    chat.invoke("x", prompt_cache="2h")  # error
    Policy(deadline=60)  # error
    return texts


async def asynchronous(chat: ChatModel, questions: Sequence[str]) -> np.ndarray:
    """The same from a loop, and vectors."""
    with surefoot.scope(tenant="acme", priority="batch"):
        assert_type(await chat.abatch(questions), list[ChatReply])
        assert_type(await chat.abatch(questions, return_exceptions=True), list[ChatReply | Exception])
    try:
        await chat.abatch(questions)
    except BatchFailed as failed:
        print(len(failed.replies))
    embed = EmbedModel("openai:text-embedding-3-small")
    return await embed.aembed(list(questions))


def langchain() -> str:
    """One replaced line."""
    llm = ChatSurefoot(model="openai:gpt-5-mini", fallbacks=["anthropic:claude-haiku-4-5", Target("openai:m")], timeout=30, max_retries=2)
    model: BaseChatModel = llm
    chain = ChatPromptTemplate.from_messages([("human", "{question}")]) | llm | StrOutputParser()
    text: str = chain.invoke({"question": "Why?"})
    answer = model.invoke("hi")
    assert_type(answer, AIMessage)
    vectors: Embeddings = SurefootEmbeddings(model="openai:text-embedding-3-small", dimensions=256)
    ChatSurefoot(model="openai:gpt-5-mini", temprature=0)  # error
    ChatSurefoot(model="openai:gpt-5-mini", fallbacks=[1])  # error
    print(PromptCachingMiddleware(ttl="1h").ttl, vectors.embed_query(text))
    return text


def llamaindex() -> ChatResponse:
    """Likewise."""
    llm: LLM = Surefoot(model="openai:gpt-5-mini", api_key="env:OPENAI_API_KEY", deadline_s=30, policy=Policy(resume=True))
    embed: BaseEmbedding = SurefootEmbedding(model_name="openai:text-embedding-3-small", dimensions=256)
    Surefoot(model="openai:gpt-5-mini", context_windw=9000)  # error
    Surefoot(model=5)  # error
    print(len(embed.get_query_embedding("why")))
    return llm.chat([ChatMessage(content="hi")])
