"""The official classes and ours, by framework and wire, each made as its own documentation makes it."""

from __future__ import annotations

from typing import Any

KEY = "sk-simulated-0123456789"
MODELS = {"openai": "gpt-5-mini", "responses": "gpt-5-mini", "anthropic": "claude-haiku-4-5", "google": "gemini-3-flash"}
EMBEDDINGS = {"openai": "text-embedding-3-small", "responses": "text-embedding-3-small", "google": "gemini-embedding-001"}
VENDORS = {"openai": "openai", "responses": "openai", "anthropic": "anthropic", "google": "google"}


# LlamaIndex's own classes send the instructions of gpt-5 as the user's, and most of Claude's models a temperature, which its SDK refuses.
LLAMA_INDEX = {**MODELS, "openai": "gpt-4o-mini", "responses": "gpt-4o-mini", "anthropic": "claude-opus-4-7"}


def llm(framework: str, wire: str, url: str, *, is_ours: bool, fields: dict[str, Any]) -> Any:
    """A chat model that asks once, at `url`."""
    if framework == "langchain":
        return _langchain_ours(wire, url, fields) if is_ours else _langchain(wire, url, fields)
    return _llama_index_ours(wire, url, fields) if is_ours else _llama_index(wire, url, fields)


def embed(framework: str, wire: str, url: str, *, is_ours: bool, fields: dict[str, Any]) -> Any:
    """An embedding model that asks once, at `url`."""
    name = EMBEDDINGS[wire]
    base, vendor = (f"{url}/v1", "openai") if VENDORS[wire] == "openai" else (url, "google")
    if is_ours:
        if framework == "langchain":
            from langchain_surefoot import SurefootEmbeddings

            return SurefootEmbeddings(model=f"{vendor}:{name}", base_url=base, api_key=KEY, max_retries=0, **fields)
        from llama_index.embeddings.surefoot import SurefootEmbedding

        return SurefootEmbedding(model_name=f"{vendor}:{name}", api_base=base, api_key=KEY, max_retries=0, **fields)
    if vendor == "google":
        from langchain_google_genai import GoogleGenerativeAIEmbeddings

        return GoogleGenerativeAIEmbeddings(model=name, base_url=base, google_api_key=KEY, **fields)
    if framework == "langchain":
        from langchain_openai import OpenAIEmbeddings

        # Its own cutting by tokens fetches a vocabulary from the network.
        return OpenAIEmbeddings(model=name, base_url=base, api_key=KEY, max_retries=0, check_embedding_ctx_length=False, **fields)
    from llama_index.embeddings.openai import OpenAIEmbedding

    return OpenAIEmbedding(model=name, api_base=base, api_key=KEY, max_retries=0, **fields)


def _langchain(wire: str, url: str, fields: dict[str, Any]) -> Any:
    if wire in ("openai", "responses"):
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(
            model=MODELS[wire],
            base_url=f"{url}/v1",
            api_key=KEY,
            max_retries=0,
            stream_usage=True,
            use_responses_api=wire == "responses",
            **fields,
        )
    if wire == "anthropic":
        from langchain_anthropic import ChatAnthropic

        return ChatAnthropic(model=MODELS[wire], base_url=url, api_key=KEY, max_retries=0, **fields)
    from langchain_google_genai import ChatGoogleGenerativeAI

    return ChatGoogleGenerativeAI(model=MODELS[wire], base_url=url, google_api_key=KEY, max_retries=1, **fields)


def _langchain_ours(wire: str, url: str, fields: dict[str, Any]) -> Any:
    from langchain_surefoot import ChatSurefoot

    return ChatSurefoot(**_ours(wire, url, MODELS), **fields)


def _llama_index(wire: str, url: str, fields: dict[str, Any]) -> Any:
    if wire == "openai":
        from llama_index.llms.openai import OpenAI

        return OpenAI(model=LLAMA_INDEX[wire], api_base=f"{url}/v1", api_key=KEY, max_retries=0, **fields)
    if wire == "responses":
        from llama_index.llms.openai import OpenAIResponses

        return OpenAIResponses(model=LLAMA_INDEX[wire], api_base=f"{url}/v1", api_key=KEY, max_retries=0, **fields)
    if wire == "anthropic":
        from llama_index.llms.anthropic import Anthropic

        return Anthropic(model=LLAMA_INDEX[wire], base_url=url, api_key=KEY, max_retries=0, **fields)
    from llama_index.llms.google_genai import GoogleGenAI

    return GoogleGenAI(model=LLAMA_INDEX[wire], api_key=KEY, http_options={"base_url": url}, max_retries=0, **fields)


def _llama_index_ours(wire: str, url: str, fields: dict[str, Any]) -> Any:
    from llama_index.llms.surefoot import Surefoot

    return Surefoot(**_ours(wire, url, LLAMA_INDEX), **fields)


def _ours(wire: str, url: str, models: dict[str, str]) -> dict[str, Any]:
    vendor = VENDORS[wire]
    base = f"{url}/v1" if vendor == "openai" else url
    more = {"use_responses_api": True} if wire == "responses" else {}
    return {"model": f"{vendor}:{models[wire]}", "base_url": base, "api_key": KEY, "max_retries": 0, **more}
