"""Tools as dicts: functions in any vendor's spelling, and what is a vendor's own."""

from __future__ import annotations

import json

import pytest

from surefoot.core.tool_dicts import tool_of, vendor_of
from surefoot.errors import BadRequest
from surefoot.models.requests import chat_request
from surefoot.types import Tool

SHAPE = {"type": "object", "properties": {"city": {"type": "string"}}}
SAID = {"name": "weather", "description": "of a city"}
FUNCTIONS = [
    {"type": "function", "function": {**SAID, "parameters": SHAPE}},
    {"type": "function", **SAID, "parameters": SHAPE},
    {**SAID, "parameters": SHAPE},
    {**SAID, "input_schema": SHAPE},
    {"type": "custom", **SAID, "input_schema": SHAPE},
]
OWN = {
    "anthropic": [
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
        {"type": "bash_20250124", "name": "bash"},
        {"type": "mcp_toolset", "mcp_server_name": "x"},
    ],
    "openai": [
        {"type": "web_search_preview_2025_03_11"},
        {"type": "mcp", "server_label": "x"},
        {"type": "builtin_function", "function": {"name": "$web_search"}},
        {"type": "custom", "name": "run_sql", "format": {"type": "grammar"}},
    ],
    "google": [{"google_search": {}}, {"googleSearch": {"timeRangeFilter": {}}}, {"code_execution": {}, "url_context": {}}],
}


@pytest.mark.parametrize("given", FUNCTIONS, ids=range(len(FUNCTIONS)))
def test_a_function_is_one_in_every_spelling(given):
    """The caller need not know whose spelling the target speaks."""
    tool = tool_of(given)
    assert (tool.name, tool.description, json.loads(tool.parameters)) == ("weather", "of a city", SHAPE)
    assert (tool.vendor, tool.raw) == ("", "")


def test_a_json_schema_with_a_title_is_a_function_of_that_name():
    """As LangChain has it."""
    tool = tool_of({"title": "City", "description": "a city", **SHAPE})
    assert (tool.name, tool.description, json.loads(tool.parameters)["properties"]) == ("City", "a city", SHAPE["properties"])


@pytest.mark.parametrize(("vendor", "given"), [(vendor, one) for vendor, many in OWN.items() for one in many], ids=str)
def test_a_vendors_own_tool_is_kept_as_it_is(vendor, given):
    """Turned into a function of its name, the model would call what nobody can run."""
    tool = tool_of(given)
    assert vendor_of(given) == tool.vendor == vendor
    assert (json.loads(tool.raw), tool.parameters) == (given, "")
    assert tool.name


def test_words_beside_a_function_are_kept_for_their_vendor():
    """cache_control on a tool is money; other vendors get what they understand."""
    marked = tool_of({**FUNCTIONS[3], "cache_control": {"type": "ephemeral"}})
    assert (marked.vendor, json.loads(marked.parameters)) == ("anthropic", SHAPE)
    assert json.loads(marked.raw)["cache_control"] == {"type": "ephemeral"}
    assert tool_of({**FUNCTIONS[0], "cache_control": {}}).vendor == "openai"


@pytest.mark.parametrize(
    "given", [{}, {"type": "function"}, {"parameters": SHAPE}, {"name": 7}, {"name": "f", "parameters": {"x": object()}}]
)
def test_what_is_no_tool_is_told_before_anything_is_sent(given):
    """Also what cannot be written as JSON."""
    with pytest.raises(BadRequest, match="nothing was sent"):
        tool_of(given)


def test_a_models_options_take_dicts_and_nothing_else():
    """`chat.invoke(..., tools=[{...}])`, as in the vendors' SDKs."""
    tool = Tool(name="t")
    assert chat_request("hi", {"tools": [tool, FUNCTIONS[0]]}).tools == (tool, tool_of(FUNCTIONS[0]))
    with pytest.raises(BadRequest, match="not function"):
        chat_request("hi", {"tools": [lambda: None]})
