"""What every framework's adapter shares: fields into a model, keywords into a request."""

from __future__ import annotations

import json

import pytest

from surefoot.adapter import Settings, chat_model, is_reference, key_of, key_variable, normalise_kwargs, request_of
from surefoot.adapter.typed import ChatWords, EmbedWords, PolicyWords, TargetWords
from surefoot.adapter.words import CUSTOMARY
from surefoot.errors import BadRequest, Misconfigured
from surefoot.facts import vendors_words
from surefoot.secret import Secret
from surefoot.settings import Policy, Target
from surefoot.testing import Scripted
from surefoot.types import ChatRequest, Message

ASKED = [Message.user("hi")]


def ask(options, *, defaults=None, conversions=None, ignored=()):
    return request_of(ASKED, defaults or {}, options, target="openai:m", conversions=conversions or {}, ignored=ignored)


def test_per_call_options_win_over_the_models_fields():
    """A field is a default, not an order."""
    request, _ = ask({"temperature": 0.9}, defaults={"temperature": 0.1, "seed": 7})
    assert (request.temperature, request.seed) == (0.9, 7)


def test_none_per_call_means_the_providers_default():
    """temperature=None in a call must take a field back, not be ignored."""
    request, _ = ask({"temperature": None, "reasoning_effort": None}, defaults={"temperature": 0.1, "reasoning_effort": "high"})
    assert request.temperature is None
    assert request.reasoning_effort == ""


def test_customary_words_are_understood():
    """Code written for other classes says max_completion_tokens and timeout."""
    request, said = ask({"max_completion_tokens": 9, "timeout": 3, "stop_sequences": ["x"]})
    assert (request.max_tokens, request.stop, said) == (9, ("x",), {"deadline_s": 3})


def test_one_stop_word_is_one_word():
    """A bare string taken for a sequence would become its letters."""
    assert ask({"stop": "END"})[0].stop == ("END",)


def test_unknown_words_travel_to_the_provider():
    """logit_bias and the like are the provider's own; dropping them in silence would change answers."""
    request, _ = ask({"logit_bias": {"1": 2}, "stream": True}, defaults={"extra": {"user": "u"}}, ignored={"stream"})
    assert request.extra == '{"user":"u","logit_bias":{"1":2}}'


def test_a_model_given_per_call_may_carry_its_own_provider():
    """`openai:gpt` and `gpt` name the same model where the provider is openai; other colons belong to the name."""
    assert ask({"model": "openai:gpt"})[0].model == "gpt"
    assert ask({"model": "llama3:8b"})[0].model == "llama3:8b"


def test_conversions_translate_what_the_framework_spells_differently():
    """Tools come in each framework's own shape."""
    assert (
        ask({"tool_choice": "any"}, conversions={"tool_choice": lambda word: word.replace("any", "required")})[0].tool_choice == "required"
    )


def test_a_typing_error_in_a_field_names_the_nearest_word():
    """A misspelt limit that is ignored is no limit."""
    with pytest.raises(Misconfigured, match="did you mean 'temperature'"):
        normalise_kwargs({"temprature": 0}, known={"temperature"}, owner="X")
    with pytest.raises(Misconfigured, match=r"provider's own goes into extra="):
        normalise_kwargs({"min_p": 0.1}, known={"temperature", "extra"}, owner="X")


def test_no_deadline_per_call_is_meant_by_our_word_alone():
    """LangChain's `timeout=None` says nothing; `deadline_s=None` says none."""
    assert ask({"timeout": None})[1] == {}
    assert ask({"deadline_s": None})[1] == {"deadline_s": None}
    assert ask({"timeout": 7})[1] == {"deadline_s": 7}


def test_customary_fields_are_translated_and_none_means_as_usual():
    """max_retries=2 is three attempts; timeout=None must not switch the deadline off."""
    assert normalise_kwargs({"max_retries": 2, "timeout": None}, known={"attempts", "deadline_s"}, owner="X") == {"attempts": 3}
    assert normalise_kwargs({"api_base": "http://h", "additional_kwargs": {"user": "u"}}, known={"base_url", "extra"}, owner="X") == {
        "base_url": "http://h",
        "extra": {"user": "u"},
    }


def test_equal_settings_share_one_model():
    """Copies and bindings of a framework's object must not multiply budgets and caches."""
    provider = Scripted()
    assert chat_model(Settings(model="local:extractive")) is chat_model(Settings(model="local:extractive"))
    assert chat_model(Settings(model="local:extractive", attempts=1)) is not chat_model(Settings(model="local:extractive"))
    assert provider.calls == 0


def test_settings_that_cannot_be_hashed_still_work():
    """A Target's provider options may hold a dict; sharing is lost, not the model."""
    settings = Settings(model="local:extractive", fallbacks=(Target("local:extractive", options=(("truncate", []),)),))
    assert chat_model(settings).targets == ("local:extractive", "local:extractive")


def test_contradictory_fields_are_told_before_anything_is_asked():
    """With a model given, a limit said here would be ignored."""
    with pytest.raises(Misconfigured, match="concurrency and chat= are both given"):
        Settings(model="openai:m", concurrency=3).check(given=object(), word="chat", owner="X")
    with pytest.raises(Misconfigured, match="say model="):
        Settings(model="").check(given=None, word="chat", owner="X")
    with pytest.raises(Misconfigured, match="provider:model"):
        Settings(model="gpt-5").check(given=None, word="chat", owner="X")
    with pytest.raises(Misconfigured, match="deadline_s"):
        Settings(model="openai:m", deadline_s=-1).check(given=None, word="chat", owner="X")


def test_a_literal_key_is_masked_and_a_reference_is_not():
    """Settings may be printed; keys may not."""
    assert isinstance(key_of("sk-1"), Secret)
    assert key_of("env:X") == "env:X"
    assert is_reference("vault:a#b")
    assert "sk-1" not in repr(Settings(model="openai:m", api_key=key_of("sk-1")))


def test_a_key_is_named_after_its_provider():
    """Serialised objects name the variable the key is read from."""
    assert key_variable("openai:m") == "OPENAI_API_KEY"
    assert key_variable("mine:m") == "MINE_API_KEY"


FIELDS = {
    "model",
    "base_url",
    "reasoning_effort",
    "extra",
    "headers",
    "options",
    "policy",
    "deadline_s",
    "attempts",
    "stop",
    "fallbacks",
    "max_tokens",
}


def said(model, **words):
    return normalise_kwargs({"model": model, **words}, known=FIELDS, owner="X")


@pytest.mark.parametrize(
    ("model", "words", "extra"),
    [
        (
            "openai:m",
            {"frequency_penalty": 0.5, "n": 2, "logit_bias": {"1": 2}},
            {"frequency_penalty": 0.5, "n": 2, "logit_bias": {"1": 2}},
        ),
        ("openai:m", {"store": False, "extra_body": {"min_p": 0.1}}, {"store": False, "min_p": 0.1}),
        ("openai:m", {"verbosity": None, "default_query": {"a": "1"}}, {"extra_query": {"a": "1"}}),
        ("anthropic:m", {"top_k": 5, "betas": ["a", "b"]}, {"top_k": 5, "extra_headers": {"anthropic-beta": "a,b"}}),
        ("anthropic:m", {"thinking": {"type": "enabled"}}, {"thinking": {"type": "enabled"}}),
        ("google:m", {"top_k": 5, "n": 2}, {"generationConfig": {"topK": 5, "candidateCount": 2}}),
        ("google:m", {"thinking_budget": 0}, {"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}),
        ("google:m", {"safety_settings": {"HARM": "NONE"}}, {"safetySettings": [{"category": "HARM", "threshold": "NONE"}]}),
        ("vertex:gemini-2.5-flash", {"top_k": 5}, {"generationConfig": {"topK": 5}}),
        ("vertex:claude-opus-4-1", {"top_k": 5}, {"top_k": 5}),
        ("azure:gpt-4o", {"logprobs": True}, {"logprobs": True}),
        ("groq:llama-3.3-70b", {"top_k": 5}, {"top_k": 5}),
        ("google:m", {"modalities": ["text"]}, {"generationConfig": {"responseModalities": ["TEXT"]}}),
        ("google:m", {"generation_config": {"top_k": 1, "stop": {"a_b": 1}}}, {"generationConfig": {"topK": 1, "stop": {"aB": 1}}}),
        (
            "google:m",
            {"generation_config": {"response_schema": {"properties": {"first_name": {"max_length": 9}}, "any_of": [{"min_items": 1}]}}},
            {"generationConfig": {"responseSchema": {"properties": {"first_name": {"maxLength": 9}}, "anyOf": [{"minItems": 1}]}}},
        ),
        (
            "google:m",
            {"thinking_config": {"thinking_budget": 5}, "built_in_tool": {"google_search": {}}},
            {"generationConfig": {"thinkingConfig": {"thinkingBudget": 5}}, "tools": [{"googleSearch": {}}]},
        ),
    ],
)
def test_a_vendors_own_fields_stand_where_its_requests_have_them(model, words, extra):
    """By the names that the vendors' classes in the frameworks give them."""
    assert said(model, **words).get("extra") == extra
    per_call = {**words, "extra_query": words["default_query"]} if "default_query" in words else words
    per_call.pop("default_query", None)
    request, _ = request_of(ASKED, {}, per_call, target=model, conversions={})
    assert json.loads(request.extra) == extra


@pytest.mark.parametrize(
    ("model", "word", "remedy"),
    [
        ("openai:m", "thinking", "say reasoning_effort"),
        ("openai:m", "top_k", "say top_p"),
        ("anthropic:m", "frequency_penalty", "leave it out"),
        ("anthropic:m", "logprobs", "leave it out"),
        ("google:m", "betas", "say headers"),
        ("google:m", "thinking", "say reasoning_effort"),
    ],
)
def test_another_vendors_field_is_refused_with_what_to_say(model, word, remedy):
    """It would be a 400, or worse, unheard; a server of one's own may know it, though."""
    with pytest.raises(Misconfigured, match=remedy):
        said(model, **{word: 1})
    with pytest.raises(BadRequest, match=remedy):
        request_of(ASKED, {}, {word: 1}, target=model, conversions={})
    assert said("openai:m", base_url="http://h/v1", top_k=3)["extra"] == {"top_k": 3}
    assert json.loads(request_of(ASKED, {}, {"top_k": 3}, target="openai:m", conversions={}, is_elsewhere=True)[0].extra) == {"top_k": 3}


def test_openais_reasoning_is_an_effort_and_the_rest():
    """The summary is the Responses API's alone, so it is asked for there."""
    assert said("openai:m", reasoning={"effort": "low"}) == {"model": "openai:m", "reasoning_effort": "low"}
    both = said("openai:m", reasoning={"effort": "low", "summary": "auto"})
    assert both == {
        "model": "openai:m", "reasoning_effort": "low", "options": {"api": "responses"}, "extra": {"reasoning": {"summary": "auto"}},
    }  # fmt: skip
    request, _ = request_of(ASKED, {}, {"reasoning": {"effort": "low", "summary": "auto"}}, target="openai:m", conversions={})
    assert (request.reasoning_effort, request.extra) == ("low", '{"reasoning":{"summary":"auto"}}')


def test_what_is_said_per_call_is_laid_over_the_models_own_fields():
    """Object by object: one setting of a vendor's config must not undo another."""
    extra = {"generationConfig": {"topK": 5}, "labels": {"a": "1"}}
    request, _ = request_of(ASKED, {"extra": extra}, {"thinking_budget": 9}, target="google:m", conversions={})
    assert json.loads(request.extra) == {"generationConfig": {"topK": 5, "thinkingConfig": {"thinkingBudget": 9}}, "labels": {"a": "1"}}
    assert extra == {"generationConfig": {"topK": 5}, "labels": {"a": "1"}}


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ({"default_headers": {"x-a": "1"}}, {"headers": {"x-a": "1"}}),
        ({"organization": "o", "openai_proxy": "http://p", "api_version": None}, {"options": {"organization": "o", "proxy": "http://p"}}),
        ({"use_responses_api": True}, {"options": {"api": "responses"}}),
        ({"use_responses_api": False}, {"options": {"api": "chat"}}),
        ({"use_responses_api": None}, {}),
        ({"instructions": "Be."}, {"extra": {"instructions": "Be."}, "options": {"api": "responses"}}),
        ({"include": ["a"], "use_responses_api": False}, {"extra": {"include": ["a"]}, "options": {"api": "chat"}}),
        (
            {"built_in_tools": [{"type": "web_search"}], "track_previous_responses": False, "include": None},
            {"extra": {"tools": [{"type": "web_search"}]}, "options": {"api": "responses"}},
        ),
        (
            {"reasoning_options": {"effort": "low"}, "call_metadata": {"a": "b"}},
            {"reasoning_effort": "low", "extra": {"metadata": {"a": "b"}}},
        ),
        ({"http_client": None, "openai_client": None, "vertexai": False, "retries": None}, {}),
        ({"retries": 2, "location": "eu", "project_id": "p"}, {"attempts": 3, "options": {"location": "eu", "project": "p"}}),
        ({"openai_api_base": "http://h", "base_url": None}, {"base_url": "http://h"}),
        ({"stream_usage": True, "reuse_client": True}, {}),
        ({"stop": "END"}, {"stop": ["END"]}),
        ({"disabled_params": {"parallel_tool_calls": None}}, {"options": {"refused": ("parallel_tool_calls",)}}),
        ({"openai_api_base": "http://a", "base_url": "http://b"}, {"base_url": "http://b"}),
        ({"base_url": "http://b", "openai_api_base": "http://a"}, {"base_url": "http://b"}),
        ({"policy": Policy(idle_s=3, attempts=5)}, {"policy": Policy(idle_s=3, attempts=5), "attempts": 5}),
        ({"policy": Policy(idle_s=3, attempts=5), "attempts": 2}, {"policy": Policy(idle_s=3, attempts=5), "attempts": 2}),
        ({"idle_s": 3, "deadline_s": 9}, {"policy": Policy(idle_s=3), "deadline_s": 9}),
        ({"policy": {"idle_s": 3}, "stream_chunk_timeout": 4}, {"policy": Policy(idle_s=4)}),
    ],
)
def test_customary_words_become_fields(words, fields):
    """Each has the meaning that it has in the vendors' classes."""
    assert said("openai:m", **words) == {"model": "openai:m", **fields}


@pytest.mark.parametrize(
    ("word", "value", "remedy"),
    [
        ("http_client", object(), "client="),
        ("async_openai_client", object(), "client="),
        ("tiktoken_model_name", "x", "leave it out"),
        ("disabled_params", {"stop": ["x"]}, "only whole parameters"),
        ("is_chat_model", False, "leave it out"),
        ("include_response_headers", True, "request_id"),
        ("track_previous_responses", True, "previous_response_id"),
        ("vertexai", True, "vertex:NAME"),
        ("aws_access_key_id", "x", "bedrock:NAME"),
        ("cache_idx", -1, "prompt_cache='auto'"),
        ("http_options", {"timeout": 1}, "base_url="),
    ],
)
def test_words_without_a_meaning_are_refused_with_another(word, value, remedy):
    """Passed over in silence they would be believed."""
    with pytest.raises(Misconfigured, match=remedy):
        said("openai:m", **{word: value})


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("gpt-5-mini", "openai:gpt-5-mini"),
        ("text-embedding-3-small", "openai:text-embedding-3-small"),
        ("openai/gpt-5-mini", "openai:gpt-5-mini"),
        ("vertex_ai/gemini-2.5-flash", "vertex:gemini-2.5-flash"),
        ("ft:gpt-4o-mini:org::id", "openai:ft:gpt-4o-mini:org::id"),
        ("claude-haiku-4-5", "anthropic:claude-haiku-4-5"),
        ("models/gemini-2.5-flash", "google:models/gemini-2.5-flash"),
        ("openai:gpt-5-mini", "openai:gpt-5-mini"),
        ("my-model", "my-model"),
    ],
)
def test_a_model_without_a_provider_gets_the_one_that_has_it(name, full):
    """One replaced class name must not mean a changed model name; what nobody knows is told by the Target."""
    assert said(name)["model"] == full
    assert normalise_kwargs({"model": "openai:m", "fallbacks": [name]}, known=FIELDS, owner="X")["fallbacks"] == (full,)


def test_a_server_of_ones_own_may_call_its_models_anything():
    """OpenRouter has an openai/gpt-5-mini, vLLM whatever it was started with; nearly all speak OpenAI's protocol."""
    for name in ("openai/gpt-5-mini", "anthropic/claude-haiku-4-5", "my-model"):
        assert said(name, base_url="http://h/v1")["model"] == f"openai:{name}"
    assert said("claude-haiku-4-5", base_url="http://h")["model"] == "anthropic:claude-haiku-4-5"


def test_type_checkers_know_every_word():
    """The lists for type checkers are those that the classes go by."""
    assert {*Policy.__struct_fields__, "policy"} <= PolicyWords.__annotations__.keys()
    assert {*Target.__struct_fields__} - {"name", "dimensions"} <= TargetWords.__annotations__.keys()
    typed = {*ChatWords.__annotations__}
    assert {*CUSTOMARY} - {"model_name", "response_format"} <= typed | {*EmbedWords.__annotations__} | {
        "default_request_timeout",
        "max_tokens_to_sample",
        "thinking_level",
    }
    assert {word for word in typed if word not in {*PolicyWords.__annotations__, *TargetWords.__annotations__}} - {
        "extra", "default_query", *CUSTOMARY, *ChatRequest.__struct_fields__
    } <= vendors_words()  # fmt: skip


def test_an_empty_message_goes_only_to_those_who_answer_it():
    """OpenAI's classes send it, and it answers; Claude and Gemini refuse it with a 400."""
    for content in ("", " ", ()):
        asked = [Message(role="user", content=content)]
        assert request_of(asked, {}, {}, target="openai:m", conversions={})[0].messages == tuple(asked)
        for target in ("anthropic:m", "google:m"):
            with pytest.raises(BadRequest, match="last message is empty"):
                request_of(asked, {}, {}, target=target, conversions={})
