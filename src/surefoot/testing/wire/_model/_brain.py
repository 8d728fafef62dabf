"""What the simulated models say: one small, deterministic mind behind three wires.

An `Ask` is a request without its vendor's dress; a `PlainAnswer` is the answer before it is dressed. The mind calls tools when it must or
when the text suggests it, with arguments that satisfy their schemas; it fills schemas for structured output; it repeats what a tool
returned; else it answers text that quotes the question. The same request gives the same answer.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Literal

import msgspec

from surefoot.testing.wire._model._schema import Clues, Json, fill

Finish = Literal["stop", "length", "tools", "stop_sequence", "refusal", "malformed"]

_PIECE = re.compile(r" ?\w{1,7}| ?[^\w\s]|\s")
_CALL = "(?<![\\w]){name}\\s*\\(([^()]*)\\)"
_SPLIT = re.compile(r"\s+(?:and|ve)\s+|\s*;\s*")
_ORDER = re.compile(
    r"\b(?:use|using|call|calling|invoke|with)\s+(?:the|a|your|both|all|these)?\s*(?:\w+\s+)?(?:tool|function)s?\b", re.IGNORECASE
)
_COMMON_WORDS = (  # they say nothing about which tool is meant
    "the a an and are as be by can do for from get given have how input into is it its of on or output return returns run set takes that "
    "this to tool two use user using value values what when which with you your their them there these function string number integer "
    "name text"
)
_COMMON = frozenset(_COMMON_WORDS.split())
REASONING_TOKENS = {"none": 0, "minimal": 0, "low": 32, "medium": 64, "high": 128, "xhigh": 256, "max": 256}
IMAGE_TOKENS, AUDIO_TOKENS, FILE_TOKENS = 85, 50, 258  # what one part of each kind is counted as


class PlainTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool the model may call; `schema` is the JSON schema of its arguments."""

    name: str
    description: str = ""
    schema: Json = {}


class PlainMessage(msgspec.Struct, kw_only=True):
    """One message: who spoke, its text, the tools it called, or (role "tool") whose result it is."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str = ""
    calls: tuple[str, ...] = ()
    tool: str = ""
    failed: bool = False


class Ask(msgspec.Struct, kw_only=True):
    """A request without its vendor's dress.

    `choice` is "auto", "none", "any" or a tool's name. `schema` asks for structured output, `json_mode` for any JSON object. `images`,
    `files`, `audios` count the parts that are no text.
    """

    model: str = ""
    turns: list[PlainMessage] = []
    tools: list[PlainTool] = []
    choice: str = "auto"
    parallel: bool = True
    schema: Json | None = None
    json_mode: bool = False
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    reasoning: int = 0
    audio_out: bool = False
    stream: bool = False
    images: int = 0
    files: int = 0
    audios: int = 0
    extra_text: str = ""

    @property
    def user_text(self) -> str:
        """The text of the last user message."""
        return next((t.text for t in reversed(self.turns) if t.role == "user"), "")

    @property
    def prompt(self) -> str:
        """All that is read: the turns' texts and the tools' definitions, in order."""
        return "\n".join([self.extra_text, *(t.text for t in self.turns)]) if self.extra_text else "\n".join(t.text for t in self.turns)


class PlainToolCall(msgspec.Struct, frozen=True):
    """One call of a tool: its name and its arguments as JSON text."""

    name: str
    arguments: str


class PlainAnswer(msgspec.Struct, kw_only=True):
    """An answer before it is dressed. `stopped_by` is the stop sequence that was hit; `reasoning` a visible train of thought."""

    text: str = ""
    calls: tuple[PlainToolCall, ...] = ()
    finish: Finish = "stop"
    stopped_by: str | None = None
    reasoning: str = ""
    counts: Counts | None = None


class Counts(msgspec.Struct, kw_only=True):
    """Tokens billed. `input` includes `cached`, `cache_write` and `audio_in`; `output` includes `reasoning` and `audio_out`."""

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    audio_in: int = 0
    audio_out: int = 0

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.input + self.output


@lru_cache(maxsize=1024)
def pieces(text: str) -> tuple[str, ...]:
    """The text as its tokens; joined they give the text again."""
    return tuple(_PIECE.findall(text))


def tokens_in(text: str) -> int:
    """A cheap estimate for prompts: a token per four bytes, rounded up."""
    return (len(text) if text.isascii() else len(text.encode("utf-8", "replace"))) + 3 >> 2


def think(ask: Ask) -> PlainAnswer:
    """Answer an `Ask`: tools, structure or text, then stop sequences and the token limit."""
    return bound(_decide(ask), ask)


def bound(said: PlainAnswer, ask: Ask) -> PlainAnswer:
    """Cut an answer at a stop sequence and at `max_tokens`, and count what it costs."""
    hits = [(at, stop) for stop in ask.stop if stop and (at := said.text.find(stop)) >= 0]
    if hits:
        at, said.stopped_by = min(hits)
        said.text, said.finish = said.text[:at], "stop_sequence"
    left = None if ask.max_tokens is None else ask.max_tokens - ask.reasoning
    words = pieces(said.text)
    spent = len(words)
    if left is not None and spent > left:
        said.text, said.calls, said.finish, spent = "".join(words[: max(0, left)]), (), "length", max(0, left)
    kept: list[PlainToolCall] = []
    for call in said.calls:
        parts = pieces(call.arguments)
        spent += len(parts) + 2
        if left is not None and spent > left:
            whole = len(parts) - (spent - left)
            kept.append(PlainToolCall(call.name, "".join(parts[: max(0, whole)])))
            said.finish, spent = "length", max(0, left)
            break
        kept.append(call)
    said.calls = tuple(kept)
    audio_in = ask.audios * AUDIO_TOKENS
    counts = said.counts or Counts()
    counts.input = tokens_in(ask.prompt) + 3 * len(ask.turns) + ask.images * IMAGE_TOKENS + ask.files * FILE_TOKENS + audio_in
    counts.audio_in = audio_in
    counts.reasoning = min(ask.reasoning, ask.max_tokens) if ask.max_tokens is not None else ask.reasoning
    counts.audio_out = spent * 2 if ask.audio_out else 0
    counts.output = spent + counts.reasoning + counts.audio_out
    said.counts = counts
    return said


def _decide(ask: Ask) -> PlainAnswer:
    last = ask.turns[-1] if ask.turns else PlainMessage(role="user")
    results = _results_at_end(ask.turns)
    reasoning = "The user asks; a short answer will do." if ask.reasoning else ""
    if ask.tools and ask.choice != "none" and (calls := _calls(ask, results)):
        return PlainAnswer(calls=tuple(calls), finish="tools", reasoning=reasoning)
    if ask.schema is not None:
        return PlainAnswer(text=_json(fill(ask.schema, Clues(ask.user_text))), reasoning=reasoning)
    if ask.json_mode:
        return PlainAnswer(text=_json(_free_json(ask)), reasoning=reasoning)
    if results:
        told = "; ".join(f"{r.tool or 'the tool'} {'failed with' if r.failed else 'returned'} {r.text}" for r in results)
        return PlainAnswer(text=f"Here is what I found: {told}", reasoning=reasoning)
    asked = " ".join((ask.user_text or last.text).split())
    if "json" in asked.lower() and (schema := _schema_in(ask.prompt)) is not None:
        return PlainAnswer(text=_json(fill(schema, Clues(_without_braces(ask.user_text)))), reasoning=reasoning)
    seen = [f"{n} {kind}{'s' if n > 1 else ''}" for n, kind in ((ask.images, "image"), (ask.files, "file"), (ask.audios, "recording")) if n]
    with_it = f" with {' and '.join(seen)}" if seen else ""
    shown = asked if len(asked) <= 240 else f"{asked[:200]}..."
    return PlainAnswer(text=f'You said{with_it}: "{shown}". This answer is simulated, and the same each time you ask.', reasoning=reasoning)


def _results_at_end(turns: list[PlainMessage]) -> list[PlainMessage]:
    end = len(turns)
    while end and turns[end - 1].role == "tool":
        end -= 1
    return turns[end:]


def _calls(ask: Ask, results: list[PlainMessage]) -> list[PlainToolCall]:
    """The tools to call now: none, one, or several when the text asks for several and parallel calls are allowed."""
    text = ask.user_text
    forced = ask.choice != "auto"
    tools = ask.tools if ask.choice in ("auto", "any") else [t for t in ask.tools if t.name == ask.choice]
    if results:
        if not forced:
            return []
        used = {name for turn in ask.turns for name in turn.calls}
        tools = [t for t in tools if t.name not in used] or tools[-1:]
        return [_call(tools[0], text)] if tools else []
    spelled = [call for tool in tools for call in _spelled_out(tool, text)]
    named = [tool for tool in tools if _mentions(text, tool.name)]
    if spelled:
        calls = spelled
    elif named:
        calls = [call for tool in named for call in _each(tool, text)]
    elif forced or _suggests(tools, text):
        best = max(tools, key=lambda tool: _score(tool, text), default=None)
        calls = _each(best, text) if best is not None else []
    else:
        calls = []
    return calls if ask.parallel else calls[:1]


def _call(tool: PlainTool, text: str) -> PlainToolCall:
    schema = tool.schema if "type" in tool.schema or "$ref" in tool.schema or "properties" in tool.schema else {"type": "object"}
    return PlainToolCall(tool.name, _json(fill(schema, Clues(text), optional=False)))


def _each(tool: PlainTool, text: str) -> list[PlainToolCall]:
    """One call, or one per part of an "A and B" when each part alone fills the tool's only required property."""
    required = tool.schema.get("required") or []
    parts = _SPLIT.split(text)
    if len(required) == 1 and 1 < len(parts) <= 8:
        offers = [Clues(part) for part in parts]
        if all(c.quoted or c.names or c.numbers for c in offers):
            return [_call(tool, part) for part in parts]
    return [_call(tool, text)]


def _spelled_out(tool: PlainTool, text: str) -> list[PlainToolCall]:
    """Calls written as `name(3, b=4)` in the text; the arguments go to the properties in order."""
    calls = []
    properties = list((tool.schema.get("properties") or {}).keys())
    for found in re.finditer(_CALL.format(name=re.escape(tool.name)), text):
        given = [part.strip() for part in found[1].split(",") if part.strip()]
        words = [part if "=" in part else f"{prop}={part}" for part, prop in zip(given, properties, strict=False)]
        calls.append(_call(tool, " ".join(words)))
    return calls


def _mentions(text: str, name: str) -> bool:
    spoken = re.escape(name).replace("_", r"[_\s-]")
    return re.search(rf"(?<!\w){spoken}(?!\w)", text, re.IGNORECASE) is not None


def _suggests(tools: list[PlainTool], text: str) -> bool:
    return bool(_ORDER.search(text)) or any(_score(tool, text) > 0 for tool in tools)


def _score(tool: PlainTool, text: str) -> int:
    """Words the tool and the text share; numbers count when the tool asks for as many as the text gives."""
    said = {_stem(w) for w in re.findall(r"\w+", text.lower())} - _COMMON
    about = {_stem(w) for w in re.findall(r"[^\W_]+", f"{tool.name} {tool.description}".lower())} - _COMMON
    properties: dict[str, Any] = tool.schema.get("properties") or {}
    about |= {_stem(w) for p in properties for w in p.lower().split("_") if len(w) > 2}
    score = len({w for w in said & about if len(w) > 2})
    required = [properties.get(p) for p in tool.schema.get("required") or []]
    wanted = sum(1 for p in required if isinstance(p, dict) and p.get("type") in ("integer", "number"))
    return score + (1 if wanted and len(Clues(text).numbers) >= wanted else 0)


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


def _free_json(ask: Ask) -> Json:
    """An object for JSON mode: after a schema found in the prompt, else with the keys the prompt quotes."""
    schema = _schema_in(ask.prompt)
    if schema is None:
        keys = [k for k in Clues(ask.prompt).quoted if re.fullmatch(r"[A-Za-z_]\w*", k)]
        schema = {"type": "object", "properties": {key: {"type": "string"} for key in keys or ["answer"]}}
    filled = fill(schema, Clues(re.sub(r"['\"`]\w+['\"`]", " ", _without_braces(ask.user_text))))
    return filled if isinstance(filled, dict) else {"answer": filled}


def _schema_in(text: str) -> Json | None:
    """The last JSON schema of an object that is written out in a text."""
    at, best = text.find("{"), None
    while at >= 0:
        try:
            found = msgspec.json.decode(text[at : _closing(text, at)])
        except msgspec.DecodeError:
            found = None
        if isinstance(found, dict) and isinstance(found.get("properties"), dict):
            best, at = found, _closing(text, at)
        at = text.find("{", at + 1)
    return best


def _closing(text: str, start: int) -> int:
    depth = 0
    for found in re.finditer(r'"(?:[^"\\]|\\.)*"|[{}]', text[start:]):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth == 0 and found[0] == "}":
            return start + found.end()
    return start


def _without_braces(text: str) -> str:
    return re.sub(r"\{.*\}", " ", text, flags=re.DOTALL)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
