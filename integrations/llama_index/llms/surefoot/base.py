"""Surefoot: a LlamaIndex LLM whose calls stay on their feet."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, Unpack

from llama_index.core.base.llms.generic_utils import (
    achat_to_completion_decorator,
    astream_chat_to_completion_decorator,
    chat_to_completion_decorator,
    stream_chat_to_completion_decorator,
)
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW, DEFAULT_NUM_OUTPUTS
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.program.function_program import FunctionCallingProgram
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import BaseTool
from llama_index.core.types import PydanticProgramMode

from llama_index.llms.surefoot._answers import Growing, response_out, selections_out
from llama_index.llms.surefoot._messages import messages_in
from llama_index.llms.surefoot._translate import CONVERSIONS, strictly, tool_in
from llama_index.llms.surefoot._typed import SurefootWords
from surefoot import ChatModel
from surefoot.adapter import chat_model, context_size_of, normalise_kwargs, output_limit_of, request_of, said_by
from surefoot.adapter.answers import withheld
from surefoot.adapter.fields import key_field
from surefoot.adapter.stored_fields import StoredFields
from surefoot.errors import ContentRefused
from surefoot.secret import locals_cleared
from surefoot.types import ChatReply, ChatRequest

_log = logging.getLogger("surefoot.llama_index")
FRAMEWORK_WORDS = frozenset({"formatted", "verbose", "tool_required", "allow_parallel_tool_calls"})


class Surefoot(StoredFields, FunctionCallingLLM):
    """A LlamaIndex LLM over surefoot: one retry owner, one deadline, shared limits, fallbacks, hedges, budgets, cache.

        Settings.llm = Surefoot(model="openai:gpt-5-mini", fallbacks=["anthropic:claude-haiku-4-5"])
        Surefoot(chat=ChatModel(...))        around a model you built; targets and policies are then said there

    The fields are those of surefoot's Target and Policy (of the first target: base_url, api_key, the limits) and ChatRequest.
    LlamaIndex's customary words are understood too: `timeout` is `deadline_s`, `max_retries` is `attempts` - 1.

    Nothing is doubled: the vendors' SDKs do not retry, and `rate_limiter` stays None (LlamaIndex asks it once a call and without a token
    count, so it cannot meter retries or tokens; say `requests_per_minute` and `tokens_per_minute` here). What is raised is surefoot's
    own error, final after the policy's attempts.

    Models with equal settings share one ChatModel in a process. Per call every option of a request may be set as a keyword; `model` names
    another model of the same provider. Words nobody knows are sent to the provider as they are.
    """

    MODEL = "model"
    GIVEN = "chat"

    model: str = Field(default="", description="provider:model, for example openai:gpt-5-mini.")
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
    extra: dict[str, Any] | None = Field(default=None, description="Provider-specific fields, passed through untouched.")
    """Fields of the vendor's own request, merged into its body; those known by name (`logprobs=`, `top_k=`, ...) are put here."""
    strict: bool | None = Field(default=None, description="Whether tools are held to their schemas, where nothing is said per call.")
    """Whether the vendor must hold the arguments of tools to their schemas. None: its default."""
    context_window: int | None = Field(default=None, description="Tokens; None asks the provider and the price list.")
    """The window that LlamaIndex sizes prompts by, in tokens. None: what the provider's table or the price list says."""
    is_function_calling_model: bool | None = Field(default=None, description="None asks the provider's table.")
    """Whether the model calls tools. None: what the provider's table says."""

    _payload: tuple[Any, dict[str, Any]] | None = PrivateAttr(default=None)

    def __init__(self, model: str = "", *, chat: ChatModel | None = None, **fields: Unpack[SurefootWords]) -> None:
        """Check everything that can be checked without asking anybody; raises Misconfigured naming the remedy."""
        words: dict[str, Any] = dict(fields)
        with locals_cleared(fields, words):  # type: ignore[arg-type]
            self._begin(model, chat, words)

    def _begin(self, model: str, chat: ChatModel | None, fields: dict[str, Any]) -> None:
        fields.pop("class_name", None)  # from_dict() passes it
        name = model or fields.pop("model_name", "") or (chat.targets[0] if chat is not None else "")
        values = normalise_kwargs({"model": name, **fields}, known=type(self).model_fields, owner=type(self).__name__)
        super().__init__(**key_field(values))
        if chat is not None:
            self._built = None, chat
        self._check_fields(chat)

    @classmethod
    def class_name(cls) -> str:
        """LlamaIndex's name of the class."""
        return "Surefoot_LLM"

    @property
    def surefoot(self) -> ChatModel:
        """The ChatModel underneath: `describe()`, `subscribe()`, `targets`."""
        return self._core(chat_model)  # type: ignore[no-any-return]

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex sizes prompts by; the model's window as far as its provider or the price list knows it.

        What is kept free for the answer is what the provider is told, at most what the model writes; where it is told nothing, LlamaIndex's
        256 tokens. LlamaIndex has no word for an unknown window: its own default of 3900 tokens stands there, and a warning says so once
        a model.
        """
        model = self.surefoot
        traits = model.traits
        size = context_size_of(model, self.model) if self.context_window is None else None
        if size is None and self.context_window is None and not traits.is_local:
            _warn_of_unknown_window(self.model)
        set_aside = size.total - size.question if size is not None else 0  # for the answer, whatever is asked of it
        limit = output_limit_of(model, self.model)
        told = self.max_tokens or traits.answer_tokens or DEFAULT_NUM_OUTPUTS  # and Anthropic's is told in any case
        calls_tools = traits.tools if self.is_function_calling_model is None else self.is_function_calling_model
        return LLMMetadata(
            context_window=self.context_window or (DEFAULT_CONTEXT_WINDOW if size is None else size.total),
            num_output=max(min(told, limit or told), set_aside),
            is_chat_model=True,
            is_function_calling_model=calls_tools,
            model_name=self.model.partition(":")[2],
            system_role=MessageRole.SYSTEM,
        )

    def to_payload(self) -> dict[str, Any]:
        """For LlamaIndex's events, at every call: the metadata and the provider. Worked out anew where something of it has changed."""
        model = self.surefoot
        said = (model.traits, self.model, self.max_tokens, self.context_window, self.is_function_calling_model)
        private = self.__pydantic_private__ or {}
        kept = private.get("_payload")
        if kept is None or kept[0] != said:
            told = {"class_name": self.class_name(), **self.metadata.model_dump(), "provider": self.model.partition(":")[0]}
            self._payload = kept = said, told
        return dict(kept[1])

    # --- the calls: translate in, ask, translate out -----------------------------------------------------------------------------

    def _asked(self, messages: Sequence[ChatMessage], options: Mapping[str, Any]) -> tuple[ChatModel, ChatRequest, dict[str, Any]]:
        model = self.surefoot
        target = model.targets[0]
        found = messages_in(messages, target)
        return model, *request_of(
            found,
            {**said_by(self), "model": None if self.model == target else self.model},
            options,
            target=target,
            conversions=CONVERSIONS,
            ignored=FRAMEWORK_WORDS,
            is_elsewhere=self._given() is not None or bool(self.base_url),
        )

    def _chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        model, request, said = self._asked(messages, kwargs)
        try:
            reply = model.invoke(request, **said)
        except ContentRefused as refused:
            return response_out(withheld(refused), refusal=refused.refusal)
        return response_out(reply)

    async def _achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        model, request, said = self._asked(messages, kwargs)
        try:
            reply = await model.ainvoke(request, **said)
        except ContentRefused as refused:
            return response_out(withheld(refused), refusal=refused.refusal)
        return response_out(reply)

    def _stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        model, request, said = self._asked(messages, kwargs)

        def responses() -> ChatResponseGen:
            growing = Growing()
            try:
                with model.stream(request, **said) as deltas:
                    for delta in deltas:
                        if (response := growing.add(delta)) is not None:
                            yield response
            except ContentRefused as refused:
                yield growing.whole(withheld(refused), refusal=refused.refusal)
            else:
                yield growing.whole(deltas.reply or ChatReply())

        return responses()

    async def _astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        model, request, said = self._asked(messages, kwargs)

        async def responses() -> ChatResponseAsyncGen:
            growing = Growing()
            try:
                async with model.astream(request, **said) as deltas:
                    async for delta in deltas:
                        if (response := growing.add(delta)) is not None:
                            yield response
            except ContentRefused as refused:
                yield growing.whole(withheld(refused), refusal=refused.refusal)
            else:
                yield growing.whole(deltas.reply or ChatReply())

        return responses()

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Ask and wait. Raises surefoot's errors."""
        return self._chat(messages, **kwargs)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """`chat`, from any loop."""
        return await self._achat(messages, **kwargs)

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Ask for a stream; every response carries the message so far. Leaving it early drops the connection."""
        return self._stream_chat(messages, **kwargs)

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """`stream_chat`, from any loop."""
        return await self._astream_chat(messages, **kwargs)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: FBT001, FBT002, ARG002 - LlamaIndex's signature
        """The prompt as a user's message."""
        return chat_to_completion_decorator(self._chat)(prompt, **kwargs)

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: FBT001, FBT002, ARG002 - LlamaIndex's signature
        """`complete`, from any loop."""
        return await achat_to_completion_decorator(self._achat)(prompt, **kwargs)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:  # noqa: FBT001, FBT002, ARG002 - LlamaIndex's signature
        """`complete` as a stream."""
        return stream_chat_to_completion_decorator(self._stream_chat)(prompt, **kwargs)

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:  # noqa: FBT001, FBT002, ARG002 - LlamaIndex's signature
        """`stream_complete`, from any loop."""
        return await astream_chat_to_completion_decorator(self._astream_chat)(prompt, **kwargs)

    # --- tools and structured prediction ------------------------------------------------------------------------------------------

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,  # noqa: FBT001, FBT002, ARG002 - LlamaIndex's signature
        allow_parallel_tool_calls: bool = False,  # noqa: FBT001, FBT002 - LlamaIndex's signature
        tool_required: bool = False,  # noqa: FBT001, FBT002 - LlamaIndex's signature
        tool_choice: str | dict[str, Any] | None = None,
        strict: bool | None = None,  # noqa: FBT001 - LlamaIndex's signature
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The keywords of a chat with `tools` at hand; `strict`, here or of the model, holds their arguments to their schemas."""
        messages = list(chat_history or ())
        if user_msg is not None:
            messages.append(ChatMessage(role=MessageRole.USER, content=user_msg) if isinstance(user_msg, str) else user_msg)
        if not tools:
            return {"messages": messages, **kwargs}
        choice = tool_choice or ("required" if tool_required else "auto")
        parallel = {"parallel_tool_calls": allow_parallel_tool_calls}
        strict = self.strict if strict is None else strict
        given = list(tools) if strict is None else [strictly(tool_in(tool), strict=strict) for tool in tools]
        return {"messages": messages, "tools": given, "tool_choice": choice, **parallel, **kwargs}

    def get_tool_calls_from_response(
        self,
        response: ChatResponse,
        error_on_no_tool_call: bool = True,  # noqa: FBT001, FBT002 - LlamaIndex's signature
        **kwargs: Any,  # noqa: ARG002 - LlamaIndex's signature
    ) -> list[ToolSelection]:
        """The tools the model wants called. Raises ValueError if there must be one and is none, InvalidOutput for broken arguments.

        Where there need be none, as in an agent's loop, a call with broken arguments is one of a tool that does not exist: it is not run,
        and the model is told why.
        """
        found = selections_out(response, tolerant=not error_on_no_tool_call)
        if not found and error_on_no_tool_call:
            raise ValueError(f"expected at least one tool call, the model answered with text: {(response.message.content or '')[:200]!r}")
        return found

    def stream_structured_predict(
        self, output_cls: type[Any], prompt: PromptTemplate, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> Generator[Any, None, None]:
        """Objects of `output_cls` growing field by field; the call of its tool is required, not only offered as LlamaIndex would."""
        if not self._predicts_by_tool():
            yield from super().stream_structured_predict(output_cls, prompt, llm_kwargs=llm_kwargs, **prompt_args)
            return
        yield from self._program(output_cls, prompt).stream_call(llm_kwargs=llm_kwargs, **prompt_args)

    async def astream_structured_predict(
        self, output_cls: type[Any], prompt: PromptTemplate, llm_kwargs: dict[str, Any] | None = None, **prompt_args: Any
    ) -> AsyncGenerator[Any, None]:
        """`stream_structured_predict`, from any loop: await it, then iterate."""
        if not self._predicts_by_tool():
            return await super().astream_structured_predict(output_cls, prompt, llm_kwargs=llm_kwargs, **prompt_args)
        return await self._program(output_cls, prompt).astream_call(llm_kwargs=llm_kwargs, **prompt_args)

    def _predicts_by_tool(self) -> bool:
        by_tool = {PydanticProgramMode.DEFAULT, PydanticProgramMode.FUNCTION}
        return self.metadata.is_function_calling_model and self.pydantic_program_mode in by_tool

    def _program(self, output_cls: type[Any], prompt: PromptTemplate) -> FunctionCallingProgram[Any]:
        return FunctionCallingProgram.from_defaults(output_cls=output_cls, llm=self, prompt=prompt, tool_choice="required")


@lru_cache(maxsize=256)
def _warn_of_unknown_window(model: str) -> None:
    _log.warning(
        "the context window of %s is unknown: LlamaIndex sizes prompts and memories for %d tokens; say context_window=",
        model,
        DEFAULT_CONTEXT_WINDOW,
    )


# LlamaIndex inspects the signature of what it wraps at every call; one at hand saves some 10 us of it.
for _name in ("chat", "achat", "stream_chat", "astream_chat", "complete", "acomplete", "stream_complete", "astream_complete"):
    _inner: Any = getattr(vars(Surefoot)[_name], "__wrapped__", None)
    if callable(_inner):
        _inner.__signature__ = inspect.signature(_inner)
