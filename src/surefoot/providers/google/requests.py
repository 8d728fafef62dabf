"""The Gemini API: our records to its JSON, the request side only. Pure functions; nothing is sent here.

Schemas and extras are embedded as they were written, byte for byte. Source: the Gemini API reference, "generateContent" and
"batchEmbedContents"; its pages on thought signatures and on embeddings.
"""

from __future__ import annotations

from msgspec import Struct

from surefoot.errors import Misconfigured, Unsupported
from surefoot.providers._parameters import bounded_tokens, check_stops, nearest_effort, note
from surefoot.providers.google.facts import MOST_STOPS, GoogleModelFacts, model_of
from surefoot.providers.google.messages import contents
from surefoot.providers.http.body import Fields, checked_name, encoded, extra_of, merge, own_tool, raw
from surefoot.types import ChatRequest, EmbedRequest, Tool, clean

# What Google's own OpenAI-compatible address makes of an effort for models that take a number of tokens (2.5).
BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576}
NO_LEVEL = "minimal"  # the least thinking of models that cannot do without (3 and later)
COLLECTIONS = ("models/", "tunedModels/")
VERTEX_COLLECTIONS = ("publishers/", "projects/")


class GoogleDialect(Struct, frozen=True, kw_only=True):
    """What differs between Gemini's models.

    `thoughts`: whether summaries of thoughts are asked for (None: where an effort is asked, and in streams). `task_types` tell an embedding
    model what a text is for, documents first; `prefixes` do the same for models that want it said in the text.
    """

    target: str
    thoughts: bool | None = None
    task_types: tuple[str, str] = ("", "")
    prefixes: tuple[str, str] = ("", "")


def path_of(model: str, verb: str, *, target: str, is_vertex: bool = False) -> str:
    """`/models/MODEL:VERB`; a name may bring a collection of its own. Raises BadRequest for one that leads out of it."""
    model = checked_name(model, target)
    known = (*COLLECTIONS, *VERTEX_COLLECTIONS) if is_vertex else COLLECTIONS
    return f"/{model if model.startswith(known) else f'models/{model}'}:{verb}"


def chat_body(
    request: ChatRequest, model: str, *, dialect: GoogleDialect, stream: bool = False, left_out: list[str] | None = None
) -> bytes:
    """The body of :generateContent and :streamGenerateContent. What the model refuses is not sent; `left_out` is given its names.

    There is no switch for parallel tool calls: of an answer with several, whoever set `parallel_tool_calls=False` gets the first (see
    `_google_read`), and may ask on with its result. Raises Unsupported for parts Gemini does not carry and for a conversation that the
    model cannot go on with, Misconfigured for schemas or extras that are no JSON, BadRequest for text that is no Unicode, a tool result
    without its tool, and an effort that is none.
    """
    model = request.model or model
    found, standing = contents(request.messages, model, dialect.target, left_out)
    body: Fields = {"contents": found}
    if body["contents"] and body["contents"][-1]["role"] == "model" and not model_of(model).begun:
        raise Unsupported(
            f"{dialect.target}: the last message is the assistant's, and {model} does not go on with an answer that was begun; end with a "
            "user's message that says how to go on, or give a schema for the answer's form; nothing was sent"
        )
    if standing:
        body["systemInstruction"] = {"parts": standing}
    if request.tools:
        own = {tool: own_tool(tool, "google", dialect.target) for tool in request.tools}
        declared = [_function(tool) for tool, whole in own.items() if whole is None]
        vendors = [whole for whole in own.values() if whole is not None]
        body["tools"] = [*vendors, {"functionDeclarations": declared}] if declared else vendors
        if request.tool_choice:
            body["toolConfig"] = {"functionCallingConfig": _choice(request.tool_choice)}
    config = _generation(request, model, dialect, left_out, stream=stream)
    extra = extra_of(request.extra).fields
    if "generationConfig" in extra and not bytes(extra["generationConfig"]).startswith(b"{"):
        raise Misconfigured("extra: generationConfig must be a JSON object")
    if config:
        body["generationConfig"] = config
    merge(body, extra)
    return encoded(body, "", dialect.target)


def embed_body(request: EmbedRequest, model: str, *, dimensions: int | None, dialect: GoogleDialect) -> bytes:
    """The body of :batchEmbedContents, a content for each text: texts in one content become one vector."""
    is_query = request.role == "query"
    name = path_of(model, "", target=dialect.target).strip("/:")
    shared: Fields = {"model": name}
    if dialect.task_types[is_query]:
        shared["taskType"] = dialect.task_types[is_query]
    if dimensions is not None:
        shared["outputDimensionality"] = dimensions
    if request.extra:
        shared |= extra_of(request.extra).fields
    prefix = dialect.prefixes[is_query]
    wanted = [{**shared, "content": {"parts": [{"text": prefix + clean(text)}]}} for text in request.texts]
    return encoded({"requests": wanted}, "", dialect.target)


def _generation(request: ChatRequest, model: str, dialect: GoogleDialect, left_out: list[str] | None, *, stream: bool) -> Fields:
    row = model_of(model)
    check_stops(request.stop, MOST_STOPS, target=dialect.target)
    for name, value in (("temperature", request.temperature), ("top_p", request.top_p)):
        if name in row.refused and value is not None and value != 1:
            note(left_out, name)
    named = {
        "temperature": None if "temperature" in row.refused else request.temperature,
        "topP": None if "top_p" in row.refused else request.top_p,
        "maxOutputTokens": bounded_tokens(request.max_tokens, row.output, left_out),
        "seed": request.seed,
        "stopSequences": request.stop or None,
    }
    config: Fields = {name: value for name, value in named.items() if value is not None}
    if request.schema is not None:
        config["responseMimeType"] = "application/json"
        if request.schema.schema:
            config["responseJsonSchema"] = raw(request.schema.schema, f"schema {request.schema.name!r}")
    thinking = _thinking(request.reasoning_effort, row, model=model, target=dialect.target, left_out=left_out)
    asks = dialect.thoughts
    if asks is None:  # a stream shows what it thinks anyway: else it looks like one that has stalled
        asks = (bool(thinking) or (stream and row.thinking != "no")) and request.reasoning_effort not in {"none", "0"}
    if asks:
        thinking["includeThoughts"] = True
    if thinking:
        config["thinkingConfig"] = thinking
    return config


def _thinking(effort: str, row: GoogleModelFacts, *, model: str, target: str, left_out: list[str] | None) -> Fields:
    """Gemini 2.5 takes a number of tokens, 3 and later a word. An effort that is a number is taken as one, -1 for as many as it likes."""
    if not effort:
        return {}
    if row.thinking == "no":
        if effort not in {"none", "0"}:
            note(left_out, "reasoning_effort")
        return {}
    if effort.removeprefix("-").isdecimal():
        return {"thinkingBudget": _budget(int(effort), row, left_out)}
    if row.thinking == "budget":
        word = nearest_effort(effort, tuple(BUDGETS), target=target, model=model, left_out=left_out)
        return {"thinkingBudget": _budget(BUDGETS[word], row, left_out)}
    if row.levels is None:
        return {"thinkingLevel": (NO_LEVEL if effort == "none" else effort).upper()}
    return {"thinkingLevel": nearest_effort(effort, row.levels, target=target, model=model, left_out=left_out).upper()}


def _budget(tokens: int, row: GoogleModelFacts, left_out: list[str] | None) -> int:
    """`tokens`, or the nearest number that the model takes."""
    if row.thinking != "budget" or tokens == -1 or (tokens == 0 and row.rests):
        return tokens
    least, most = row.budget
    taken = min(max(tokens, least), most)
    if taken != tokens:
        note(left_out, "reasoning_effort")
    return taken


def _choice(choice: str) -> Fields:
    modes = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
    return {"mode": modes[choice]} if choice in modes else {"mode": "ANY", "allowedFunctionNames": [choice]}


def _function(tool: Tool) -> Fields:
    told: Fields = {"name": tool.name}
    if tool.description:
        told["description"] = clean(tool.description)
    return told | {"parametersJsonSchema": raw(tool.parameters, f"tool {tool.name!r}: its parameters")}
