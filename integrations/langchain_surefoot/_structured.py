"""Structured output: the model bound to a shape, and the parser that reads its answer."""

from __future__ import annotations

from operator import itemgetter
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import BaseOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from langchain_surefoot._fields import RAISES

Method = Literal["function_calling", "json_schema", "json_mode"]


def structured(
    llm: BaseChatModel, schema: dict[str, Any] | type, *, method: Method, include_raw: bool, strict: bool | None, **kwargs: Any
) -> Runnable[LanguageModelInput, Any]:
    """See `ChatSurefoot.with_structured_output`."""
    is_class = isinstance(schema, type) and is_basemodel_subclass(schema)
    if not include_raw:
        kwargs[RAISES] = True
    traced = {"kwargs": {"method": method, "strict": strict}, "schema": schema}
    parser: BaseOutputParser[Any]
    if method == "function_calling":
        bound = llm.bind_tools(
            [schema], tool_choice="any", strict=strict, parallel_tool_calls=False, ls_structured_output_format=traced, **kwargs
        )
        name = convert_to_openai_tool(schema)["function"]["name"]
        parser = (
            PydanticToolsParser(tools=[schema], first_tool_only=True)  # type: ignore[list-item]
            if is_class
            else JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
        )
    elif method in {"json_schema", "json_mode"}:
        from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser

        wanted = response_format(schema, strict=strict) if method == "json_schema" else {"type": "json_object"}
        extra_tools = kwargs.pop("tools", None)
        words = {"response_format": wanted, "ls_structured_output_format": traced, **kwargs}
        bound = llm.bind_tools(extra_tools, strict=strict, **words) if extra_tools else llm.bind(**words)
        parser = PydanticOutputParser(pydantic_object=schema) if is_class else JsonOutputParser()  # type: ignore[arg-type]
    else:
        raise ValueError(f"method = {method!r}; known are 'function_calling', 'json_schema' and 'json_mode'")
    return with_raw(bound, parser) if include_raw else bound | parser


def response_format(schema: dict[str, Any] | type, *, strict: bool | None) -> dict[str, Any]:
    """OpenAI's spelling of a wanted shape, which LangChain's tracing reads; a dict already in it stays as it is."""
    if isinstance(schema, dict) and schema.get("type") == "json_schema":
        return schema
    shape = convert_to_json_schema(schema, strict=strict)
    wanted: dict[str, Any] = {"name": shape.get("title") or "answer", "schema": shape}
    return {"type": "json_schema", "json_schema": wanted if strict is None else {**wanted, "strict": strict}}


def with_raw(llm: Runnable[LanguageModelInput, AIMessage], parser: BaseOutputParser[Any]) -> Runnable[LanguageModelInput, Any]:
    """`llm` answering {"raw", "parsed", "parsing_error"}; an answer that does not parse is a value here, not an exception."""
    assign = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    nothing = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=llm) | assign.with_fallbacks([nothing], exception_key="parsing_error")
