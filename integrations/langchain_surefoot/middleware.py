"""Prompt caching for LangChain's agents and deepagents over ChatSurefoot, as langchain-anthropic has it for ChatAnthropic alone."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any, Literal

if find_spec("langchain") is None:
    raise ModuleNotFoundError("langchain is not installed here, whose agents take middleware: run  pip install langchain", name="langchain")

from langchain.agents.middleware.types import AgentMiddleware, ModelRequest, ModelResponse

from langchain_surefoot.chat import ChatSurefoot
from surefoot.errors import Misconfigured
from surefoot.models.requests import LIFETIMES


class PromptCachingMiddleware(AgentMiddleware[Any, Any, Any]):
    """Has an agent's tools, system text and conversation so far kept in Anthropic's prompt cache: `PromptCachingMiddleware(ttl="5m")`.

        create_agent(ChatSurefoot(model="anthropic:claude-haiku-4-5"), tools=[...], middleware=[PromptCachingMiddleware()])

    It says `prompt_cache=ttl` of every model call of the agent; `ChatSurefoot(..., prompt_cache=ttl)` says it of all calls of the model,
    and needs no middleware. The arguments are AnthropicPromptCachingMiddleware's. Other vendors' models are sent nothing, also where they
    answer as a fallback. Raises Misconfigured for a lifetime that Anthropic does not have.
    """

    def __init__(
        self,
        type: Literal["ephemeral"] = "ephemeral",  # noqa: A002 - the name that users know
        ttl: Literal["auto", "5m", "1h"] = "5m",
        min_messages_to_cache: int = 0,
        unsupported_model_behavior: Literal["ignore", "warn", "raise"] = "warn",
    ) -> None:
        """Mark calls of at least `min_messages_to_cache` messages, the system message among them.

        A model that is no ChatSurefoot is left alone, with a warning ("warn"), without ("ignore"), or with a ValueError ("raise").
        """
        super().__init__()
        if type != "ephemeral" or ttl not in LIFETIMES:
            raise Misconfigured(f"PromptCachingMiddleware: type is 'ephemeral', ttl 'auto', '5m' or '1h', not {type!r} and {ttl!r}")
        self.ttl = ttl
        self.min_messages_to_cache = min_messages_to_cache
        self.unsupported_model_behavior = unsupported_model_behavior

    def wrap_model_call(self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]) -> ModelResponse[Any]:
        """The call, marked."""
        return handler(self._marked(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """`wrap_model_call`, from any loop."""
        return await handler(self._marked(request))

    def _marked(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        """`request` with the lifetime said. Raises ValueError for a model that is not ours, where that was asked for."""
        if not isinstance(request.model, ChatSurefoot):
            told = f"PromptCachingMiddleware marks calls of ChatSurefoot alone, not of {type(request.model).__name__}: nothing is cached"
            if self.unsupported_model_behavior == "raise":
                raise ValueError(told)
            if self.unsupported_model_behavior == "warn":
                warnings.warn(told, stacklevel=3)
            return request
        if len(request.messages) + (request.system_message is not None) < self.min_messages_to_cache:
            return request
        return request.override(model_settings={**request.model_settings, "prompt_cache": self.ttl})
