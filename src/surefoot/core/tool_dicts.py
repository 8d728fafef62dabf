"""A tool as a dict, in OpenAI's, Anthropic's or Gemini's spelling, as a Tool: nothing that a vendor said of it is lost.

A function becomes name, description and parameters, which every provider translates. A vendor's own tool (web search, code execution, ...)
is kept as it is, under the vendor's name: sent to that vendor alone, see `types.Tool`. Sources: the tool sections of the three API
references, as of 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from surefoot.errors import BadRequest
from surefoot.text import json_text, text_of
from surefoot.types import Tool

_DATED = re.compile(r"_\d{8}$")  # Anthropic's own tools: web_search_20250305; OpenAI's dates hold underscores
_UNDATED = frozenset({"mcp_toolset"})  # Anthropic's without a date
_GEMINI = frozenset({  # without their underscores: the API takes google_search and googleSearch
    "googlesearch", "googlesearchretrieval", "codeexecution", "urlcontext", "googlemaps", "filesearch", "computeruse",
    "enterprisewebsearch", "retrieval", "functiondeclarations", "mcpservers",
})  # fmt: skip
# Anthropic's words for a tool, which people also write beside a function in OpenAI's spelling.
ANTHROPIC_WORDS = frozenset({"cache_control", "defer_loading", "allowed_callers", "input_examples", "eager_input_streaming"})
_FUNCTION = frozenset({"type", "function"})
_DECLARED = frozenset({"name", "description", "parameters", "strict"})
_ANTHROPIC = frozenset({"type", "name", "description", "input_schema", "strict"})


def vendor_of(given: Mapping[str, Any]) -> str:
    """The provider whose own tool `given` is: "anthropic", "google" or "openai" (and servers of its protocol); "" for a function."""
    kind = given.get("type")
    if isinstance(kind, str) and kind:
        if kind in {"function", "object"} or "input_schema" in given:  # an object is a JSON schema
            return ""
        return "anthropic" if _DATED.search(kind) or kind in _UNDATED else "openai"
    names = {text_of(name).replace("_", "").lower() for name in given}
    return "google" if names and names <= _GEMINI else ""


def tool_of(given: Mapping[str, Any]) -> Tool:
    """The Tool that `given` says. Raises BadRequest (nothing is sent) where it has no name or is no JSON."""
    vendor = vendor_of(given)
    if vendor:
        name = given.get("name") or (given["type"] if given.get("type") else next(iter(given)))
        return Tool(name=text_of(name), parameters="", vendor=vendor, raw=_json(given))
    inner = given.get("function")
    function: Mapping[str, Any] = inner if isinstance(inner, Mapping) else given
    is_schema = function.get("type") == "object" and "title" in function
    name = function.get("title") if is_schema else function.get("name")
    if not (isinstance(name, str) and name):
        raise BadRequest(f"a tool with the keys {', '.join(map(str, given))} has no name; nothing was sent")
    parameters = function if is_schema else function.get("parameters") or function.get("input_schema")
    owner = "" if is_schema else _owner(given, function)
    return Tool(
        name=name,
        description=text_of(function.get("description") or ""),
        parameters=_json(parameters or {"type": "object", "properties": {}}),
        strict=function.get("strict"),
        vendor=owner,
        raw=_json(given) if owner else "",
    )


def _owner(given: Mapping[str, Any], function: Mapping[str, Any]) -> str:
    """Whose words stand in a function's dict beside those that everybody translates: cache_control, defer_loading, ..."""
    if "input_schema" in given:
        return "anthropic" if set(given) - _ANTHROPIC else ""
    return "openai" if function is not given and (set(given) - _FUNCTION or set(function) - _DECLARED) else ""


def _json(value: Any) -> str:
    try:
        return json_text(value)
    except TypeError as error:
        raise BadRequest(f"a tool cannot be written as JSON ({error}); nothing was sent") from error
