"""A log that a person reads: what was done, to which target, why; nothing of what was said."""

from __future__ import annotations

import logging

import pytest

from surefoot import ChatModel, Policy, load
from surefoot.errors import AuthFailed, NotFound, Overloaded, QuotaExhausted
from surefoot.telemetry.log import Log
from surefoot.testing import Scripted


def test_retries_and_fallbacks_are_lines_without_secrets_or_text(caplog):
    """One line each, naming target and cause."""
    sick = Scripted(*[Overloaded("busy ANSWER-CANARY")] * 4, name="openai:sick")
    chat = ChatModel(sick, Scripted("ANSWER-CANARY", name="openai:well"), policy=Policy(backoff_base_s=0.001))
    Log().watch(chat)
    with caplog.at_level(logging.INFO, logger="surefoot.telemetry.log"):
        chat.invoke("PROMPT-CANARY", tenant="TENANT-CANARY\nforged", tags={"k": "TAG-CANARY"})
    chat.close()
    lines = [one.getMessage() for one in caplog.records if one.name == "surefoot.telemetry.log"]
    assert [line.partition(":")[2].split()[0] for line in lines] == ["sick:", "sick"]
    assert "Overloaded" in lines[0]
    assert "openai:well is asked" in lines[1]
    assert "CANARY" not in caplog.text
    assert {one.levelname for one in caplog.records} == {"INFO"}


@pytest.mark.parametrize("refusal", [AuthFailed, QuotaExhausted, NotFound])
def test_a_target_that_refuses_for_good_is_warned_of_once(refusal, caplog, monkeypatch):
    """Behind a fallback every call succeeds, so nobody would learn of a dead key, an empty account or a model that has gone."""
    monkeypatch.setattr("surefoot.layers.watch.attempt._refused", set())
    chat = ChatModel(Scripted(*[refusal("HTTP 4xx: no")] * 3, name="openai:dead"), Scripted(*["fine"] * 3, name="openai:well"))
    for _ in range(3):
        assert chat.invoke("hi").text == "fine"
    chat.close()
    (warning,) = [one for one in caplog.records if one.levelname == "WARNING"]
    assert "openai:dead" in warning.getMessage()
    assert "no" in warning.getMessage()


def test_a_model_that_a_call_named_wrongly_is_no_news_of_the_target(caplog, monkeypatch):
    """The caller is told by the error."""
    monkeypatch.setattr("surefoot.layers.watch.attempt._refused", set())
    chat = ChatModel(Scripted(NotFound("no such model"), name="openai:m"))
    with pytest.raises(NotFound):
        chat.invoke("hi", model="typo")
    chat.close()
    assert not caplog.records


def test_the_settings_file_turns_it_on(tmp_path):
    """A word beside the cache and the ledger."""
    path = tmp_path / "surefoot.toml"
    path.write_text(
        '[chat.default]\ntargets = ["local:extractive"]\nlog = true\n[chat.quiet]\ntargets = ["local:extractive"]\n', encoding="utf-8"
    )
    models = load(path)
    assert [type(one).__name__ for one in models.chat()._listeners] == ["Log"]
    assert models.chat("quiet")._listeners == ()
