"""Full bodies of streams, byte for byte as a simulator sends them: for tests that cut them anywhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal, TypeAlias

import msgspec

from surefoot.testing.wire._model._brain import PlainAnswer, PlainToolCall
from surefoot.testing.wire._model._schema import Json
from surefoot.testing.wire._server._http import WireRequest
from surefoot.testing.wire._server._sim import WireSim
from surefoot.testing.wire.anthropic import AnthropicSim
from surefoot.testing.wire.faults import Vendor
from surefoot.testing.wire.google import GeminiSim
from surefoot.testing.wire.openai import OpenAISim

Recording: TypeAlias = Literal["text", "unicode", "tool", "mixed", "reasoning", "length", "long"]
RECORDINGS: tuple[Recording, ...] = ("text", "unicode", "tool", "mixed", "reasoning", "length", "long")
SIMS: dict[str, type[WireSim]] = {"openai": OpenAISim, "anthropic": AnthropicSim, "google": GeminiSim}

_WEATHER = PlainToolCall("get_weather", '{"location":"İstanbul, Kadıköy","days":3}')
_ADDER = PlainToolCall("my_adder_tool", '{"a":1,"b":-2.5}')
_SAID: dict[Recording, Callable[[], PlainAnswer]] = {
    "text": lambda: PlainAnswer(text="The cooldown lasts 30 seconds. Then one trial call is let through."),
    "unicode": lambda: PlainAnswer(text='Çay söyledim: "şeker yok" 🫖 你好啊集团\nve\ttamam \\ bitti.'),
    "tool": lambda: PlainAnswer(calls=(_WEATHER,), finish="tools"),
    "mixed": lambda: PlainAnswer(text="Let me look both up.", calls=(_WEATHER, _ADDER), finish="tools"),
    "reasoning": lambda: PlainAnswer(text="Forty-two.", reasoning="Six times seven is asked."),
    "length": lambda: PlainAnswer(text="This answer is cut off in the", finish="length"),
    "long": lambda: PlainAnswer(text=" ".join(f"Sentence {n} says little." for n in range(40))),
}
_TOOLS = ("get_weather", "my_adder_tool")


@lru_cache(maxsize=64)
def recorded_stream(vendor: Vendor | Literal["responses"], recording: Recording = "mixed") -> bytes:
    """The body of one streamed answer (framing excluded), with its terminal marker and usage. The default has text and two tool calls.

    "responses" is OpenAI's other API.
    """
    sim = SIMS["openai" if vendor == "responses" else vendor](answer=lambda _: _SAID[recording](), strict=False)
    path, body = _REQUESTS[vendor](recording == "reasoning")
    head = f"POST {path} HTTP/1.1\r\nauthorization: Bearer k\r\nx-goog-api-key: k"
    reply = sim.serve(WireRequest(head.encode(), msgspec.json.encode(body), at_s=0.0))
    return b"".join(reply.chunks or ())


def _openai(reasons: bool) -> tuple[str, Json]:  # noqa: FBT001 - one of three of a kind
    tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in _TOOLS]
    body: Json = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "Go"}], "stream": True, "tools": tools}
    body |= {"stream_options": {"include_usage": True}} | ({"reasoning_effort": "low"} if reasons else {})
    return "/v1/chat/completions", body


def _responses(reasons: bool) -> tuple[str, Json]:  # noqa: FBT001
    tools = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in _TOOLS]
    body: Json = {"model": "gpt-5-mini" if reasons else "gpt-4.1", "input": "Go", "stream": True, "store": False, "tools": tools}
    thinks = {"reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"]} if reasons else {}
    return "/v1/responses", body | thinks


def _anthropic(reasons: bool) -> tuple[str, Json]:  # noqa: FBT001
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in _TOOLS]
    body: Json = {"model": "claude-haiku-4-5", "max_tokens": 4096, "messages": [{"role": "user", "content": "Go"}], "stream": True}
    return "/v1/messages", body | {"tools": tools} | ({"thinking": {"type": "adaptive"}} if reasons else {})


def _google(reasons: bool) -> tuple[str, Json]:  # noqa: FBT001
    tools = [{"functionDeclarations": [{"name": name, "parametersJsonSchema": {"type": "object"}} for name in _TOOLS]}]
    body: Json = {"contents": [{"role": "user", "parts": [{"text": "Go"}]}], "tools": tools}
    thinks = {"generationConfig": {"thinkingConfig": {"includeThoughts": True, "thinkingLevel": "LOW"}}} if reasons else {}
    return "/v1beta/models/gemini-3-flash:streamGenerateContent?alt=sse", body | thinks


_REQUESTS: dict[str, Callable[[bool], tuple[str, Json]]] = {
    "openai": _openai,
    "responses": _responses,
    "anthropic": _anthropic,
    "google": _google,
}
