"""ChatSurefoot: a LangChain chat model whose calls stay on their feet."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack

from langchain_core.caches import BaseCache
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput, ModelProfile
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field, SecretStr, model_validator

from langchain_surefoot._fields import FRAMEWORK_WORDS, RAISES, Guarded, reference
from langchain_surefoot._messages import messages_in
from langchain_surefoot._structured import Method, structured
from langchain_surefoot._translate import CONVERSIONS, chunks_out, last_chunk_out, outputs_joined, result_out, wire_of
from langchain_surefoot.errors import translated
from surefoot import ChatModel
from surefoot.adapter import (
    chat_model,
    context_size_of,
    efforts_of,
    key_variable,
    normalise_kwargs,
    output_limit_of,
    request_of,
    said_by,
    stored,
)
from surefoot.adapter.answers import withheld
from surefoot.adapter.fields import AdapterFields, key_field, policy_of
from surefoot.adapter.words import CUSTOMARY
from surefoot.errors import ContentRefused
from surefoot.facts import name_in
from surefoot.text import text_of
from surefoot.types import ChatReply, ChatRequest, Delta

if TYPE_CHECKING:
    from langchain_surefoot._typed import ChatSurefootWords


class ChatSurefoot(Guarded, AdapterFields, BaseChatModel):
    """A LangChain chat model over surefoot: one retry owner, one deadline, shared limits, fallbacks, hedges, budgets, cache.

        llm = ChatSurefoot(model="openai:gpt-5-mini", fallbacks=["anthropic:claude-haiku-4-5"], temperature=0)
        llm = ChatSurefoot(model="openai:m", base_url="http://127.0.0.1:8000/v1", api_key="...")
        llm = ChatSurefoot(chat=ChatModel(...))        around a model you built; targets and policies are then said there

    The fields are those of surefoot's Target and Policy (of the first target: base_url, api_key, the limits) and ChatRequest.
    LangChain's customary words are understood too: `timeout` is `deadline_s`, `max_retries` is `attempts` - 1; `stream_usage` needs no
    saying, since streams always carry their usage.

    Nothing is doubled: LangChain's own `cache` is False (None would mean its global cache) and its `rate_limiter` None; surefoot's cache
    is called `surefoot_cache` here, because BaseChatModel already has a `cache`. The vendors' SDKs do not retry. What reaches you is
    final, and its `is_retryable` says so: retry middleware leaves it alone. `.with_retry()` does not ask; leave it out.

    Models with equal settings share one ChatModel in a process, so limits, breakers, budgets and caches hold across copies,
    bindings and configurable fields. Per call (`invoke(..., model=..., temperature=..., deadline_s=...)`) every option of a request may be
    set; `model` names another model of the same provider. Words nobody knows are sent to the provider as they are.
    """

    MODEL = "model"
    GIVEN = "chat"

    model: str = ""
    """`provider:model`, for example "openai:gpt-5-mini"; the provider may be left out of a name that its tables know."""
    temperature: float | None = None
    """Randomness. None: the provider's default."""
    max_tokens: int | None = None
    """Most tokens of an answer, at least 1. None: the provider's limit."""
    top_p: float | None = None
    """Share of the probability mass that is sampled from. None: the provider's default."""
    stop: list[str] | None = None
    """Texts at which the answer ends."""
    seed: int | None = None
    """Makes sampling repeatable where the vendor offers it."""
    reasoning_effort: str | None = None
    """How much to think: "none", "low", "medium", "high", or the vendor's own word. None: its default."""
    prompt_cache: Literal["", "auto", "5m", "1h"] | None = None
    """Whether tools, system text and the conversation so far are marked for Anthropic's prompt cache, and for how long: "auto" for its
    usual lifetime, "5m" or "1h". None: nothing is marked, because writing costs a quarter more, for an hour double.
    """
    extra: dict[str, Any] | None = None
    """Fields of the vendor's own request, merged into its body; those known by name (`logprobs=`, `top_k=`, ...) are put here."""
    streaming: bool | None = None
    """True: `invoke` asks for a stream too. None: as callbacks and callers want it. False: never a stream."""
    chat: ChatModel | None = Field(default=None, exclude=True)
    """A model you built; targets and policies are then said there."""
    cache: BaseCache | bool | None = Field(default=False, exclude=True)
    """LangChain's own cache; False, because surefoot's is `surefoot_cache`."""

    if TYPE_CHECKING:

        def __init__(self, **fields: Unpack[ChatSurefootWords]) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _known_words(cls, values: Any) -> Any:
        return key_field(normalise_kwargs(values, known=cls.model_fields, owner=cls.__name__)) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _whole(self) -> ChatSurefoot:
        self._check_fields(self.chat)
        if self.chat is not None and not self.model:
            self.model = self.chat.targets[0]
        return self

    @property
    def model_name(self) -> str:
        """The model without its provider, as other classes have it and tools read it."""
        return self.model.partition(":")[2] or self.model

    def configurable_fields(self, **fields: Any) -> Any:
        """LangChain's, under the names that other classes have for the fields (`model_name`), too."""
        return super().configurable_fields(**{CUSTOMARY.get(word, word): field for word, field in fields.items()})

    # --- the calls: translate in, ask, translate out -----------------------------------------------------------------------------

    @property
    def surefoot(self) -> ChatModel:
        """The ChatModel underneath: `describe()`, `subscribe()`, `targets`."""
        return self.chat or self._core(chat_model)

    @property
    def _attempts(self) -> int:
        return self.attempts if self.chat is None else self.chat.policy.attempts

    def _asked(
        self, messages: list[BaseMessage], stop: list[str] | None, options: dict[str, Any]
    ) -> tuple[ChatModel, ChatRequest, dict[str, Any]]:
        model = self.surefoot
        target = model.targets[0]
        if stop is not None:
            options["stop"] = stop
        found = messages_in(messages, target)
        return model, *request_of(
            found,
            {**said_by(self), "model": None if self.model == target else self.model},
            options,
            target=target,
            conversions=CONVERSIONS,
            ignored=FRAMEWORK_WORDS,
            is_elsewhere=self.chat is not None or bool(self.base_url),
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's signature
        **kwargs: Any,
    ) -> ChatResult:
        """Ask and wait."""
        raises = kwargs.pop(RAISES, False)
        with translated(self._attempts):
            model, request, said = self._asked(messages, stop, kwargs)
            try:
                reply = model.invoke(request, **said)
            except ContentRefused as refused:
                return result_out(withheld(refused, raises=raises), refusal=refused.refusal)
            return result_out(reply, request)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's signature
        **kwargs: Any,
    ) -> ChatResult:
        """Ask, from any loop."""
        raises = kwargs.pop(RAISES, False)
        with translated(self._attempts):
            model, request, said = self._asked(messages, stop, kwargs)
            try:
                reply = await model.ainvoke(request, **said)
            except ContentRefused as refused:
                return result_out(withheld(refused, raises=raises), refusal=refused.refusal)
            return result_out(reply, request)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's signature
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        """Ask for a stream; leaving it early drops the connection."""
        raises = kwargs.pop(RAISES, False)
        with translated(self._attempts):
            model, request, said = self._asked(messages, stop, kwargs)
            indices: set[int] = set()
            try:
                with model.stream(request, **said) as deltas:
                    for delta in deltas:
                        yield from _noted(delta, indices)
            except ContentRefused as refused:
                yield last_chunk_out(withheld(refused, raises=raises), (), refused.refusal)
            else:
                yield last_chunk_out(deltas.reply or ChatReply(), sorted(indices))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's signature
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        """`_stream`, from any loop."""
        raises = kwargs.pop(RAISES, False)
        with translated(self._attempts):
            model, request, said = self._asked(messages, stop, kwargs)
            indices: set[int] = set()
            try:
                async with model.astream(request, **said) as deltas:
                    async for delta in deltas:
                        for chunk in _noted(delta, indices):
                            yield chunk
            except ContentRefused as refused:
                yield last_chunk_out(withheld(refused, raises=raises), (), refused.refusal)
            else:
                yield last_chunk_out(deltas.reply or ChatReply(), sorted(indices))

    # --- tools and structured output ---------------------------------------------------------------------------------------------

    # `RunnableWithFallbacks` and others read these annotations at run time, so each name in them must be imported; BaseTool itself takes
    # 13 ms to import, which whoever only asks a question would pay.
    def bind_tools(
        self,
        tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | Runnable[Any, Any]],
        *,
        tool_choice: Any = None,
        strict: bool | None = None,
        parallel_tool_calls: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Give the model `tools`: functions, pydantic classes, LangChain's tools (which are Runnables), or dicts of them.

        `tool_choice` is "auto", "none", "any" (or "required", or True), a tool's name, or OpenAI's or Anthropic's dict of it.
        """
        wire = [wire_of(tool, strict=strict) for tool in tools]
        bound: dict[str, Any] = {"tools": wire, **kwargs}
        if tool_choice:
            bound["tool_choice"] = CONVERSIONS["tool_choice"](tool_choice)
        if parallel_tool_calls is not None:
            bound["parallel_tool_calls"] = parallel_tool_calls
        return self.bind(**bound)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        method: Method = "function_calling",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Have the model answer in the shape of `schema` (pydantic class, TypedDict, JSON Schema or OpenAI function).

        "function_calling" works with every provider and is the default; "json_schema" has the provider hold the shape; "json_mode" only
        promises JSON, so the prompt must name the fields. `include_raw` returns {"raw", "parsed", "parsing_error"} and never raises for
        an answer that does not parse, or that the model or a filter withheld; without it the latter is ContentRefused. Further keywords
        (tools among them) are bound to the call.
        """
        return structured(self, schema, method=method, include_raw=include_raw, strict=strict, **kwargs)

    # --- what LangChain asks about ------------------------------------------------------------------------------------------------

    @property
    def _llm_type(self) -> str:
        return "surefoot"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """The settings that shape an answer; no secrets."""
        said = {name: getattr(self, name) for name in ("model", "base_url", "attempts", "deadline_s")}
        return {**said, **said_by(self), "fallbacks": [getattr(one, "name", one) for one in self.fallbacks]}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        """LangSmith's words for this call; per-call options win."""
        provider, _, model = self.model.partition(":")
        params = super()._get_ls_params(stop=stop or self.stop or None, **kwargs)
        params["ls_provider"] = name_in("langsmith_id", provider)
        params["ls_model_name"] = text_of(kwargs.get("model") or model or self.model).removeprefix(f"{provider}:")
        return params

    def _resolve_model_profile(self) -> ModelProfile | None:
        """Capabilities as far as the first target's provider knows them; what nobody knows (a window, a limit) does not stand there."""
        traits, size = self.surefoot.traits, context_size_of(self.surefoot, self.model)
        limit, efforts = output_limit_of(self.surefoot, self.model), efforts_of(self.surefoot, self.model)
        profile = ModelProfile(
            tool_calling=traits.tools,
            tool_choice=traits.tools,
            structured_output=traits.schema,
            text_inputs=True,
            text_outputs=True,
            image_inputs=traits.vision,
            pdf_inputs=traits.pdf,
        )
        if size is not None:
            profile["max_input_tokens"] = size.question
        if limit is not None:
            profile["max_output_tokens"] = limit
        if levels := [word for word in efforts or () if word != "none"]:
            profile["reasoning_output"] = True
            profile["reasoning_effort_levels"] = levels
        return profile

    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None]) -> dict[str, Any]:
        return outputs_joined(llm_outputs)

    def get_num_tokens(self, text: str) -> int:
        """Tokens of `text`: exact where OpenAI's vocabulary is on this machine, else estimated; nothing is downloaded."""
        if self.custom_get_token_ids is not None:
            return len(self.custom_get_token_ids(text))
        from surefoot.usage.vocabulary import count_text

        return count_text(text, model=self.model)[0] if text else 0

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Input tokens of `messages` with their roles, files and calls, and of `tools`, by the estimate that our limits reserve.

        `trim_messages(token_counter=llm)` asks here. With `custom_get_token_ids`, LangChain counts by those, as in any of its models.
        """
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens_from_messages(messages, tools)
        from surefoot.usage.tokens import estimate_input

        with translated(1):
            request = ChatRequest(messages=messages_in(messages, self.model), tools=CONVERSIONS["tools"](tools))
        return estimate_input(request, model=self.model)

    def get_token_ids(self, text: str) -> list[int]:
        """Ids of a vocabulary, by `custom_get_token_ids` alone: LangChain would download GPT-2's, which no model here speaks."""
        if self.custom_get_token_ids is None:
            raise NotImplementedError(
                f"{type(self).__name__} counts tokens (get_num_tokens) but has no vocabulary; for ids pass custom_get_token_ids="
            )
        return self.custom_get_token_ids(text)

    @property
    def lc_secrets(self) -> dict[str, str]:
        """A literal key is serialised as the name of its environment variable; references are no secrets."""
        return {"api_key": key_variable(self.model)} if isinstance(self.api_key, SecretStr) and not reference(self.api_key) else {}

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """References to a key, such as "file:PATH", are serialised as they are; Targets as their plain settings, without keys."""
        where = reference(self.api_key)
        return {
            **({"api_key": where} if where else {}),
            **({"fallbacks": [stored(one) for one in self.fallbacks]} if self.fallbacks else {}),
            **policy_of(self),
        }

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """LangChain's dumps() and load() work; keys never leave."""
        return True


def _noted(delta: Delta, indices: set[int]) -> Iterator[ChatGenerationChunk]:
    indices.update([piece.index for piece in delta.tool_calls])
    return chunks_out(delta)


# LangChain inspects the signature at every call; a signature at hand saves about 30 us of it.
for _name in ("_generate", "_agenerate"):
    _method: Any = vars(ChatSurefoot)[_name]
    _method.__signature__ = inspect.signature(_method)
