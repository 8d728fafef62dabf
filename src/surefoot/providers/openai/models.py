"""What a request may hold for the model that is asked, and in which of OpenAI's two APIs it is asked."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from surefoot.errors import Unsupported
from surefoot.facts import base_name
from surefoot.providers._parameters import bounded_tokens, check_stops, nearest_effort, note
from surefoot.providers.openai.dialect import OpenAIDialect
from surefoot.providers.openai.facts import AZURE_OTHERS, MODELS, MOST_STOPS, OTHER, SAMPLING, OpenAIModelFacts, model_of
from surefoot.types import ChatRequest, File, Image, Message

Api: TypeAlias = Literal["chat", "responses"]
RESPONSES = "openai.responses"  # how parts of that API's answers are marked: Chat Completions would refuse them
NOT_IN_RESPONSES = ("stop", "seed")  # parameters that the Responses API does not have


def row_of(model: str, dialect: OpenAIDialect) -> OpenAIModelFacts:
    """What `model` takes where the dialect's target is."""
    return model_of(model, dialect.rows or "openai") if dialect.is_openai or dialect.rows else OTHER


def limit_field(model: str, dialect: OpenAIDialect) -> str:
    """What the limit of an answer is called: OpenAI's own models have a word of their own, wherever they are served."""
    if dialect.max_tokens_field:
        return dialect.max_tokens_field
    is_theirs = not base_name(model).startswith(AZURE_OTHERS) if dialect.is_openai else row_of(model, dialect) in MODELS
    return "max_completion_tokens" if is_theirs else "max_tokens"


def api_of(request: ChatRequest, model: str, dialect: OpenAIDialect) -> Api:
    """The API to ask in: as the target says, else Chat Completions, unless OpenAI's model or the request wants the other one there.

    It wants it where the model exists only there, or takes what is asked only there: tools beside an effort, the vendor's own tools,
    pictures in a tool's result; and where the conversation was begun there, whose encrypted thoughts Chat Completions has no place for.
    """
    if dialect.api:
        return dialect.api
    if not dialect.is_openai:
        return "chat"
    row = row_of(model, dialect)
    if row.api == "responses" or any(_is_elsewhere(message) for message in request.messages):
        return "responses"
    if not request.tools:
        return "chat"
    effort = request.reasoning_effort
    is_refused = row.tools == "none" or (row.tools != "any" and effort not in {"", "none"})
    return "responses" if is_refused or any(_is_built_in(tool.raw) for tool in request.tools if tool.vendor == "openai") else "chat"


def _is_elsewhere(message: Message) -> bool:
    """Whether a message holds what Chat Completions has no place for."""
    if any(call.vendor.startswith(RESPONSES) for call in message.tool_calls):
        return True
    if isinstance(message.content, str):
        return False
    if message.role == "tool" and any(isinstance(part, Image | File) for part in message.content):
        return True
    return any(part.vendor.startswith(RESPONSES) for part in message.content)


def _is_built_in(raw: str) -> bool:
    """Whether a tool in OpenAI's own JSON is none that Chat Completions knows."""
    return bool(raw) and msgspec.json.decode(raw).get("type") != "function"


UNSET: dict[str, Any] = {
    "temperature": None, "top_p": None, "stop": (), "parallel_tool_calls": None, "seed": None, "max_tokens": None, "reasoning_effort": "",
}  # fmt: skip
_settings, _NO_SETTINGS = attrgetter(*UNSET), tuple(UNSET.values())
WITHOUT_LOSS = {("temperature", 1), ("top_p", 1), ("parallel_tool_calls", True), ("parallel_tool_calls", False)}  # OpenAI's own defaults


def fitted(
    request: ChatRequest, model: str, dialect: OpenAIDialect, left_out: list[str] | None = None, *, api: Api = "chat"
) -> ChatRequest:
    """`request` without what `model` answers with a 400, so that one setting serves a row of fallbacks; see `facts`.

    The names of what was left out and meant something are added to `left_out`. Models that refuse parallel_tool_calls call one tool at a
    time. Raises Unsupported (nothing is sent) for a model of another API and for tools that the model does not take, or not beside an
    effort; BadRequest for an effort that is none, and for more stop sequences than are taken.
    """
    row = row_of(model, dialect)
    if row.api != "chat" and api == "chat":
        raise Unsupported(
            f"{dialect.target}: {model} answers in OpenAI's Responses API only, not in Chat Completions, which is spoken here; say "
            'options=(("api", "responses"),), or ask another model of the family; nothing was sent'
        )
    if dialect.is_openai and api == "chat":
        check_stops(() if "stop" in row.refused else request.stop, MOST_STOPS, target=dialect.target)
    asked = request.reasoning_effort
    effort = _effort(request, model, row, dialect, left_out, api=api)
    tokens = bounded_tokens(request.max_tokens, row.output, left_out)
    changes: dict[str, Any] = {} if effort == asked else {"reasoning_effort": effort}
    if tokens != request.max_tokens:
        changes["max_tokens"] = tokens
    if _settings(request) == _NO_SETTINGS:  # a prompt and nothing else, as most calls
        return replace(request, **changes) if changes else request
    refused = {*row.refused, *dialect.refused, *(NOT_IN_RESPONSES if api == "responses" else ())}
    if effort != "none" if effort else row.thinks:
        refused |= row.refused_thinking
    if dialect.sampling is not None:
        refused = refused - SAMPLING if dialect.sampling else refused | SAMPLING
    for name in refused & UNSET.keys():
        value = getattr(request, name)
        if value != UNSET[name]:
            changes[name] = UNSET[name]
            if (name, value) not in WITHOUT_LOSS:
                note(left_out, name)
    return replace(request, **changes) if changes else request


def _effort(
    request: ChatRequest, model: str, row: OpenAIModelFacts, dialect: OpenAIDialect, left_out: list[str] | None, *, api: Api
) -> str:
    """The effort as the model knows it, beside the tools asked for."""
    effort = request.reasoning_effort
    known = row.efforts
    if api == "responses" and known is not None and "xhigh" in known:
        known = (*known, "max")  # a word of this API alone
    if effort and row.efforts == ("none",):  # it thinks or does not
        note(left_out, "reasoning_effort") if effort != "none" else None
        effort = "none" if effort == "none" else ""
    elif effort and known is not None and (known or effort != "none"):
        effort = nearest_effort(effort, known, target=dialect.target, model=model, left_out=left_out)
    elif row.efforts == ():
        effort = ""
    if api == "responses" or not request.tools or row.tools == "any" or (effort == "none" and row.tools != "none"):
        return effort
    if row.tools == "none":
        raise Unsupported(
            f"{dialect.target}: {model} takes no function tools in Chat Completions: leave out the option api, ask another model, or for "
            "an answer's form give a schema; nothing was sent"
        )
    if effort:
        raise Unsupported(
            f"{dialect.target}: {model} takes function tools in Chat Completions with reasoning_effort='none' only, not {effort!r}: "
            "leave the effort out, or the option api, or ask another model"
        )
    if row.tools == "say_none":
        note(left_out, "reasoning_effort")
        return "none"
    return ""
