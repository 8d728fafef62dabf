"""The ledger equals the bill."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

import surefoot
from surefoot import ChatModel, Policy, Target
from surefoot.cli import main
from surefoot.errors import Misconfigured
from surefoot.events import AttemptEnded
from surefoot.ledger import Ledger
from surefoot.testing.wire import OK, OpenAISim, fault
from surefoot.types import Attempt, Usage


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "deep" / "usage.db")


def test_the_ledger_equals_the_providers_own_count_to_the_token(ledger):
    """Completed, streamed and retried calls: wherever usage was sent."""
    with OpenAISim() as sim:
        chat = ChatModel(
            Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key="k"), policy=Policy(backoff_base_s=0.001), ledger=ledger
        )
        sim.script([OK, fault("status_503"), OK, OK])
        with surefoot.scope(tenant="acme", tags={"job": "nightly"}):
            chat.invoke("one")
            chat.invoke("two, after a failure")
        for _ in chat.stream("three, streamed"):
            pass
        total = ledger.sums(by=())[0]
        assert total.input_tokens == sum(one.input_tokens for one in sim.usage_log.values())
        assert total.output_tokens == sum(one.output_tokens for one in sim.usage_log.values())
        assert total.attempts == 3
        assert total.cost_usd > 0
        assert (total.estimated, total.unpriced) == (0, 0)
    assert [row.group for row in ledger.sums(by=("tenant", "tag:job"))] == [("", ""), ("acme", "nightly")]


def test_an_unknown_price_is_an_estimate_that_is_flagged_and_warned_of(ledger, caplog):
    """Never 0: that is how bills nobody saw coming begin. One warning a target."""
    with OpenAISim() as sim:
        chat = ChatModel(Target("openai:no-such-model-9000", base_url=f"{sim.url}/v1", api_key="k"), ledger=ledger)
        for _ in range(3):
            assert chat.invoke("hi").cost_usd is None
    row = ledger.sums(by=())[0]
    assert (row.attempts, row.unpriced, row.estimated) == (3, 3, 0)
    assert row.cost_usd == pytest.approx((5 * row.input_tokens + 20 * row.output_tokens) / 1e6)
    assert len([record for record in caplog.records if "nobody knows what openai:no-such-model-9000 costs" in record.message]) == 1


def test_a_cache_hit_is_a_saving_and_no_attempt(ledger):
    """What was not paid is worth showing."""
    with OpenAISim() as sim:
        chat = ChatModel(Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key="k"), cache="memory", ledger=ledger)
        chat.invoke("same", temperature=0)
        chat.invoke("same", temperature=0)
    row = ledger.sums(by=("target",))[0]
    assert (row.attempts, row.cache_hits) == (1, 1)
    assert row.saved_usd == pytest.approx(row.cost_usd)


@pytest.mark.parametrize("own", [{}, {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0}], ids=["listed", "own prices"])
@pytest.mark.parametrize("said", [{"model": "gpt-4o"}, {"extra": {"model": "gpt-4o"}}], ids=["model", "extra"])
def test_another_model_asked_is_booked_as_that_model(ledger, own, said):
    """In the reply, the trail, the budget and the ledger: ten and more times the price, which used to be the target's own."""
    with OpenAISim() as sim:
        target = Target("openai:gpt-4o-mini", base_url=f"{sim.url}/v1", api_key="k", **own)
        chat = ChatModel(target, cache="memory", policy=Policy(budget_usd=5), ledger=ledger)
        reply = chat.invoke("hi", temperature=0, **said)
        chat.invoke("hi", temperature=0, **said)
        spent = chat._rooms.accounts.spent_usd("all|")
        (used,) = sim.usage_log.values()
        chat.close()
    usd = (2.5 * used.input_tokens + 10 * used.output_tokens) / 1e6
    assert (reply.cost_usd, reply.trail[0].cost_usd, spent) == (pytest.approx(usd), pytest.approx(usd), pytest.approx(usd))
    assert (reply.trail[0].target, reply.trail[0].model) == ("openai:gpt-4o-mini", "gpt-4o")
    (row,) = ledger.sums(by=("target",))
    assert (row.group, row.attempts, row.cache_hits) == (("openai:gpt-4o",), 1, 1)
    assert (row.cost_usd, row.saved_usd) == (pytest.approx(usd), pytest.approx(usd))


def test_what_was_not_written_is_written_at_exit(tmp_path):
    """A script that asks once and ends has its row."""
    script = (
        "from surefoot import ChatModel, Target\n"
        "from surefoot.testing.wire import OpenAISim\n"
        "with OpenAISim() as sim:\n"
        "    target = Target('openai:gpt-5-mini', base_url=sim.url + '/v1', api_key='k')\n"
        f"    ChatModel(target, ledger={str(tmp_path / 'u.db')!r}).invoke('hi')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert Ledger(tmp_path / "u.db").sums(by=())[0].attempts == 1


def test_usage_is_shown_as_table_csv_and_chart(ledger, capsys):
    """`surefoot usage`."""
    with OpenAISim() as sim:
        ChatModel(Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key="k"), ledger=ledger).invoke("hi")
    ledger.flush()
    for style, word in (("table", "openai:gpt-5-mini"), ("csv", "target,attempts"), ("chart", "█")):
        assert main(["usage", "--ledger", str(ledger.path), "--by", "target", "--format", style]) == 0
        assert word in capsys.readouterr().out


def test_bad_input_names_what_is_known(ledger, tmp_path, capsys):
    """A typo is not an empty table."""
    with pytest.raises(Misconfigured, match="tag:NAME"):
        ledger.sums(by=("week",))
    with pytest.raises(Misconfigured, match="cannot be opened"):
        Ledger(tmp_path / "deep" / "usage.db" / "below")
    assert main(["usage", "--ledger", str(tmp_path / "none.db")]) == 1
    assert "no ledger" in capsys.readouterr().err


SURROGATE = json.loads('"\\ud800"')  # what a JSON body may hold and no database


def ended(tenant="", tags=(), **usage):
    attempt = Attempt(number=1, target="openai:m", usage=Usage(**usage), cost_usd=0.5)
    return AttemptEnded(call_id="c", at_s=0.0, attempt=attempt, tenant=tenant, tags=tags)


@pytest.mark.parametrize(
    "poison",
    [
        ended(tenant=f"evil{SURROGATE}", input_tokens=1),
        ended(tags=(("session", SURROGATE),), input_tokens=1),
        ended(tags=((SURROGATE, "x"),), input_tokens=1),
        ended(tags=(("n", {1, 2}),), input_tokens=1),  # whoever builds a Call by hand may say anything
    ],
    ids=["tenant", "tag", "tag name", "no text"],
)
def test_text_that_no_database_holds_is_mended_and_costs_no_row(ledger, poison):
    """One tenant's stray character must not cost the others their rows, nor its own tenant the bill."""
    for event in (ended("honest", input_tokens=7), poison, ended("honest", input_tokens=7)):
        ledger(event)
    assert ledger.sums(by=())[0].attempts == 3


@pytest.mark.parametrize("count", [2**63, 10**30, object()], ids=["64 bits", "absurd", "no number"])
def test_a_row_that_cannot_be_held_is_set_aside_and_told(ledger, caplog, count):
    """A server may count what it likes; the writer goes on, and what it said can still be read."""
    for event in (ended("honest", input_tokens=7), ended("evil", input_tokens=count), ended("honest")):
        ledger(event)
    ledger.flush()
    rows = ledger.sums(by=("tenant",))
    assert [(row.group, row.attempts) for row in rows] == [(("honest",), 2)]
    with closing(sqlite3.connect(ledger.path)) as database:
        ((said,),) = database.execute("SELECT said FROM set_aside").fetchall()
    assert "evil" in said
    assert sum("set aside" in record.message for record in caplog.records) == 1


def test_the_writers_thread_outlives_a_poison_row(ledger):
    """It used to end at the first one; what came later stayed in memory until the process ended."""
    ledger(ended("evil", input_tokens=2**63))
    thread = ledger._thread
    ledger.flush()
    ledger(ended("honest"))
    assert ledger._thread is thread
    assert thread.is_alive()


def test_a_file_that_is_no_database_is_told_in_our_words(tmp_path):
    """And left as it is."""
    (tmp_path / "bill.txt").write_text("not a ledger " * 100)
    with pytest.raises(Misconfigured, match=r"bill\.txt.*not a database"):
        Ledger(tmp_path / "bill.txt")
    assert (tmp_path / "bill.txt").read_text() == "not a ledger " * 100


def test_a_ledger_is_readable_by_its_owner_alone(tmp_path):
    """Tenants, tags and money; also where the file is there already, with the files beside it."""
    path = tmp_path / "usage.db"
    umask = os.umask(0o022)
    try:
        with closing(sqlite3.connect(path)) as before:
            before.execute("PRAGMA journal_mode=WAL")
            before.execute("CREATE TABLE other (x)")
            before.commit()
            ledger = Ledger(path)
            ledger(ended("acme"))
            ledger.flush()
            seen = {one.name: one.stat().st_mode & 0o077 for one in tmp_path.iterdir()}
        assert seen == {"usage.db": 0, "usage.db-wal": 0, "usage.db-shm": 0}
        for one in tmp_path.iterdir():
            one.unlink()
        ledger(ended("acme"))  # a file that was taken away is made anew
        assert ledger.sums(by=())[0].attempts == 1
        assert path.stat().st_mode & 0o077 == 0
    finally:
        os.umask(umask)
