"""Promises of chat models that call tools, answer in a shape, see and hear."""

from __future__ import annotations

from typing import Any

import msgspec

from surefoot.errors import BadRequest, MalformedReply, Unsupported
from surefoot.testing._provider import CLOCK, WEATHER, Promises, ProviderUnderTest, needing
from surefoot.testing.wire import PlainAnswer, fault, faults_for
from surefoot.testing.wire import PlainToolCall as Called
from surefoot.types import File, Image, Message, Part, Schema, Tool, ToolCall

TOOLS: Promises = {}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
JPEG = b"\xff\xd8\xff" + bytes(20)
GIF_URL = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
PDF = b"%PDF-1.7\n"
WAV = b"RIFF\x24\0\0\0WAVE"
CITIES = ("İstanbul 🌧", "東京")
CARD = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name", "age"]}


@needing(TOOLS, "chat", "server", "tools")
async def calls_tools_in_parallel(it: ProviderUnderTest) -> None:
    """Several calls in one answer, each with an id of its own and its arguments whole, in any script; in a stream they come as pieces."""
    it.script(PlainAnswer(calls=tuple(Called("weather", msgspec.json.encode({"city": city}).decode()) for city in CITIES), finish="tools"))
    request = it.request("Weather?", tools=(WEATHER, CLOCK))
    for stream in (False, True):
        reply = await it.ask(request, stream=stream)
        assert [call.parsed() for call in reply.tool_calls] == [{"city": city} for city in CITIES], f"arguments: {reply.tool_calls}"
        assert [call.name for call in reply.tool_calls] == ["weather", "weather"]
        assert len({call.id for call in reply.tool_calls} - {""}) == 2, "calls without an id of their own"
        assert reply.finish_reason == "tool_calls", f"finish reason {reply.finish_reason!r} of an answer that calls tools"
        assert not reply.invalid_tool_calls
    pieces = [piece async for delta in await it.open(request) for piece in delta.tool_calls]
    for number, city in enumerate(CITIES):
        arguments = "".join(piece.arguments for piece in pieces if piece.index == number)
        assert msgspec.json.decode(arguments) == {"city": city}, f"the pieces of call {number} are {arguments!r}"


@needing(TOOLS, "chat", "server", "tools")
async def obeys_tool_choice(it: ProviderUnderTest) -> None:
    """Whether a tool may, must or must not be called, and which, reaches the server in its own words; also "one at a time"."""
    for choice, right in (("auto", {"auto"}), ("none", {"none"}), ("required", {"any"}), ("clock", {"any", "clock"})):
        reply = await it.ask(it.request("Hello", tools=(WEATHER, CLOCK), tool_choice=choice), stream=False)
        ask = it.heard[-1]
        assert ask.choice in right, f"tool_choice={choice!r} was heard as {ask.choice!r}"
        names = [call.name for call in reply.tool_calls]
        assert bool(names) == (choice in {"required", "clock"}), f"tool_choice={choice!r}: {names} called"
        if choice == "clock":
            assert names == ["clock"], f"{names} called where clock was wanted"
    it.saying = PlainAnswer(calls=(Called("weather", "{}"), Called("clock", "{}")), finish="tools")
    for stream in (False, True):
        reply = await it.ask(it.request("Hello", tools=(WEATHER, CLOCK), parallel_tool_calls=False), stream=stream)
        assert not it.heard[-1].parallel or len(reply.tool_calls) == 1, "parallel_tool_calls=False was neither sent nor kept"


@needing(TOOLS, "chat", "server", "tools")
async def goes_on_with_results(it: ProviderUnderTest) -> None:
    """A whole round: the model calls, the results go back (a failed one too, in any script), the model answers with them."""
    it.script([PlainAnswer(calls=tuple(Called("weather", "{}") for _ in CITIES), finish="tools"), None] * 2)
    for stream in (False, True):
        asked = it.request("Weather?", tools=(WEATHER,))
        first = await it.ask(asked, stream=stream)
        results = [
            Message.tool("22 °C 🌤", tool_call_id=first.tool_calls[0].id),
            Message.tool("istasyon kapalı", tool_call_id=first.tool_calls[1].id, is_error=True),
        ]
        reply = await it.ask(it.request(*asked.messages, first.message, *results, tools=(WEATHER,)), stream=stream)
        assert "weather returned 22 °C 🌤" in reply.text, f"the model did not see the result: {reply.text!r}"
        assert "failed with" in reply.text, f"the model did not see that a tool failed: {reply.text!r}"
        assert "istasyon kapalı" in reply.text


@needing(TOOLS, "chat", "server", "tools")
async def keeps_broken_arguments_as_they_came(it: ProviderUnderTest) -> None:
    """Arguments that are no JSON make an invalid call with the raw text; turned into {} they would run. Cut ones are invalid, too."""
    vendor = it.server.vendor
    rows = [row for row in faults_for(vendor) if row.spoil == "malformed_tool_json"]  # type: ignore[arg-type]
    assert rows or "raw_arguments" in it.cannot, "no way to break the arguments is known"
    for row in rows:
        it.script(row)
        reply = await it.ask(it.request("x", tools=(WEATHER,), tool_choice="required"), stream="stream" in row.surfaces)
        (call,) = reply.invalid_tool_calls
        assert call.arguments.strip() not in {"", "{}"}, f"{row.name}: the raw text is lost"
        assert call.error, f"{row.name}: the call does not say what is wrong with it"
    if not rows:
        for stream in (False, True):
            it.script(fault("malformed_function_call"))
            try:
                reply = await it.ask(it.request("x", tools=(WEATHER,)), stream=stream)
            except MalformedReply:
                continue
            assert reply.invalid_tool_calls, "a malformed call passes for an answer"
    for stream in (False, True):
        it.script(PlainAnswer(calls=(Called("weather", '{"city":"a"}'),), finish="length"))
        reply = await it.ask(it.request("x", tools=(WEATHER,)), stream=stream)
        assert len(reply.invalid_tool_calls) == len(reply.tool_calls), "a call cut by the token limit would be run"


@needing(TOOLS, "chat", "server", "tools")
async def sends_broken_calls_back(it: ProviderUnderTest) -> None:
    """A conversation that holds an invalid call can go on: the model sees what it wrote, and the tool's complaint."""
    broken = ToolCall(id="call_9", name="weather", arguments='{"city": ', error="cut")
    said = Message.assistant("", tool_calls=[broken])
    request = it.request("x", said, Message.tool("not JSON", tool_call_id="call_9", is_error=True), tools=(WEATHER,))
    reply = await it.ask(request, stream=False)
    assert "not JSON" in reply.text
    assert b'{\\"city\\": ' in it.server.requests[-1].body, "what the model wrote did not go back"


@needing(TOOLS, "chat", "server", "schema")
async def answers_in_the_shape_asked(it: ProviderUnderTest) -> None:
    """A JSON schema, closed or open, and plain JSON mode: natively or through a tool, the text is the JSON and the end a normal one."""
    closed = Schema.of("person", {**CARD, "additionalProperties": False}, strict=True)
    for stream in (False, True):
        for schema in (closed, Schema.of("person", CARD)):
            reply = await it.ask(it.request("Ada is 36 years old.", schema=schema), stream=stream)
            found: dict[str, Any] = msgspec.json.decode(reply.text)
            assert found.keys() == {"name", "age"}, f"{found} is not in the shape asked"
            assert isinstance(found["age"], int)
            assert (reply.finish_reason, reply.tool_calls) == ("stop", ()), "the way to the shape shows"
        reply = await it.ask(it.request("Some JSON please, with the key 'name'.", schema=Schema()), stream=stream)
        assert isinstance(msgspec.json.decode(reply.text), dict), "JSON mode gave no object"


@needing(TOOLS, "chat", "server", "vision")
async def sees_pictures(it: ProviderUnderTest) -> None:
    """By bytes, as a file, by data URL and by address; a PDF beside them where it reads those."""
    parts: list[Part | str] = [
        "Look:", Image(data=PNG), File(data=JPEG, media_type="image/jpeg"), Image(url=GIF_URL), Image(url="https://example.org/a.png"),
    ]  # fmt: skip
    if "pdf" not in it.cannot:
        parts.append(File(data=PDF, name="a.pdf"))
    for stream in (False, True):
        await it.ask(it.request(Message.user(parts)), stream=stream)
        seen = it.heard[-1]
        assert seen.images == 4, f"{seen.images} pictures arrived, 4 were sent"
        assert seen.files == len(parts) - 5, f"{seen.files} PDFs arrived"
        assert seen.user_text == "Look:"


@needing(TOOLS, "chat", "server", "sounds")
async def hears_sounds(it: ProviderUnderTest) -> None:
    """A recording arrives as one, and its tokens are told."""
    for stream in (False, True):
        reply = await it.ask(it.request(Message.user(["Hear:", File(data=WAV, media_type="audio/wav")])), stream=stream)
        assert it.heard[-1].audios == 1, "no recording arrived"
        assert reply.usage.audio_input_tokens > 0, "its tokens are not told"


@needing(TOOLS, "chat")
async def refuses_before_sending(it: ProviderUnderTest) -> None:
    """What it cannot do, by its own word, is refused with a reason before anything is sent; so is a picture that is none."""
    asked: dict[str, dict[str, Any]] = {
        "tools": {"tools": (Tool.of("t", "", {}),)},
        "schema": {"schema": Schema.of("card", CARD)},
    }
    for what, fields in asked.items():
        if what in it.cannot:
            await it.refuses(what, it.ask(it.request(**fields), stream=False), kinds=Unsupported)
    parts: dict[str, Part] = {
        "vision": Image(data=PNG),
        "pdf": File(data=PDF),
        "sounds": File(data=WAV, media_type="audio/wav"),
    }
    for what, part in parts.items():
        if what in it.cannot:
            await it.refuses(what, it.ask(it.request(Message.user([it.question, part])), stream=True), kinds=Unsupported)
    no_picture = it.request(Message.user([it.question, Image(data=b"BM, a bitmap")]))
    await it.refuses("a picture that is none", it.ask(no_picture, stream=False), kinds=(Unsupported, BadRequest))
