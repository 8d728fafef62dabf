"""Random conversations, and the same request as the vendors' own SDKs are asked for it: by their documents, not by our code."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from random import Random
from typing import Any

from msgspec import Struct

from surefoot.types import ChatRequest, File, Image, Message, Schema, Tool, ToolCall

PNG = b"\x89PNG\r\n\x1a\n" + bytes(12)
PDF = b"%PDF-1.7\n"
WORDS = (
    "cooldown",
    "İstanbul",
    "çay",
    "你好",
    "🫖",
    'a "quoted" word',
    "line\nbreak",
    "{brace}",
    "<tag>",
    "back\\slash",
    "tab\t",
    "é",
    "0",
    "null",
)
TOOLS: dict[str, dict[str, Any]] = {
    "weather": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]},
    "clock": {"type": "object", "properties": {}},
    "pay": {"type": "object", "properties": {"to": {"type": "array", "items": {"type": "string"}}, "sum": {"type": "number"}}},
}
SHAPE = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


class Turn(Struct):
    """One message, before it is anybody's: parts are ("text" | "png" | "url" | "pdf", what)."""

    role: str
    parts: list[tuple[str, Any]] = []
    calls: list[tuple[str, str, dict[str, Any]]] = []  # id, name, arguments
    answers: str = ""
    name: str = ""

    @property
    def text(self) -> str:
        return "".join(what for kind, what in self.parts if kind == "text")

    @property
    def is_plain(self) -> bool:
        return all(kind == "text" for kind, _ in self.parts)


class Asked(Struct):
    """A request, before it is anybody's."""

    turns: list[Turn]
    settings: dict[str, Any]
    tools: list[str] = []
    choice: str = ""
    parallel: bool | None = None
    shape: bool = False


def words(luck: Random) -> str:
    return " ".join(luck.choice(WORDS) for _ in range(luck.randint(1, 6)))


def random_request(luck: Random, *, stops: bool = True, seeds: bool = True) -> Asked:
    """A conversation of up to six rounds, with tools, pictures and settings in any combination."""
    tools = luck.sample(sorted(TOOLS), luck.randint(0, 3))
    turns = [Turn(role="system", parts=[("text", words(luck))])] if luck.random() < 0.5 else []
    for number in range(luck.randint(1, 3)):
        kinds = ["text", *luck.choices(["png", "url", "pdf", "text"], k=luck.randint(0, 2))] if luck.random() < 0.4 else ["text"]
        made = {"text": words(luck), "png": PNG, "url": f"https://example.org/{number}.png", "pdf": PDF}
        turns.append(Turn(role="user", parts=[(kind, made[kind]) for kind in kinds]))
        if tools and luck.random() < 0.5:
            calls = [(f"call_{number}_{at}", luck.choice(tools), {"city": words(luck), "days": at}) for at in range(luck.randint(1, 2))]
            said = [("text", words(luck))] if luck.random() < 0.5 else []
            turns.append(Turn(role="assistant", parts=said, calls=calls))
            turns += [Turn(role="tool", parts=[("text", words(luck))], answers=call[0], name=call[1]) for call in calls]
        if luck.random() < 0.7:
            turns.append(Turn(role="assistant", parts=[("text", words(luck))]))
    if turns[-1].role == "assistant":
        turns.append(Turn(role="user", parts=[("text", words(luck))]))
    offers: dict[str, Any] = {"temperature": luck.choice([0, 0.3, 1.0]), "top_p": 0.9, "max_tokens": luck.randint(1, 4000)}
    if stops:
        offers["stop"] = luck.sample(["END", "\n\n", "stop"], luck.randint(1, 3))
    if seeds:
        offers["seed"] = luck.randint(0, 99)
    settings = {name: value for name, value in offers.items() if luck.random() < 0.5}
    return Asked(
        turns=turns,
        settings=settings,
        tools=tools,
        choice=luck.choice(["", "auto", "none", "required", tools[0]]) if tools else "",
        parallel=luck.choice([None, True, False]) if tools else None,
        shape=luck.random() < 0.3,
    )


def ours(asked: Asked) -> ChatRequest:
    """The request as surefoot is asked for it."""

    def part(kind: str, what: Any) -> Any:
        return {
            "text": lambda: what,
            "png": lambda: Image(data=what),
            "url": lambda: Image(url=what),
            "pdf": lambda: File(data=what, name="a.pdf"),
        }[kind]()

    said = []
    for turn in asked.turns:
        if turn.role == "tool":
            said.append(Message.tool(turn.text, tool_call_id=turn.answers, name=turn.name))
        elif turn.role == "assistant":
            calls = [ToolCall(id=one, name=name, arguments=json.dumps(given, ensure_ascii=False)) for one, name, given in turn.calls]
            said.append(Message.assistant(turn.text, tool_calls=calls))
        elif turn.role == "system":
            said.append(Message.system(turn.text))
        else:
            said.append(Message.user(turn.text if turn.is_plain and len(turn.parts) == 1 else [part(*one) for one in turn.parts]))
    settings = dict(asked.settings)
    if "stop" in settings:
        settings["stop"] = tuple(settings["stop"])
    return ChatRequest(
        messages=tuple(said),
        tools=tuple(Tool.of(name, f"The {name}", TOOLS[name]) for name in asked.tools),
        tool_choice=asked.choice,
        parallel_tool_calls=asked.parallel,
        schema=Schema.of("shape", SHAPE, strict=True) if asked.shape else None,
        **settings,
    )


def data_url(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"


# As OpenAI's Chat Completions documents it


def for_chat(asked: Asked) -> dict[str, Any]:
    parts: dict[str, Callable[[Any], dict[str, Any]]] = {
        "text": lambda what: {"type": "text", "text": what},
        "png": lambda what: {"type": "image_url", "image_url": {"url": data_url(what, "image/png")}},
        "url": lambda what: {"type": "image_url", "image_url": {"url": what}},
        "pdf": lambda what: {"type": "file", "file": {"filename": "a.pdf", "file_data": data_url(what, "application/pdf")}},
    }

    def message(turn: Turn) -> dict[str, Any]:
        if turn.role == "tool":
            return {"role": "tool", "tool_call_id": turn.answers, "content": turn.text}
        if turn.role != "user":
            made: dict[str, Any] = {"role": turn.role, "content": turn.text or None}
            if turn.calls:
                made["tool_calls"] = [
                    {"id": one, "type": "function", "function": {"name": name, "arguments": json.dumps(given, ensure_ascii=False)}}
                    for one, name, given in turn.calls
                ]
            return made
        whole = turn.text if turn.is_plain and len(turn.parts) == 1 else [parts[kind](what) for kind, what in turn.parts]
        return {"role": "user", "content": whole}

    settings = dict(asked.settings)
    if "max_tokens" in settings:
        settings["max_completion_tokens"] = settings.pop("max_tokens")
    if asked.tools:
        settings["tools"] = [
            {"type": "function", "function": {"name": name, "description": f"The {name}", "parameters": TOOLS[name]}}
            for name in asked.tools
        ]
        if asked.choice:
            named = {"type": "function", "function": {"name": asked.choice}}
            settings["tool_choice"] = named if asked.choice in TOOLS else asked.choice
        if asked.parallel is not None:
            settings["parallel_tool_calls"] = asked.parallel
    if asked.shape:
        settings["response_format"] = {"type": "json_schema", "json_schema": {"name": "shape", "schema": SHAPE, "strict": True}}
    return {"model": "gpt-4.1", "messages": [message(turn) for turn in asked.turns], **settings}


# As OpenAI's Responses API documents it


def for_responses(asked: Asked) -> dict[str, Any]:
    parts: dict[str, Callable[[Any], dict[str, Any]]] = {
        "text": lambda what: {"type": "input_text", "text": what},
        "png": lambda what: {"type": "input_image", "image_url": data_url(what, "image/png"), "detail": "auto"},
        "url": lambda what: {"type": "input_image", "image_url": what, "detail": "auto"},
        "pdf": lambda what: {"type": "input_file", "filename": "a.pdf", "file_data": data_url(what, "application/pdf")},
    }
    items: list[dict[str, Any]] = []
    for turn in asked.turns:
        if turn.role == "tool":
            items.append({"type": "function_call_output", "call_id": turn.answers, "output": turn.text})
            continue
        if turn.parts:
            plain = turn.role != "user" or (turn.is_plain and len(turn.parts) == 1)
            items.append({"role": turn.role, "content": turn.text if plain else [parts[kind](what) for kind, what in turn.parts]})
        items += [
            {"type": "function_call", "call_id": one, "name": name, "arguments": json.dumps(given, ensure_ascii=False)}
            for one, name, given in turn.calls
        ]
    settings = dict(asked.settings)
    if "max_tokens" in settings:
        settings["max_output_tokens"] = settings.pop("max_tokens")
    if asked.tools:
        settings["tools"] = [
            {"type": "function", "name": name, "description": f"The {name}", "parameters": TOOLS[name], "strict": False}
            for name in asked.tools
        ]
        if asked.choice:
            settings["tool_choice"] = {"type": "function", "name": asked.choice} if asked.choice in TOOLS else asked.choice
        if asked.parallel is not None:
            settings["parallel_tool_calls"] = asked.parallel
    if asked.shape:
        settings["text"] = {"format": {"type": "json_schema", "name": "shape", "schema": SHAPE, "strict": True}}
    return {"model": "gpt-4.1", "input": items, "store": False, **settings}


# As Anthropic's Messages API documents it


def for_anthropic(asked: Asked) -> dict[str, Any]:  # noqa: PLR0912 - a case a field
    parts: dict[str, Callable[[Any], dict[str, Any]]] = {
        "text": lambda what: {"type": "text", "text": what},
        "png": lambda what: {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": b64encode(what).decode()}},
        "url": lambda what: {"type": "image", "source": {"type": "url", "url": what}},
        "pdf": lambda what: {
            "type": "document", "title": "a.pdf",
            "source": {"type": "base64", "media_type": "application/pdf", "data": b64encode(what).decode()},
        },
    }  # fmt: skip
    system, turns = [], []
    for turn in asked.turns:
        if turn.role == "system":
            system.append({"type": "text", "text": turn.text})
            continue
        if turn.role == "tool":
            blocks = [{"type": "tool_result", "tool_use_id": turn.answers, "content": [{"type": "text", "text": turn.text}]}]
        else:
            blocks = [parts[kind](what) for kind, what in turn.parts]
            blocks += [{"type": "tool_use", "id": one, "name": name, "input": given} for one, name, given in turn.calls]
        role = "assistant" if turn.role == "assistant" else "user"
        if turns and turns[-1]["role"] == role:  # turns alternate: neighbours of one role are one
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    settings = dict(asked.settings)
    settings.setdefault("max_tokens", 8192)
    if "stop" in settings:
        stops = [one for one in settings.pop("stop") if one.strip()]
        if stops:
            settings["stop_sequences"] = stops
    if "temperature" in settings:
        settings.pop("top_p", None)  # this model takes one of the two
    sampling = {name: settings.pop(name) for name in ("temperature", "top_p") if name in settings}
    if sampling:
        settings["extra_body"] = sampling  # the SDK has no names for them any more; the API takes them from older models
    if system:
        settings["system"] = system
    if asked.tools:
        settings["tools"] = [{"name": name, "description": f"The {name}", "input_schema": TOOLS[name]} for name in asked.tools]
        kind = {"": "auto", "required": "any"}.get(asked.choice, asked.choice if asked.choice in {"auto", "none"} else "tool")
        choice: dict[str, Any] = {"type": kind, **({"name": asked.choice} if kind == "tool" else {})}
        if asked.parallel is not None and kind != "none":
            choice["disable_parallel_tool_use"] = not asked.parallel
        if asked.choice or asked.parallel is not None:
            settings["tool_choice"] = choice
    if asked.shape:
        settings["output_config"] = {"format": {"type": "json_schema", "schema": SHAPE}}
    return {"model": "claude-haiku-4-5", "messages": turns, **settings}


# As google-genai is asked for it, by its own types


def for_google(asked: Asked, types: Any) -> dict[str, Any]:
    parts: dict[str, Callable[[Any], Any]] = {
        "text": lambda what: types.Part(text=what),
        "png": lambda what: types.Part.from_bytes(data=what, mime_type="image/png"),
        "url": lambda what: types.Part.from_uri(file_uri=what, mime_type="image/png"),
        "pdf": lambda what: types.Part.from_bytes(data=what, mime_type="application/pdf"),
    }
    contents, last = [], ""
    for turn in asked.turns:
        if turn.role == "system":
            continue
        if turn.role == "tool":
            result = types.FunctionResponse(id=turn.answers, name=turn.name, response={"output": turn.text})
            part = types.Part(function_response=result)
            if last == "tool":  # results of one round are one content
                contents[-1].parts.append(part)
            else:
                contents.append(types.Content(role="user", parts=[part]))
        else:
            made = [parts[kind](what) for kind, what in turn.parts]
            made += [types.Part(function_call=types.FunctionCall(id=one, name=name, args=given)) for one, name, given in turn.calls]
            contents.append(types.Content(role="model" if turn.role == "assistant" else "user", parts=made))
        last = turn.role
    names = {"temperature": "temperature", "top_p": "top_p", "max_tokens": "max_output_tokens", "stop": "stop_sequences", "seed": "seed"}
    config = {names[name]: value for name, value in asked.settings.items()}
    standing = [types.Part(text=turn.text) for turn in asked.turns if turn.role == "system"]
    if standing:
        config["system_instruction"] = types.Content(parts=standing)
    if asked.tools:
        declared = [
            types.FunctionDeclaration(name=name, description=f"The {name}", parameters_json_schema=TOOLS[name]) for name in asked.tools
        ]
        config["tools"] = [types.Tool(function_declarations=declared)]
        if asked.choice:
            mode = {"auto": "AUTO", "none": "NONE"}.get(asked.choice, "ANY")
            named = [asked.choice] if asked.choice in TOOLS else None
            config["tool_config"] = types.ToolConfig(
                function_calling_config=types.FunctionCallingConfig(mode=mode, allowed_function_names=named)
            )
    if asked.shape:
        config |= {"response_mime_type": "application/json", "response_json_schema": SHAPE}
    return {"model": "gemini-2.5-flash", "contents": contents, "config": types.GenerateContentConfig(**config)}
