"""What the class takes at construction, for editors and type checkers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surefoot.adapter.typed import ChatWords

if TYPE_CHECKING:
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.prompts import BasePromptTemplate
    from llama_index.core.types import BaseOutputParser, PydanticProgramMode


class SurefootWords(ChatWords, total=False):
    """Of Surefoot, beside `model` and `chat`: what every chat adapter takes, and LlamaIndex's own."""

    model_name: str
    strict: bool | None
    context_window: int | None
    is_function_calling_model: bool | None
    is_chat_model: bool
    reuse_client: bool
    callback_manager: CallbackManager | None
    system_prompt: str | None
    messages_to_prompt: Any
    completion_to_prompt: Any
    pydantic_program_mode: PydanticProgramMode
    output_parser: BaseOutputParser | None
    query_wrapper_prompt: BasePromptTemplate | None
    rate_limiter: Any
