"""The suite for LLM classes: chat and completion in eight ways, events, inputs; tools and programs come from their own files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    DocumentBlock,
    ImageBlock,
    LLMMetadata,
    MessageRole,
    TextBlock,
)
from llama_index.core.callbacks import CallbackManager, CBEventType, TokenCountingHandler
from llama_index.core.llms.llm import LLM

from llama_index_suite._base import CountingHandler, CountingLimiter, FrameworkSuite, listening, needs
from llama_index_suite._programs import ProgramChecks
from llama_index_suite._tools import ToolChecks

HELLO = [ChatMessage(role=MessageRole.USER, content="Hello")]
ENOUGH_TOKENS = 10_000_000  # a tokenizer's estimate never reaches it; a counter does not either
PIXEL = bytes.fromhex(  # a PNG of one white pixel
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8ffff3f0005fe02fe0def46b80000000049454e44ae426082"
)
PAGE = (
    b"%PDF-1.1\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
)


class LLMSuite(ToolChecks, ProgramChecks, FrameworkSuite):
    """Derive, set `llm_class` and `llm_params`, say what it cannot do."""

    llm_class: type[LLM]
    llm_params: Mapping[str, Any] = {}
    call_kwargs: Mapping[str, Any] = {"temperature": 0.0, "max_tokens": 50}
    has_image_inputs: bool = False
    has_document_inputs: bool = False
    has_usage: bool = True  # token counts in `raw` or `additional_kwargs`
    has_usage_in_streams: bool = True

    @pytest.fixture
    def llm(self) -> LLM:
        """The object under test, anew for every check."""
        return self.llm_class(**self.llm_params)

    # --- construction ---

    def test_is_an_llm_with_a_name(self, llm: LLM) -> None:
        """Registries and stored workflows find classes by it."""
        assert isinstance(llm, LLM)
        assert llm.class_name()
        assert llm.class_name() not in {"base_component", "custom_llm", "llm"}

    def test_metadata_is_plausible(self, llm: LLM) -> None:
        """Prompts are sized by it."""
        data = llm.metadata
        assert isinstance(data, LLMMetadata)
        assert data.context_window > 0
        assert data.num_output != 0
        assert data.model_name
        assert data.model_name != "unknown"

    def test_metadata_says_what_the_class_can_do(self, llm: LLM) -> None:
        """Agents and programs choose their way by it."""
        assert llm.metadata.is_chat_model
        assert llm.metadata.is_function_calling_model == self.has_tool_calling

    def test_payload_is_plain_and_holds_no_key(self, llm: LLM) -> None:
        """It goes into every event and from there into logs."""
        payload = llm.to_payload()
        assert json.dumps(payload, default=str)
        self.holds_no_secret(payload)

    def test_stored_and_loaded_it_is_the_same_class(self, llm: LLM) -> None:
        """Stored indices and workflows hold their models; keys are given again."""
        stored = llm.to_dict()
        self.holds_no_secret(stored)
        again = self.llm_class.from_dict({**stored, **self.llm_params})
        assert again.metadata == llm.metadata

    # --- eight ways to ask ---

    def test_complete(self, llm: LLM) -> None:
        """A prompt, an answer."""
        response = llm.complete("Hello")
        assert isinstance(response, CompletionResponse)
        assert response.text

    def test_acomplete(self, llm: LLM) -> None:
        """The same, awaited."""
        assert asyncio.run(_first(llm.acomplete("Hello"))).text

    def test_stream_complete(self, llm: LLM) -> None:
        """Text grows; deltas make it up."""
        _grows([(response.text, response.delta) for response in llm.stream_complete("Hello")])

    def test_astream_complete(self, llm: LLM) -> None:
        """The same, awaited."""
        _grows([(response.text, response.delta) for response in asyncio.run(_all(llm.astream_complete("Hello")))])

    def test_chat(self, llm: LLM) -> None:
        """Messages, an assistant's message."""
        response = llm.chat(HELLO)
        assert isinstance(response, ChatResponse)
        assert response.message.role == MessageRole.ASSISTANT
        assert response.message.content

    def test_achat(self, llm: LLM) -> None:
        """The same, awaited."""
        assert asyncio.run(_first(llm.achat(HELLO))).message.content

    def test_stream_chat(self, llm: LLM) -> None:
        """Every response carries the message so far and the piece that is new."""
        _grows([(response.message.content or "", response.delta) for response in llm.stream_chat(HELLO)])

    def test_astream_chat(self, llm: LLM) -> None:
        """The same, awaited."""
        _grows([(response.message.content or "", response.delta) for response in asyncio.run(_all(llm.astream_chat(HELLO)))])

    def test_a_stream_ends_with_an_assistants_message(self, llm: LLM) -> None:
        """Chat engines put the last one into memory."""
        *_, last = llm.stream_chat(HELLO)
        assert last.message.role == MessageRole.ASSISTANT
        assert last.message.content

    def test_many_at_once(self, llm: LLM) -> None:
        """Ingestion and evaluation ask in parallel."""

        async def ask() -> list[ChatResponse]:
            return await asyncio.gather(*(llm.achat(HELLO) for _ in range(8)))

        assert all(response.message.content for response in asyncio.run(ask()))

    def test_one_object_on_two_loops(self, llm: LLM) -> None:
        """Notebooks and test runners make a loop a call; a client tied to the first dies with "Event loop is closed"."""
        assert asyncio.run(_first(llm.achat(HELLO))).message.content
        assert asyncio.run(_first(llm.achat(HELLO))).message.content

    def test_sync_inside_a_running_loop(self, llm: LLM) -> None:
        """Notebooks have one running."""

        async def ask() -> ChatResponse:
            return llm.chat(HELLO)

        assert asyncio.run(ask()).message.content

    def test_a_stream_may_be_left_early(self, llm: LLM) -> None:
        """A reader who closes the page must not break the next call."""
        stream = llm.stream_chat([ChatMessage("Write a long story about a cat.")])
        next(iter(stream))
        stream.close()
        assert llm.chat(HELLO).message.content

    # --- what is asked ---

    def test_a_conversation(self, llm: LLM) -> None:
        """System, user and assistant take turns."""
        turns = [("system", "Be brief."), ("user", "Hello"), ("assistant", "Hello!"), ("user", "How are you?")]
        assert llm.chat([ChatMessage(role=role, content=text) for role, text in turns]).message.content

    def test_messages_of_one_role_in_a_row(self, llm: LLM) -> None:
        """Summaries and retrieved context are put beside what was said."""
        turns = [
            ("system", "Be brief."),
            ("user", "Hello"),
            ("user", "there"),
            ("assistant", "Hi"),
            ("assistant", "there"),
            ("user", "And?"),
        ]
        assert llm.chat([ChatMessage(role=role, content=text) for role, text in turns]).message.content

    def test_its_own_answer_goes_back(self, llm: LLM) -> None:
        """What came out of chat() must be acceptable as history."""
        answer = llm.chat(HELLO).message
        assert llm.chat([*HELLO, answer, ChatMessage("Go on.")]).message.content

    def test_content_of_several_blocks(self, llm: LLM) -> None:
        """Templates make messages of blocks."""
        assert llm.chat([ChatMessage(blocks=[TextBlock(text="Hello"), TextBlock(text="there")])]).message.content

    def test_letters_of_all_scripts(self, llm: LLM) -> None:
        """Prompts are not ASCII."""
        assert llm.complete("Merhaba dünya, 你好, 👋").text

    def test_options_of_one_call(self, llm: LLM) -> None:
        """Keywords reach the provider instead of raising."""
        assert llm.chat(HELLO, **self.call_kwargs).message.content
        assert llm.complete("Hello", **self.call_kwargs).text

    def test_a_picture(self, llm: LLM) -> None:
        """An ImageBlock beside text."""
        needs(self.has_image_inputs, "image inputs")
        blocks = [TextBlock(text="What is this?"), ImageBlock(image=PIXEL, image_mimetype="image/png")]
        assert llm.chat([ChatMessage(blocks=blocks)]).message.content

    def test_a_document(self, llm: LLM) -> None:
        """A DocumentBlock beside text."""
        needs(self.has_document_inputs, "document inputs")
        document = DocumentBlock(data=PAGE, title="page.pdf", document_mimetype="application/pdf")
        assert llm.chat([ChatMessage(blocks=[TextBlock(text="Summarise."), document])]).message.content

    # --- prompts ---

    def test_predict_in_four_ways(self, llm: LLM) -> None:
        """A template instead of messages."""
        prompt = PromptTemplate("Say {word}")
        assert llm.predict(prompt, word="Hello")
        assert asyncio.run(_first(llm.apredict(prompt, word="Hello")))
        assert "".join(llm.stream(prompt, word="Hello"))
        assert "".join(asyncio.run(_all(llm.astream(prompt, word="Hello"))))

    def test_a_system_prompt(self) -> None:
        """A field of every LLM."""
        llm = self.llm_class(**{**self.llm_params, "system_prompt": "Be brief."})
        assert llm.predict(PromptTemplate("Hello"))

    # --- what is told of a call ---

    def test_tokens_are_counted_by_the_provider(self, llm: LLM) -> None:
        """TokenCountingHandler reads `raw`; a tokenizer that fails shows that it was not asked."""
        needs(self.has_usage, "token counts")
        assert self._counted(llm, lambda: llm.chat(HELLO))

    def test_tokens_of_streams_are_counted_by_the_provider(self, llm: LLM) -> None:
        """As for whole answers."""
        needs(self.has_usage_in_streams, "token counts in streams")
        assert self._counted(llm, lambda: list(llm.stream_chat(HELLO)))

    @staticmethod
    def _counted(llm: LLM, ask: Any) -> bool:
        counter = TokenCountingHandler(tokenizer=lambda _: [0] * ENOUGH_TOKENS)
        llm.callback_manager = CallbackManager([counter])
        ask()
        return 0 < counter.prompt_llm_token_count < ENOUGH_TOKENS and 0 < counter.completion_llm_token_count < ENOUGH_TOKENS

    def test_callbacks_begin_and_end_once(self, llm: LLM) -> None:
        """A completion that goes through chat must not be told twice."""
        for ask in (lambda: llm.chat(HELLO), lambda: llm.complete("Hello"), lambda: list(llm.stream_chat(HELLO))):
            handler = CountingHandler()
            llm.callback_manager = handler.manager
            ask()
            assert handler.started.count(CBEventType.LLM) == handler.ended.count(CBEventType.LLM) == 1

    def test_events_tell_start_and_end(self, llm: LLM) -> None:
        """Tracing is built on them; none may hold a key."""
        with listening() as heard:
            llm.chat(HELLO)
        assert heard.names.count("LLMChatStartEvent") == heard.names.count("LLMChatEndEvent") == 1
        self.holds_no_secret(*[event.model_dump() for event in heard.heard])

    def test_events_tell_a_streams_progress(self, llm: LLM) -> None:
        """One in progress for every response, an end when it is read."""
        with listening() as heard:
            count = len(list(llm.stream_chat(HELLO)))
        assert heard.names.count("LLMChatInProgressEvent") == count
        assert heard.names.count("LLMChatEndEvent") == 1

    def test_a_rate_limiter_is_asked_once_a_call(self) -> None:
        """LlamaIndex's own seam for limits."""
        limiter = CountingLimiter()
        llm = self.llm_class(**{**self.llm_params, "rate_limiter": limiter})
        llm.chat(HELLO)
        asyncio.run(_first(llm.achat(HELLO)))
        assert limiter.asked == 2


async def _first(answer: Any) -> Any:
    return await answer


async def _all(answer: Any) -> list[Any]:
    return [one async for one in await answer]


def _grows(seen: list[tuple[str, str | None]]) -> None:
    """Check the rule of LlamaIndex's streams."""
    assert len(seen) > 1, "a stream of one piece is no stream"
    texts = [text for text, _ in seen]
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts)), "the text so far must only grow"
    assert "".join(delta or "" for _, delta in seen) == texts[-1], "the deltas must make up the text"
