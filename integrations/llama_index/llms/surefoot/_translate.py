"""LlamaIndex's tools and options into surefoot's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.tools import BaseTool
from msgspec.structs import replace

from surefoot.core.tool_dicts import tool_of
from surefoot.errors import BadRequest
from surefoot.text import text_of
from surefoot.types import Schema, Tool


def tool_in(tool: Any) -> Tool:
    """A LlamaIndex tool, or a dict of one in any vendor's spelling."""
    if isinstance(tool, Tool):
        return tool
    wire = tool.metadata.to_openai_tool(skip_length_check=True) if isinstance(tool, BaseTool) else tool
    if not isinstance(wire, Mapping):
        raise BadRequest(f"{type(tool).__name__} is no tool: pass LlamaIndex tools, or a dict of one")
    return tool_of(wire)


def strictly(tool: Tool, *, strict: bool) -> Tool:
    """`tool`, held to its schema or not; a vendor's own tool stays as it is."""
    return tool if tool.vendor or tool.strict is not None else replace(tool, strict=strict)


def tool_choice_in(choice: Any) -> str:
    """One of "auto", "none", "required" or a tool's name, also out of OpenAI's dict."""
    if isinstance(choice, Mapping):
        choice = (choice.get("function") or choice).get("name") or choice.get("type")
    return "required" if choice in {"any", "required"} else text_of(choice or "")


def schema_in(wanted: Any) -> Schema | None:
    """The answer's shape, out of OpenAI's response_format or a pydantic class."""
    if wanted is None or isinstance(wanted, Schema):
        return wanted
    if isinstance(wanted, type):
        return Schema.of(wanted.__name__, wanted.model_json_schema())  # type: ignore[attr-defined]
    if wanted.get("type") == "json_schema":
        inner = wanted["json_schema"]
        return Schema.of(inner.get("name") or "answer", inner.get("schema") or {"type": "object"}, strict=inner.get("strict"))
    return Schema() if wanted.get("type") == "json_object" else None


CONVERSIONS = {"tools": lambda tools: tuple(map(tool_in, tools or ())), "tool_choice": tool_choice_in, "schema": schema_in}
