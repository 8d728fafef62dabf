"""What people put around a chat model of LangChain: structured output, fallbacks, batches, caches, events, counted tokens."""

from __future__ import annotations

import functools
import tempfile
from typing import Any

import pytest

pytest.importorskip("langchain_openai", reason="the clients are not installed here: `make test-clients`")
pytest.importorskip("langchain_community", reason="the clients are not installed here: `make test-clients`")

import langchain_core.globals
from langchain_community.cache import SQLiteCache
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.load import dumpd, load
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, trim_messages
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.tools import tool
from pydantic import BaseModel

from surefoot.testing.wire import OK, Ask, PlainAnswer, fault
from tests.clients.beside import CHATS, EVERY, Desk, call
from tests.clients.beside import beside as any_beside
from tests.clients.messages import seen, used

beside = functools.partial(any_beside, framework="langchain")


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def person(ask: Ask) -> PlainAnswer | str:
    """A person in the form that is asked for."""
    return call(ask.tools[0].name, name="Ali", age=5) if ask.tools else '{"name": "Ali", "age": 5}'


ANY = {
    f"{wire}: sent": "ours asks for a call of any tool, which is the one there is, the official class for this one"
    for wire in ("openai", "responses", "anthropic")
}
CALLED = {name: reason for name, reason in ANY.items() if not name.startswith("responses")}
OPEN = "ours forces a tool where a schema is not closed, the official class closes it and asks for a schema"


def echo(ask: Ask) -> str:
    return f"you said {ask.turns[-1].text}"


@beside(*EVERY, differs=ANY)
def test_structured_output_by_function(desk: Desk):
    desk.answers(person)
    bound = desk.llm().with_structured_output(Person, method="function_calling", include_raw=True)
    answer = bound.invoke("who?")
    assert answer["parsed"] == Person(name="Ali", age=5)
    return {"raw": seen(answer["raw"]), "error": answer["parsing_error"]}


@beside(*EVERY, differs={"anthropic: sent": OPEN, "anthropic: raw": f"{OPEN}: the answer's text is the tool's arguments"})
def test_structured_output_by_schema(desk: Desk):
    desk.answers(person)
    answer = desk.llm().with_structured_output(Person, method="json_schema", include_raw=True).invoke("who?")
    assert answer["parsed"] == Person(name="Ali", age=5)
    return {"raw": seen(answer["raw"]), "error": answer["parsing_error"]}


@beside("openai", "responses", "google", differs={"google: sent": "the official class sends the schema in JSON mode, too"})
def test_structured_output_in_json_mode(desk: Desk):
    desk.answers(person)
    answer = desk.llm().with_structured_output(Person, method="json_mode", include_raw=True).invoke("who? answer in JSON")
    assert answer["parsed"] == Person(name="Ali", age=5)
    return {"raw": seen(answer["raw"]), "error": answer["parsing_error"]}


@beside(*CHATS, differs=CALLED)
async def test_structured_output_grows_in_a_stream(desk: Desk):
    desk.answers(person)
    schema = {
        "title": "Person",
        "description": "A person",
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    }
    grown = [one async for one in desk.llm().with_structured_output(schema, method="function_calling").astream("who?")]
    assert grown[-1] == {"name": "Ali", "age": 5}
    return {"last": grown[-1]}


@beside(*CHATS, differs=CALLED)
def test_structured_output_that_does_not_parse(desk: Desk):
    desk.answers(call("Person", name="Ali", age="five"))
    answer = desk.llm().with_structured_output(Person, method="function_calling", include_raw=True).invoke("who?")
    assert answer["parsed"] is None
    return {"raw": seen(answer["raw"]), "error": type(answer["parsing_error"]).__name__}


@beside(*CHATS)
def test_fallback_of_langchain(desk: Desk):
    @tool
    def weather(city: str) -> str:
        """Weather of a city."""
        return city

    desk.answers(call("weather", city="Izmir"))
    with desk.broken() as down:
        several = down.llm().bind_tools([weather]).with_fallbacks([desk.llm().bind_tools([weather])])
        message = several.invoke("weather?")
        streamed = several.stream("weather?")
        whole = functools.reduce(lambda first, second: first + second, streamed)
        tried = len(down.sim.requests)
    assert message.tool_calls[0]["args"] == whole.tool_calls[0]["args"] == {"city": "Izmir"}
    return {"message": seen(message), "streamed": seen(whole), "tried": tried}


@beside(*CHATS)
def test_retry_of_langchain(desk: Desk):
    desk.answers("Well again.")
    desk.sim.script([fault("status_500"), fault("status_500"), OK])
    message = desk.llm().with_retry(stop_after_attempt=3, wait_exponential_jitter=False).invoke("hi")
    return {"message": seen(message), "requests": len(desk.sim.requests)}


@beside(*CHATS)
def test_fields_and_models_are_configured_per_call(desk: Desk):
    desk.answers("one two three four five six seven eight")
    word = "max_output_tokens" if desk.wire == "google" and not desk.is_ours else "max_tokens"
    model = desk.llm().configurable_fields(**{word: ConfigurableField(id="most")})
    model = model.configurable_alternatives(ConfigurableField(id="which"), default_key="a", b=desk.llm(**{word: 2}))
    short = model.with_config(configurable={"most": 4}).invoke("hi")
    other = model.with_config(configurable={"which": "b"}).invoke("hi")
    assert [short.text, other.text] == ["one two three four", "one two"]
    return {"short": seen(short), "other": seen(other), "whole": seen(model.invoke("hi"))}


@beside(*CHATS)
async def test_batches(desk: Desk):
    desk.answers(lambda ask: None if ask.turns[-1].text == "bad" else echo(ask))
    desk.sim.script(fault("status_400"), when=lambda request: b"bad" in request.body)
    model = desk.llm()
    whole = model.batch(["a", "b", "c"], config={"max_concurrency": 2})
    mixed = await model.abatch(["a", "bad", "c"], return_exceptions=True)
    done = {at: message.text async for at, message in model.abatch_as_completed(["x", "y", "z"])}
    assert done == {0: "you said x", 1: "you said y", 2: "you said z"}
    return {
        "whole": [seen(one) for one in whole],
        "mixed": [one.text if isinstance(one, AIMessage) else "error" for one in mixed],
        "done": [done[at] for at in range(3)],
    }


@beside(*CHATS)
def test_a_chain_streams_through_parsers(desk: Desk):
    desk.answers(lambda ask: '{"name": "Ali", "age": 5}' if "person" in ask.prompt else echo(ask))
    llm = desk.llm()
    parts = RunnableParallel(
        said=ChatPromptTemplate.from_template("{x}") | llm | StrOutputParser(),
        person=ChatPromptTemplate.from_template("a person like {x}") | llm | JsonOutputParser(),
        kept=RunnablePassthrough(),
    )
    chain = parts | RunnableLambda(lambda found: {**found, "said": found["said"].upper()})
    typed = ChatPromptTemplate.from_template("a person like {x}") | llm | PydanticOutputParser(pydantic_object=Person)
    streamed = list((ChatPromptTemplate.from_template("{x}") | llm | StrOutputParser()).stream({"x": "hello there"}))
    answer = chain.invoke({"x": "hello"})
    assert answer["said"] == "YOU SAID HELLO"
    assert typed.invoke({"x": "hello"}) == Person(name="Ali", age=5)
    return {"answer": answer, "streamed": [one for one in streamed if one]}


@beside(*CHATS)
async def test_events_of_a_chain(desk: Desk):
    desk.answers(echo)
    chain = (ChatPromptTemplate.from_template("{x}") | desk.llm().with_config(tags=["mine"]) | StrOutputParser()).with_config(
        run_name="all"
    )
    found: list[Any] = [event async for event in chain.astream_events({"x": "hello"}, version="v2", include_tags=["mine"])]
    kinds = [one["event"] for one in found]
    assert kinds[0] == "on_chat_model_start"
    last = found[-1]["data"]["output"]
    tokens = [one["data"]["chunk"].text for one in found if one["event"] == "on_chat_model_stream"]
    return {"first and last": [kinds[0], kinds[-1]], "tokens": [one for one in tokens if one], "last": seen(last)}


@beside(*CHATS, differs={"google: tokens": "the official class tells blocks instead of texts"})
def test_callbacks_of_tokens_and_usage(desk: Desk):
    class Told(BaseCallbackHandler):
        def __init__(self) -> None:
            self.events: list[str] = []
            self.tokens: list[str] = []

        def on_chat_model_start(self, serialized, messages, **more):
            self.events.append("start")

        def on_llm_new_token(self, token, **more):
            self.tokens += [token] if token and isinstance(token, str) else []

        def on_llm_end(self, response, **more):
            self.events.append("end")

        def on_llm_error(self, error, **more):
            self.events.append("error")

    desk.answers("one two three")
    told, model = Told(), desk.llm()
    with get_usage_metadata_callback() as counted:
        list(model.stream("hi", {"callbacks": [told]}))
        model.invoke("hi", {"callbacks": [told]})
    desk.sim.script(fault("status_400"))
    with pytest.raises(Exception, match=r"400|INVALID|valid|refused"):
        model.invoke("hi", {"callbacks": [told]})
    (usage,) = counted.usage_metadata.values()
    assert told.events == ["start", "end", "start", "end", "start", "error"]
    return {"events": told.events, "tokens": told.tokens, "usage": used(usage)}


@beside(*CHATS)
def test_global_caches_of_langchain(desk: Desk):
    """A second model of the same settings is answered from the cache; ours has it off until it is asked for."""
    desk.answers(echo)
    texts = []
    with tempfile.TemporaryDirectory() as folder:
        for cache in (InMemoryCache(), SQLiteCache(f"{folder}/cache.db")):
            langchain_core.globals.set_llm_cache(cache)
            try:
                texts += [desk.llm(cache=True).invoke("hello").text for _ in range(2)]
            finally:
                langchain_core.globals.set_llm_cache(None)
    assert len(desk.sim.requests) == 2
    return {"texts": texts, "requests": len(desk.sim.requests)}


@beside(*CHATS)
def test_messages_are_stored_and_loaded(desk: Desk):
    desk.answers(call("weather", city="Izmir"))
    message = (
        desk.llm().bind_tools([{"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {}}}]).invoke("?")
    )
    again = load(dumpd(message), allowed_objects="messages")
    assert again == message
    return {"message": seen(message), "again": seen(again)}


@beside(*CHATS)
def test_history_of_a_session(desk: Desk):
    desk.answers(echo)
    sessions: dict[str, InMemoryChatMessageHistory] = {}
    chain = RunnableWithMessageHistory(
        ChatPromptTemplate.from_messages([("system", "Be brief."), MessagesPlaceholder("history"), ("human", "{question}")]) | desk.llm(),
        lambda session: sessions.setdefault(session, InMemoryChatMessageHistory()),
        input_messages_key="question",
        history_messages_key="history",
    )
    for question in ("one", "two"):
        chain.invoke({"question": question}, {"configurable": {"session_id": "1"}})
    return {"stored": [seen(one) for one in sessions["1"].messages]}


@beside(*CHATS)
def test_trimmed_messages(desk: Desk):
    """Counted about, since the vendors' own counters ask the network."""
    desk.answers(echo)
    long = [SystemMessage("Be brief."), *(HumanMessage(f"question {n} " * 20) if n % 2 == 0 else AIMessage("yes " * 20) for n in range(9))]
    chain = trim_messages(max_tokens=120, token_counter="approximate", include_system=True, start_on="human") | desk.llm()
    message = chain.invoke(long)
    assert len(desk.asks[0].turns) < len(long)
    return {"message": seen(message)}
