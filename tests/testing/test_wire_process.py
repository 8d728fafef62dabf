"""A simulator in another process: the command line and its control."""

from __future__ import annotations

import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from surefoot.testing.wire import SimProcess
from surefoot.testing.wire.__main__ import parser


def ask(url, path="/v1/chat/completions", body=None):
    body = body or {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    request = Request(url + path, data=json.dumps(body).encode(), headers={"authorization": "Bearer k"})
    with urlopen(request, timeout=5) as answer:
        return json.load(answer)


def test_it_serves_counts_plays_faults_and_forgets():
    """All that a test of several processes needs."""
    with SimProcess("openai", "--answer", "From afar.") as sim:
        assert ask(sim.url)["choices"][0]["message"]["content"] == "From afar."
        assert sim.script("status_503")["requests"] == 1
        with pytest.raises(HTTPError) as caught:
            ask(sim.url)
        assert caught.value.code == 503
        ask(sim.url)
        stats = sim.stats()
        assert (stats["requests"], stats["faults"]) == (3, {"ok": 2, "status_503": 1})
        assert stats["cpu_s"] > 0
        assert stats["output_tokens"] > 0
        sim.script("status_500", always=True)
        for _ in range(3):
            with pytest.raises(HTTPError):
                ask(sim.url)
        assert sim.reset()["requests"] == 0
        assert ask(sim.url)


def test_limits_and_faults_from_the_command_line():
    """Two faults take turns; the limit holds for all clients together."""
    with SimProcess("openai", "--fault", "ok", "--fault", "status_500") as sim:
        assert ask(sim.url)
        with pytest.raises(HTTPError):
            ask(sim.url)
        assert ask(sim.url)
    with SimProcess("anthropic", "--requests-per-minute", "1") as sim:
        body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
        assert ask(sim.url, "/v1/messages", body)["type"] == "message"
        with pytest.raises(HTTPError) as caught:
            ask(sim.url, "/v1/messages", body)
        assert caught.value.code == 429


def test_an_unknown_vendor_ends_at_once():
    """With the code argparse gives, not with a hang."""
    with pytest.raises(RuntimeError, match="code 2"), SimProcess("nobody"):
        pass


def test_every_option_has_a_default():
    """`python -m surefoot.testing.wire` alone is a working OpenAI."""
    assert parser().parse_args([]).vendor == "openai"
