"""What every framework's adapter shares: fields into a model, keywords into a request."""

from __future__ import annotations

import pytest

from surefoot.adapter import Settings, chat_model, is_reference, key_of, key_variable, normalise_kwargs, request_of
from surefoot.errors import Misconfigured
from surefoot.secret import Secret
from surefoot.settings import Target
from surefoot.testing import Scripted
from surefoot.types import Message

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
        normalise_kwargs({"logprobs": True}, known={"temperature", "extra"}, owner="X")


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
