"""The checks of tool calling."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole, ToolCallBlock
from llama_index.core.tools import FunctionTool

from llama_index_suite._base import needs

ORDER = "Call magic_function(input=3)"


def magic_function(input: int) -> int:  # noqa: A002 - the argument's name is part of the check
    """Apply a magic function to an input."""
    return input + 2


def no_argument_function() -> int:
    """Give the magic number, without arguments."""
    return 5


def create_customer(customer_name: str) -> str:
    """Create a customer by name."""
    return f"created {customer_name}"


MAGIC = FunctionTool.from_defaults(magic_function)
NO_ARGUMENT = FunctionTool.from_defaults(no_argument_function)
CUSTOMER = FunctionTool.from_defaults(create_customer)


class ToolChecks:
    """Mixed into LLMSuite."""

    has_tool_calling: bool = True
    has_tool_required: bool = True  # the provider can be made to call a tool
    has_parallel_tool_calls: bool = True

    def _called(self, llm: Any, response: ChatResponse) -> list[tuple[str, dict[str, Any]]]:
        return [(call.tool_name, call.tool_kwargs) for call in llm.get_tool_calls_from_response(response)]

    @pytest.fixture(autouse=True)
    def _tools_are_needed(self, request: pytest.FixtureRequest) -> None:
        if request.function.__name__.startswith("test_tool"):
            needs(self.has_tool_calling, "tool calling")

    def test_tool_call(self, llm: Any) -> None:
        """The tool that is needed, with its arguments parsed."""
        response = llm.chat_with_tools([MAGIC], user_msg=ORDER, tool_required=self.has_tool_required)
        assert self._called(llm, response) == [("magic_function", {"input": 3})]

    def test_tool_call_async(self, llm: Any) -> None:
        """The same, awaited."""
        response = asyncio.run(_awaited(llm.achat_with_tools([MAGIC], user_msg=ORDER, tool_required=self.has_tool_required)))
        assert self._called(llm, response) == [("magic_function", {"input": 3})]

    def test_tool_call_streamed(self, llm: Any) -> None:
        """The last response holds the whole call."""
        *_, last = llm.stream_chat_with_tools([MAGIC], user_msg=ORDER, tool_required=self.has_tool_required)
        assert self._called(llm, last) == [("magic_function", {"input": 3})]

    def test_tool_call_streamed_async(self, llm: Any) -> None:
        """The same, awaited."""

        async def read() -> ChatResponse:
            stream = await llm.astream_chat_with_tools([MAGIC], user_msg=ORDER, tool_required=self.has_tool_required)
            return [response async for response in stream][-1]  # type: ignore[no-any-return]

        assert self._called(llm, asyncio.run(read())) == [("magic_function", {"input": 3})]

    def test_tool_calls_under_way_can_be_read(self, llm: Any) -> None:
        """Agents ask every response of a stream for its calls; half a call must not raise."""
        for response in llm.stream_chat_with_tools([MAGIC], user_msg=ORDER, tool_required=self.has_tool_required):
            assert isinstance(llm.get_tool_calls_from_response(response, error_on_no_tool_call=False), list)

    def test_tool_calls_stand_in_blocks_and_in_additional_kwargs(self, llm: Any) -> None:
        """Agents read blocks; streamed programs, memories and engines read additional_kwargs."""
        message = llm.chat_with_tools([MAGIC], user_msg=ORDER, tool_required=self.has_tool_required).message
        assert [block.tool_name for block in message.blocks if isinstance(block, ToolCallBlock)] == ["magic_function"]
        assert len(message.additional_kwargs["tool_calls"]) == 1

    def test_tool_without_arguments(self, llm: Any) -> None:
        """An empty object, not nothing."""
        response = llm.chat_with_tools([NO_ARGUMENT], user_msg="Call no_argument_function()", tool_required=self.has_tool_required)
        assert self._called(llm, response) == [("no_argument_function", {})]

    def test_tool_arguments_in_all_scripts(self, llm: Any) -> None:
        """Letters, not escapes."""
        order = "Create a customer: create_customer(customer_name='你好啊集团')"
        response = llm.chat_with_tools([CUSTOMER], user_msg=order, tool_required=self.has_tool_required)
        assert "你好" in self._called(llm, response)[0][1]["customer_name"]

    def test_tools_called_in_parallel(self, llm: Any) -> None:
        """Two calls in one answer, where that is allowed."""
        needs(self.has_parallel_tool_calls, "parallel tool calls")
        order = "Call magic_function(input=3) and magic_function(input=4)"
        response = llm.chat_with_tools([MAGIC], user_msg=order, allow_parallel_tool_calls=True, tool_required=self.has_tool_required)
        assert self._called(llm, response) == [("magic_function", {"input": 3}), ("magic_function", {"input": 4})]

    def test_tool_not_called_is_an_error_or_an_empty_list(self, llm: Any) -> None:
        """As the caller asks."""
        response = llm.chat([ChatMessage("Hello")])
        assert llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
        with pytest.raises(ValueError, match=r"\w"):
            llm.get_tool_calls_from_response(response, error_on_no_tool_call=True)

    def test_tools_at_hand_need_not_be_called(self, llm: Any) -> None:
        """A greeting is answered."""
        response = llm.chat_with_tools([MAGIC], user_msg="Hello")
        assert response.message.content or llm.get_tool_calls_from_response(response)

    def test_tool_is_predicted_and_called(self, llm: Any) -> None:
        """The function's own result comes back."""
        assert str(llm.predict_and_call([MAGIC], user_msg=ORDER, tool_required=self.has_tool_required).response) == "5"

    def test_tool_is_predicted_and_called_async(self, llm: Any) -> None:
        """The same, awaited."""
        found = asyncio.run(_awaited(llm.apredict_and_call([MAGIC], user_msg=ORDER, tool_required=self.has_tool_required)))
        assert str(found.response) == "5"

    def test_tool_result_goes_back(self, llm: Any) -> None:
        """Call, result, answer: what agents do."""
        assert llm.chat(self._history(llm, "5")).message.content

    def test_tool_failure_goes_back(self, llm: Any) -> None:
        """A tool that failed says so in its result."""
        assert llm.chat(self._history(llm, "Error: out of magic", is_error=True)).message.content

    def _history(self, llm: Any, result: str, **extra: Any) -> list[ChatMessage]:
        called = llm.chat_with_tools([MAGIC], user_msg=ORDER, tool_required=self.has_tool_required)
        (call,) = llm.get_tool_calls_from_response(called)
        words = {"tool_call_id": call.tool_id, "name": call.tool_name, **extra}
        answer = ChatMessage(role=MessageRole.TOOL, content=result, additional_kwargs=words)
        return [ChatMessage(role=MessageRole.USER, content=ORDER), called.message, answer]

    @pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
    def test_tool_agent(self, llm: Any, *, streaming: bool) -> None:
        """FunctionAgent calls the tool and answers with its result at hand."""

        async def run() -> Any:
            agent = FunctionAgent(tools=[MAGIC], llm=llm, streaming=streaming)
            return await agent.run(ORDER)

        output = asyncio.run(run())
        assert [(call.tool_name, str(call.tool_output.content)) for call in output.tool_calls] == [("magic_function", "5")]
        assert str(output)


async def _awaited(answer: Any) -> Any:
    return await answer
