"""ChatSurefoot: what chains, agents and tracing meet, over a scripted provider."""

from __future__ import annotations

import asyncio
import inspect
import pickle  # noqa: TID251 - what job queues do to errors
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.exceptions import ModelAPIError, OutputParserException
from langchain_core.globals import set_llm_cache
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import ConfigurableField
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.tools import tool
from pydantic import BaseModel, SecretStr

from langchain_surefoot import ChatSurefoot
from surefoot import ChatModel, Policy, Secret, Target, scope
from surefoot.core._tool_calls import checked_tool_call
from surefoot.errors import BadRequest, Exhausted, Interrupted, Misconfigured, Overloaded
from surefoot.testing import STALL, Scripted
from surefoot.types import ChatReply, ToolCall, Traits


def around(*steps: Any, **options: Any) -> tuple[ChatSurefoot, Scripted]:
    """A ChatSurefoot over a scripted provider that waits for nothing between attempts."""
    provider = Scripted(*steps, **{name: options.pop(name) for name in ("traits", "usage", "delta_gap_s") if name in options})
    return ChatSurefoot(chat=ChatModel(provider, policy=Policy(backoff_base_s=0.001)), **options), provider


# --- one call, every way ---


async def test_every_way_to_ask_gives_the_same_answer():
    """invoke, ainvoke, stream, astream, batch and abatch are one call in six dresses."""
    llm, provider = around("hello there")
    answers = [
        llm.invoke("hi").text,
        (await llm.ainvoke("hi")).text,
        "".join(chunk.text for chunk in llm.stream("hi")),
        "".join([chunk.text async for chunk in llm.astream("hi")]),
        llm.batch(["hi"])[0].text,
        (await llm.abatch(["hi"]))[0].text,
    ]
    assert answers == ["hello there"] * 6
    assert provider.calls == 6


def test_the_fields_reach_the_request():
    """A temperature that gets lost on the way changes every answer."""
    llm, provider = around(temperature=0.5, max_tokens=9, top_p=0.9, stop=["x"], seed=7, reasoning_effort="low", extra={"user": "u"})
    llm.invoke("hi")
    asked = provider.requests[0]
    assert (asked.temperature, asked.max_tokens, asked.top_p, asked.stop, asked.seed) == (0.5, 9, 0.9, ("x",), 7)
    assert (asked.reasoning_effort, asked.extra, asked.model) == ("low", '{"user":"u"}', "")


def test_options_per_call_win():
    """bind() and invoke() override the fields; stop comes as LangChain's own argument."""
    llm, provider = around(temperature=0.5, stop=["x"])
    llm.bind(temperature=0.0, model="other").invoke("hi", stop=["y"], deadline_s=5)
    asked = provider.requests[0]
    assert (asked.temperature, asked.stop, asked.model, provider.seen[0].deadline_s) == (0.0, ("y",), "other", 5)


def test_a_model_beside_chat_asks_the_same_provider_for_another_model():
    """chat= says who is asked; model= beside it says for what."""
    provider = Scripted()
    ChatSurefoot(chat=ChatModel(provider), model="scripted:small").invoke("hi")
    assert provider.requests[0].model == "small"


def test_scope_reaches_through_langchain():
    """Tenants and budgets are said once, outside."""
    llm, provider = around()
    with scope(tenant="acme", tags={"job": "nightly"}):
        llm.invoke("hi")
    assert (provider.seen[0].tenant, provider.seen[0].tags) == ("acme", (("job", "nightly"),))


def test_answers_carry_what_is_known_of_them():
    """Usage counters and bills read these words."""
    llm, _ = around()
    handler = UsageMetadataCallbackHandler()
    message = llm.invoke("hi", config={"callbacks": [handler]})
    assert message.usage_metadata == {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    assert message.response_metadata["target"] == "scripted:model"
    assert message.response_metadata["attempts"] == 1
    assert handler.usage_metadata["scripted:model"]["total_tokens"] == 15


# --- one retry owner ---


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_two_failures_and_a_success_are_three_attempts(way):
    """LangChain must see one call, and the provider three."""
    llm, provider = around(Overloaded("busy"), Overloaded("busy"), "fine")
    text = llm.invoke("hi").text if way == "invoke" else "".join(chunk.text for chunk in llm.stream("hi"))
    assert (text, provider.calls) == ("fine", 3)


def test_what_our_policy_has_retried_is_final():
    """is_retryable is LangChain's word for "ask again"; after three attempts of ours the truthful answer is no."""
    llm, provider = around(Overloaded("busy", status=503))
    with pytest.raises(Exhausted) as caught:
        llm.invoke("hi")
    assert isinstance(caught.value, ModelAPIError)
    assert not caught.value.is_retryable
    assert provider.calls == llm.surefoot.policy.attempts
    assert caught.value.response.status_code == 503


@pytest.mark.parametrize(("attempts", "retryable"), [(1, True), (2, False)])
def test_a_failure_may_be_retried_above_only_where_our_retries_are_off(attempts, retryable):
    """An empty retry budget means that the provider is down; middleware that asks again would undo it."""
    llm = ChatSurefoot(chat=ChatModel(Scripted(Overloaded("busy", status=503)), policy=Policy(attempts=attempts, backoff_base_s=0.001)))
    with pytest.raises(ModelAPIError) as caught:
        llm.invoke("hi")
    assert caught.value.is_retryable is retryable


def test_langchains_own_cache_and_limiter_are_off():
    """None would mean LangChain's global cache: two caches, two truths."""
    set_llm_cache(InMemoryCache())
    try:
        llm, provider = around("one", "two")
        assert [llm.invoke("hi").text, llm.invoke("hi").text] == ["one", "two"]
        assert (llm.cache, llm.rate_limiter, provider.calls) == (False, None, 2)
    finally:
        set_llm_cache(None)


def test_surefoots_cache_is_asked_for_by_name():
    """BaseChatModel already has a `cache`; ours is `surefoot_cache`."""
    with pytest.raises(Misconfigured, match="cache and chat= are both given"):
        around(surefoot_cache="memory")


# --- streams ---


def test_a_broken_stream_says_what_had_arrived():
    """After the first token nobody asks again; the reader gets what there is."""
    llm, provider = around(["Hel", "lo", Overloaded("reset")])
    read = []
    with pytest.raises(Interrupted) as caught:
        read.extend(chunk.text for chunk in llm.stream("hi"))
    assert ("".join(read), caught.value.partial, provider.calls) == ("Hello", "Hello", 1)
    assert caught.value.is_retryable is False


async def test_a_reader_who_leaves_hangs_up():
    """A provider bills until its stream is dropped."""
    llm, provider = around(["a", "b", STALL])
    stream = llm.astream("hi")
    assert (await anext(stream)).text == "a"
    await stream.aclose()
    for _ in range(100):
        if provider.idle():
            break
        await asyncio.sleep(0.001)
    assert (provider.idle(), provider.closed) == (True, 1)


async def test_cancelling_cancels_the_call():
    """A web request that is gone must not keep a provider busy."""
    llm, provider = around(STALL)
    task = asyncio.create_task(llm.ainvoke("hi"))
    while not provider.seen:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(100):
        if provider.idle():
            break
        await asyncio.sleep(0.001)
    assert provider.idle()


async def test_events_v2_and_v3_show_the_tokens():
    """LangGraph's streaming modes listen to these."""
    llm, _ = around("hello there")
    chain = ChatPromptTemplate.from_template("{x}") | llm | StrOutputParser()
    kinds = [event["event"] async for event in chain.astream_events({"x": "hi"}, version="v2")]
    assert kinds.count("on_chat_model_stream") == 3
    stream = await llm.astream_events("hi", version="v3")
    assert [event["event"] async for event in stream][-1] == "message-finish"
    assert (await stream.output).text == "hello there"


@pytest.mark.parametrize("version", ["v0", "v1"])
async def test_thought_text_and_calls_keep_their_order_and_places(version):
    """A v1 stream merges blocks by index: a call's piece that meets a text's would swallow it."""
    reply = ChatReply(
        text="hello there", reasoning="hm", tool_calls=(ToolCall(id="1", name="f", arguments='{"x": 1}'), ToolCall(id="2", name="g"))
    )
    llm, _ = around(reply, output_version=version)
    whole: Any = None
    async for chunk in llm.astream("hi"):
        whole = chunk if whole is None else whole + chunk
    for message in (whole, await llm.ainvoke("hi")):
        assert [block["type"] for block in message.content_blocks] == ["reasoning", "text", "tool_call", "tool_call"]
        assert message.text == "hello there"
        assert [(call["name"], call["args"]) for call in message.tool_calls] == [("f", {"x": 1}), ("g", {})]
    assert isinstance(whole.content, list if version == "v1" else str)


async def test_v3_events_carry_two_calls_beside_text():
    """The bridge of LangChain reads our chunks' indices."""
    reply = ChatReply(text="hello", tool_calls=(ToolCall(id="1", name="f", arguments='{"x": 1}'), ToolCall(id="2", name="g")))
    llm, _ = around(reply)
    stream = await llm.astream_events("hi", version="v3")
    message = await stream.output
    assert message.text == "hello"
    assert [call["name"] for call in message.tool_calls] == ["f", "g"]


# --- tools and shapes ---


class City(BaseModel):
    """A city."""

    name: str
    people: int


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


def call(name: str, arguments: str) -> ChatReply:
    return ChatReply(tool_calls=(checked_tool_call(id="1", name=name, arguments=arguments),), finish_reason="tool_calls")


def test_bound_tools_reach_the_request():
    """Name, description and schema are what the model sees."""
    llm, provider = around()
    llm.bind_tools([weather], tool_choice="any", parallel_tool_calls=False, strict=True).invoke("hi")
    asked = provider.requests[0]
    assert (asked.tools[0].name, asked.tools[0].description, asked.tools[0].strict) == ("weather", "The weather of a city.", True)
    assert (asked.tool_choice, asked.parallel_tool_calls) == ("required", False)


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
@pytest.mark.parametrize("schema", [City, City.model_json_schema()], ids=["class", "dict"])
def test_structured_output_gives_the_shape(method, schema):
    """Three ways to the same object."""
    text = '{"name": "Izmir", "people": 3}'
    llm, provider = around(call("City", text) if method == "function_calling" else text)
    found = llm.with_structured_output(schema, method=method).invoke("hi")
    assert found == (City(name="Izmir", people=3) if schema is City else {"name": "Izmir", "people": 3})
    asked = provider.requests[0]
    assert (bool(asked.tools), bool(asked.schema)) == (method == "function_calling", method != "function_calling")


def test_strict_reaches_the_provider():
    """strict=True without the word on the wire would be a promise nobody keeps."""
    llm, provider = around('{"name": "Izmir", "people": 3}')
    llm.with_structured_output(City, method="json_schema", strict=True).invoke("hi")
    assert provider.requests[0].schema.strict is True
    assert '"additionalProperties":false' in provider.requests[0].schema.schema


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_include_raw_never_raises_for_an_answer_that_does_not_parse(method):
    """The raw answer was paid for."""
    llm, _ = around(call("City", '{"name": 1}') if method == "function_calling" else "no json")
    found = llm.with_structured_output(City, method=method, include_raw=True).invoke("hi")
    assert isinstance(found["raw"], AIMessage)
    assert found["parsed"] is None
    assert found["parsing_error"] is not None


def test_without_include_raw_it_raises():
    """Text is no City."""
    llm, _ = around("no json")
    with pytest.raises(OutputParserException):
        llm.with_structured_output(City, method="json_schema").invoke("hi")


def test_an_unknown_method_is_named():
    """LangChain's base swallows it."""
    with pytest.raises(ValueError, match="'magic'"):
        around()[0].with_structured_output(City, method="magic")


# --- chains, agents, histories ---


def test_a_conversation_is_remembered():
    """RunnableWithMessageHistory hands our own answers back to us."""
    llm, provider = around("I am a model.")
    memory = InMemoryChatMessageHistory()
    prompt = ChatPromptTemplate.from_messages([MessagesPlaceholder("history"), ("human", "{input}")])
    chain = RunnableWithMessageHistory(prompt | llm, lambda _: memory, input_messages_key="input", history_messages_key="history")
    for question in ("who?", "sure?"):
        chain.invoke({"input": question}, config={"configurable": {"session_id": "1"}})
    assert [message.text for message in provider.requests[1].messages] == ["who?", "I am a model.", "sure?"]


def test_configurable_fields_switch_the_model_and_keep_streaming():
    """LangChain rebuilds the object from all fields: a False that was only a default would turn streams off."""
    llm, provider = around("hello there")
    switched = llm.configurable_fields(temperature=ConfigurableField(id="t"), model=ConfigurableField(id="m"))
    chunks = list(switched.with_config(configurable={"t": 0.7, "m": "scripted:other"}).stream("hi"))
    assert len(chunks) == 3
    assert (provider.requests[0].temperature, provider.requests[0].model) == (0.7, "other")


async def test_an_agent_uses_a_tool_and_answers():
    """create_agent: two calls, the tool's result between them."""
    agents = pytest.importorskip("langchain.agents")
    llm, provider = around(call("weather", '{"city": "Izmir"}'), "Take an umbrella.")
    agent = agents.create_agent(llm, tools=[weather])
    state = await agent.ainvoke({"messages": [HumanMessage("weather in Izmir?")]})
    assert state["messages"][-1].text == "Take an umbrella."
    assert provider.requests[1].messages[-1].text == "rain in Izmir"
    assert provider.calls == 2


def test_retry_middleware_does_not_multiply_our_attempts():
    """ModelRetryMiddleware retries what says is_retryable: three of its rounds over three of ours would be nine calls."""
    middleware = pytest.importorskip("langchain.agents.middleware")
    agents = pytest.importorskip("langchain.agents")
    llm, provider = around(Overloaded("busy", status=503))
    agent = agents.create_agent(
        llm, tools=[], middleware=[middleware.ModelRetryMiddleware(max_retries=3, initial_delay=0.0, on_failure="error")]
    )
    with pytest.raises(Exhausted):
        agent.invoke({"messages": [HumanMessage("hi")]})
    assert provider.calls == llm.surefoot.policy.attempts


def test_an_agent_takes_the_shape_from_the_profile():
    """create_agent asks the profile whether the provider holds shapes itself."""
    agents = pytest.importorskip("langchain.agents")
    llm, provider = around('{"name": "Izmir", "people": 3}')
    state = agents.create_agent(llm, tools=[], response_format=City).invoke({"messages": [HumanMessage("a city?")]})
    assert state["structured_response"] == City(name="Izmir", people=3)
    assert provider.requests[0].schema.name == "City"


# --- construction ---


def test_the_profile_is_what_the_provider_knows():
    """SummarizationMiddleware sizes conversations by it."""
    llm, _ = around(traits=Traits(context_tokens=1000, vision=False))
    assert (llm.profile["max_input_tokens"], llm.profile["image_inputs"], llm.profile["tool_calling"]) == (1000, False, True)


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("anthropic:claude-haiku-4-5", 200_000),
        ("openai:gpt-4o-mini", 128_000),
        ("openai:gpt-5-mini", 272_000),
        ("openai:a-model-of-our-own", None),
    ],
)
def test_the_profile_holds_the_window_of_the_price_list(model, tokens):
    """What a question may have; where nobody knows, the profile does not say."""
    assert ChatSurefoot(model=model, api_key="k").profile.get("max_input_tokens") == tokens


@pytest.mark.parametrize(
    ("model", "limit", "efforts"),
    [
        ("openai:gpt-4o-mini", 16_384, None),
        ("openai:gpt-5-mini", 128_000, ["minimal", "low", "medium", "high"]),
        ("anthropic:claude-opus-4-6", 128_000, ["low", "medium", "high", "max"]),
        ("anthropic:claude-3-haiku-20240307", 4096, None),
        ("google:gemini-2.5-flash", 65_536, None),
        ("google:gemini-3-flash", 65_536, ["minimal", "low", "medium", "high"]),
        ("groq:qwen3-32b", None, None),
        ("openai:a-model-of-our-own", None, None),
    ],
)
def test_the_profile_holds_the_answers_limit_and_the_efforts(model, limit, efforts):
    """As the official classes' profiles do; what nobody knows does not stand there."""
    profile = ChatSurefoot(model=model, api_key="k").profile
    assert (profile.get("max_output_tokens"), profile.get("reasoning_effort_levels")) == (limit, efforts)
    assert profile.get("reasoning_output") is (True if efforts else None)


def test_a_conversation_is_summed_up_at_a_share_of_the_window():
    """LangChain's middleware refuses a model whose profile names no window."""
    middleware = pytest.importorskip("langchain.agents.middleware")
    llm = ChatSurefoot(model="openai:gpt-4o-mini", api_key="k")
    assert middleware.SummarizationMiddleware(model=llm, trigger=("fraction", 0.8)).model is llm
    with pytest.raises(ValueError, match="profile"):
        middleware.SummarizationMiddleware(model=ChatSurefoot(model="openai:a-model-of-our-own", api_key="k"), trigger=("fraction", 0.8))


def test_customary_words_are_understood():
    """One replaced line must not leave timeout= and max_retries= unread."""
    llm = ChatSurefoot(
        model="openai:m", timeout=7, max_retries=1, api_key="k", stop_sequences=["x"], model_kwargs={"user": "u"}, stream_usage=True
    )
    assert (llm.deadline_s, llm.attempts, llm.stop, llm.extra) == (7, 2, ["x"], {"user": "u"})


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, "say model="),
        ({"model": "my-model"}, "provider:model"),
        ({"model": "openai:m", "temprature": 0}, "did you mean 'temperature'"),
        ({"model": "openai:m", "attempts": 0}, "attempts = 0"),
        ({"model": "openai:m", "concurrency": -1}, "concurrency = -1"),
        ({"model": "openai:m", "deadline_s": 0}, "deadline_s"),
    ],
)
def test_bad_fields_are_told_at_once(fields, names):
    """Before anything is sent, naming the remedy."""
    with pytest.raises(Misconfigured, match=names):
        ChatSurefoot(**fields)


def test_bad_input_is_told_before_anything_is_sent():
    """No message is no question."""
    llm, provider = around()
    with pytest.raises(BadRequest, match="no messages"):
        llm.invoke([])
    assert provider.calls == 0


@pytest.mark.parametrize("key", ["sk-secret", SecretStr("sk-secret"), Secret("sk-secret")], ids=["str", "SecretStr", "Secret"])
def test_a_key_is_shown_nowhere(key):
    """repr, dumps, tracing and identifying parameters are logged."""
    llm = ChatSurefoot(model="openai:m", api_key=key)
    shown = " ".join(
        [repr(llm), str(llm), dumps(llm), repr(llm._identifying_params), repr(llm._serialized), repr(llm.surefoot), llm.surefoot.describe()]
    )
    assert "sk-secret" not in shown
    assert llm.api_key.get_secret_value() == "sk-secret"


def test_serialised_and_loaded_it_is_the_same(monkeypatch):
    """The key comes back from the environment, a reference as it was."""
    options: Any = {"valid_namespaces": ["langchain_surefoot"], "allowed_objects": [ChatSurefoot], "secrets_from_env": True}
    monkeypatch.setenv("ANTHROPIC_API_KEY", "from-env")
    llm = ChatSurefoot(model="anthropic:m", fallbacks=["openai:m"], temperature=0, api_key="sk-secret")
    again = loads(dumps(llm), **options)
    assert (again.model, again.fallbacks, again.temperature) == ("anthropic:m", ("openai:m",), 0)
    assert again.api_key.get_secret_value() == "from-env"
    referred = loads(dumps(ChatSurefoot(model="openai:m", api_key="file:/run/key")), **options)
    assert referred.api_key.get_secret_value() == "file:/run/key"


def test_tracing_knows_the_model_and_its_provider():
    """LangSmith prices by provider and model, without our prefix."""
    llm = ChatSurefoot(model="google:gemini-3-flash", temperature=0.5, max_tokens=5, api_key="k", stop=["x"])
    params = llm._get_ls_params()
    assert (params["ls_provider"], params["ls_model_name"], params["ls_temperature"], params["ls_max_tokens"]) == (
        "google_genai", "gemini-3-flash", 0.5, 5,
    )  # fmt: skip
    assert params["ls_stop"] == ["x"]
    assert llm._get_ls_params(model="google:other", stop=["y"])["ls_model_name"] == "other"


def test_equal_objects_share_one_model_underneath():
    """Two agents with the same settings have one budget, one cache."""
    first, second = (ChatSurefoot(model="openai:m", api_key="k") for _ in range(2))
    assert first.surefoot is second.surefoot
    assert first.model_copy(update={"model": "openai:n"}).surefoot is not first.surefoot


def test_targets_with_settings_of_their_own_stand_as_fallbacks():
    """A fallback has its own key and limits."""
    llm = ChatSurefoot(model="openai:m", api_key="k", fallbacks=[Target("openai:n", api_key="other", concurrency=2)])
    assert llm.surefoot.targets == ("openai:m", "openai:n")
    assert "other" not in dumps(llm)


class Heard(BaseCallbackHandler):
    """Keeps what LangChain tells of an error."""

    def on_llm_error(self, error: BaseException, *, response: Any = None, **_: Any) -> None:
        self.error, self.response = error, response


def test_tracing_hears_what_the_provider_answered():
    """on_llm_error carries status and request id."""
    llm, _ = around(BadRequest("no such field", status=400, request_id="r1"))
    heard = Heard()
    with pytest.raises(BadRequest):
        llm.invoke("hi", config={"callbacks": [heard]})
    told = heard.response.generations[0][0].message.response_metadata
    assert (told["status_code"], told["request_id"]) == (400, "r1")


def test_the_signature_is_at_hand():
    """LangChain inspects it at every call."""
    assert ChatSurefoot._agenerate.__signature__ == inspect.signature(ChatSurefoot._agenerate)
    assert "run_manager" in inspect.signature(around()[0]._agenerate).parameters


def test_an_error_of_a_call_can_be_pickled():
    """Job queues do."""
    llm, _ = around(Overloaded("busy", status=503))
    with pytest.raises(Exhausted) as caught:
        llm.invoke("hi")
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), Exhausted)
