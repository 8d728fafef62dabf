"""The simulator of OpenAI's Responses API, by the vendor's own SDK: its types take every answer and every event."""

from __future__ import annotations

import openai
import pytest
from openai.types import responses
from pydantic import TypeAdapter

from surefoot.testing.wire import OpenAISim, PlainAnswer, PlainToolCall

EVENT = TypeAdapter(responses.ResponseStreamEvent)
WHOLE = TypeAdapter(responses.Response)
WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
THINKING = {
    "model": "gpt-5.6",
    "reasoning": {"effort": "low", "summary": "auto"},
    "include": ["reasoning.encrypted_content"],
    "store": False,
}
ASKED = {
    "text": {"model": "gpt-4.1", "input": "hi"},
    "thinking": {**THINKING, "input": "hi"},
    "tools": {**THINKING, "input": "call weather('Paris')", "tools": [{"type": "web_search"}, WEATHER]},
    "length": {"model": "gpt-4.1", "input": "hi", "max_output_tokens": 3},
}


@pytest.fixture(scope="module")
def client():
    with OpenAISim() as sim, openai.OpenAI(base_url=f"{sim.url}/v1", api_key="k", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("asked", ASKED)
def test_the_sdks_types_take_whole_answers_and_streams(client, asked):
    """Strictly: the SDK itself would take anything."""
    whole = client.responses.create(**ASKED[asked])
    WHOLE.validate_python(whole.model_dump(by_alias=True))
    events = list(client.responses.create(**ASKED[asked], stream=True))
    for event in events:
        EVENT.validate_python(event.model_dump(by_alias=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1].response
    assert [item.type for item in last.output] == [item.type for item in whole.output]
    assert last.output_text == whole.output_text == "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert last.status == ("incomplete" if asked == "length" else "completed")


def test_the_sdks_own_stream_helper_comes_to_the_same(client):
    """It puts the pieces together by itself."""
    with client.responses.stream(**ASKED["tools"]) as stream:
        final = stream.get_final_response()
    call = next(item for item in final.output if item.type == "function_call")
    assert (call.name, call.arguments) == ("weather", '{"city":"Paris"}')
    assert final.usage.output_tokens_details.reasoning_tokens == 32


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"stop": ["x"]}, "Unknown parameter: 'stop'"),
        ({"include": ["reasoning.encrypted_content"]}, "Encrypted content is not supported"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, r"tools\[0\].name"),
        ({"tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}]}, "additionalProperties"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "No tool call found"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]}, "No tool output found"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "not persisted"),
        ({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "Invalid value: 'text'"),
    ],
)
def test_what_the_api_refuses_is_refused(client, wrong, why):
    """In its words."""
    with pytest.raises(openai.APIStatusError, match=why):
        client.responses.create(model="gpt-4.1", input="hi", extra_body=wrong)


def test_tools_that_do_not_speak_of_strictness_are_taken(client):
    """The API makes such a schema a strict one by itself; LangChain's ChatOpenAI sends its tools so."""
    tool = {name: value for name, value in WEATHER.items() if name != "strict"}
    assert client.responses.create(model="gpt-4.1", input="call weather('Paris')", tools=[tool]).output[0].name == "weather"


def test_thoughts_must_come_back_whole_and_in_their_place(client):
    """Before the call that they led to, as this server wrote them, and never last."""
    first = client.responses.create(**ASKED["tools"]).model_dump(by_alias=True, exclude_none=True)["output"]
    thoughts, _, call = first
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "22"}
    good = [{"role": "user", "content": "hi"}, *first, result]
    assert "22" in client.responses.create(**{**ASKED["tools"], "input": good}).output_text
    bad = {
        "without its required 'reasoning' item": [call, result],
        "not found": [{**thoughts, "encrypted_content": "forged"}, call, result],
        "required following item": [call and {"role": "user", "content": "x"}, thoughts],
    }
    for why, items in bad.items():
        with pytest.raises(openai.APIStatusError, match=why):
            client.responses.create(**{**ASKED["tools"], "input": items})


def test_scripts_and_refusals_are_played_in_its_form():
    """What is said by a script, in the API's own items."""
    with OpenAISim() as sim, openai.OpenAI(base_url=f"{sim.url}/v1", api_key="k", max_retries=0) as client:
        sim.script([PlainAnswer(text="no", finish="refusal"), PlainAnswer(calls=(PlainToolCall("a", "{}"), PlainToolCall("b", "{}")))])
        refused = client.responses.create(model="gpt-4.1", input="hi")
        assert refused.output[0].content[0].refusal == "no"
        called = client.responses.create(model="gpt-4.1", input="hi")
        assert [item.name for item in called.output] == ["a", "b"]
        assert len({item.call_id for item in called.output}) == 2
