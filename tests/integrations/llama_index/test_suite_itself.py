"""The LlamaIndex suite finds what it is for: each broken class fails its check, and a changed check fails the suite."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.llms.callbacks import llm_chat_callback

from llama_index.embeddings.surefoot import SurefootEmbedding
from llama_index.llms.surefoot import Surefoot
from llama_index_suite import EmbeddingSuite, LLMSuite
from surefoot import ChatModel, EmbedModel
from surefoot.core._tool_calls import checked_tool_call
from surefoot.testing import Scripted
from surefoot.types import ChatReply, Delta, ToolCallDelta

ARGUMENTS = '{"setup": "s", "punchline": "p"}'


class OnlyDeltas(Surefoot):
    """Streams pieces instead of the message so far."""

    def _stream_chat(self, messages: Any, **kwargs: Any) -> Any:
        for response in super()._stream_chat(messages, **kwargs):
            response.message.blocks[0].text = response.delta
            yield response


class OnlyBlocks(Surefoot):
    """Keeps tool calls in blocks alone, as LlamaIndex's types suggest."""

    def _chat(self, messages: Any, **kwargs: Any) -> Any:
        return self._bare(super()._chat(messages, **kwargs))

    def _stream_chat(self, messages: Any, **kwargs: Any) -> Any:
        yield from map(self._bare, super()._stream_chat(messages, **kwargs))

    @staticmethod
    def _bare(response: Any) -> Any:
        response.message.additional_kwargs.pop("tool_calls", None)
        return response


class ToldTwice(Surefoot):
    """Decorates a chat that is decorated already."""

    @llm_chat_callback()
    def chat(self, messages: Any, **kwargs: Any) -> Any:
        return super().chat(messages, **kwargs)


class Leaky(Surefoot):
    """Puts its key into every event."""

    def to_payload(self) -> dict[str, Any]:
        return {**super().to_payload(), "api_key": "sk-leaked"}


class Uncounted(Surefoot):
    """Forgets what the provider counted."""

    def _chat(self, messages: Any, **kwargs: Any) -> Any:
        response = super()._chat(messages, **kwargs)
        response.raw, response.additional_kwargs = None, {}
        return response


class Shuffled(SurefootEmbedding):
    """Gives the rows of a batch in another order."""

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return super()._get_text_embeddings(texts)[::-1]


class OneRole(SurefootEmbedding):
    """Gives a query as something that is no list of floats."""

    def _get_query_embedding(self, query: str) -> Any:
        return self.surefoot.embed_query(query)


class OwnSuite(LLMSuite):
    secrets = ("sk-leaked",)


def call_pieces() -> list[Delta]:
    return [Delta(tool_calls=(ToolCallDelta(index=0, id="1", name="Joke", arguments=ARGUMENTS),)), Delta(finish_reason="tool_calls")]


def magic() -> ChatReply:
    return ChatReply(tool_calls=(checked_tool_call(id="1", name="magic_function", arguments='{"input": 3}'),), finish_reason="tool_calls")


@pytest.mark.parametrize(
    ("kind", "check", "step"),
    [
        (OnlyDeltas, "test_stream_chat", "hello there"),
        (OnlyDeltas, "test_stream_complete", "hello there"),
        (OnlyBlocks, "test_tool_calls_stand_in_blocks_and_in_additional_kwargs", magic()),
        (OnlyBlocks, "test_structured_prediction_streamed", call_pieces()),
        (ToldTwice, "test_callbacks_begin_and_end_once", "hello there"),
        (Leaky, "test_payload_is_plain_and_holds_no_key", "hello"),
        (Leaky, "test_events_tell_start_and_end", "hello"),
        (Uncounted, "test_tokens_are_counted_by_the_provider", "hello"),
    ],
)
def test_a_broken_llm_fails_its_check_and_ours_passes(kind, check, step):
    """A check that cannot fail proves nothing."""
    getattr(OwnSuite(), check)(Surefoot(chat=ChatModel(Scripted(step))))
    with pytest.raises((AssertionError, KeyError)):
        getattr(OwnSuite(), check)(kind(chat=ChatModel(Scripted(step))))


@pytest.mark.parametrize(("kind", "check"), [(Shuffled, "test_batch_keeps_the_order"), (OneRole, "test_query")])
def test_a_broken_embedding_fails_its_check_and_ours_passes(kind, check):
    """As for LLMs."""
    getattr(EmbeddingSuite(), check)(SurefootEmbedding(embed=EmbedModel(Scripted())))
    with pytest.raises(AssertionError):
        getattr(EmbeddingSuite(), check)(kind(embed=EmbedModel(Scripted())))


def test_a_check_that_is_overridden_is_found():
    """Unless it says why it is expected to fail."""

    class Changed(LLMSuite):
        def test_chat(self, llm: Any) -> None:
            """Always well."""

    class Removed(LLMSuite):
        test_chat = None

    class Excused(LLMSuite):
        @pytest.mark.xfail(reason="the vendor answers nothing")
        def test_chat(self, llm: Any) -> None:
            """Expected to fail."""

    class Unreasoned(LLMSuite):
        @pytest.mark.xfail
        def test_chat(self, llm: Any) -> None:
            """Says not why."""

    for kind in (Changed, Removed, Unreasoned):
        with pytest.raises(AssertionError, match="test_chat"):
            kind().test_no_check_is_overridden()
    Excused().test_no_check_is_overridden()
    LLMSuite().test_no_check_is_overridden()


def test_what_a_class_cannot_do_is_skipped_by_name():
    """A skip without a name is a hole."""
    with pytest.raises(pytest.skip.Exception, match="image inputs"):
        LLMSuite().test_a_picture(None)
