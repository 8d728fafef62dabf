"""/metrics: for whom the settings say, under any load, with the models' own counts beside the gateway's."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest

from surefoot.testing.wire import OpenAISim
from tests.gateway.conftest import ADMIN, KEY, openai_target, served


def one_model(sim):
    return {"chat": {"default": {"targets": [openai_target(sim)]}}}


def read(url, key=""):
    asked = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize(("metrics", "codes"), [("admin", (401, 403, 200)), ("open", (200, 200, 200)), ("off", (404, 404, 404))])
def test_who_may_read(metrics, codes):
    """Names of models and what they cost are nobody's business by default."""
    with OpenAISim() as sim, served(one_model(sim), metrics=metrics) as gateway:
        assert tuple(read(f"{gateway.url}/metrics", key)[0] for key in ("", KEY, ADMIN)) == codes


def test_requests_and_attempts_stand_side_by_side():
    """What clients asked, what it cost, and what was refused; paths that are no route make one series together."""
    with OpenAISim() as sim, served(one_model(sim)) as gateway:
        body = b'{"model":"default","messages":[{"role":"user","content":"hi"}]}'
        asked = urllib.request.Request(f"{gateway.url}/v1/chat/completions", data=body, headers={"authorization": f"Bearer {KEY}"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert answer.status == 200
        for path in ("/nowhere", "/nowhere/else", "/v1/models/CANARY"):
            read(f"{gateway.url}{path}", KEY)
        text = read(f"{gateway.url}/metrics", ADMIN)[1]
    assert 'surefoot_requests_total{model="default",outcome="ok",route="chat"} 1.0' in text
    assert 'surefoot_requests_total{model="none",outcome="refused",route="none"} 2.0' in text
    assert 'surefoot_attempts_total{error="none",kind="first",target="openai:gpt-5-mini"} 1.0' in text
    assert "surefoot_in_flight 0.0" in text
    assert "surefoot_build_info{version=" in text
    assert "CANARY" not in text
    assert "nowhere" not in text
