"""The ledger in Postgres: the same rows and sums as in a file, and nothing lost or doubled when the server goes and comes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading

import psycopg
import pytest

import surefoot
from surefoot import ChatModel, Policy, Target
from surefoot.cli.main import main
from surefoot.config import load
from surefoot.errors import Misconfigured
from surefoot.storage.sql.postgres import PostgresConnection
from surefoot.testing.wire import OK, OpenAISim, fault
from surefoot.usage import ledger as module
from surefoot.usage.ledger import Ledger
from surefoot.usage.rows import waiting
from tests.postgres import cut_connections, fresh_url
from tests.redis_proxy import closed_port
from tests.usage.test_ledger import SURROGATE, ended


@pytest.fixture
def url():
    """An empty schema."""
    return fresh_url()


@pytest.fixture
def ledger(url, monkeypatch):
    """One that writes when it is told to."""
    ledger = Ledger(url)
    monkeypatch.setattr(ledger, "_start", lambda: None)
    return ledger


def rows(url, what="tenant", table="sf_usage"):
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute(f"SELECT {what} FROM {table}").fetchall()]


def test_sums_are_those_of_a_file(url, tmp_path, capsys):
    """The same calls, counted in both."""
    file = Ledger(tmp_path / "u.db")
    with OpenAISim() as sim:
        target = Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key="k")
        chat = ChatModel(target, cache="memory", policy=Policy(backoff_base_s=0.001), ledger=url)
        chat.subscribe(file, inline=True)
        sim.script([OK, fault("status_503"), OK, OK])
        for tenant, tags in (("acme", {"job": "nightly"}), ("İstanbul", {"job": 'say "x"', "a.b": "c"}), ("", {})):
            with surefoot.scope(tenant=tenant, tags=tags):
                chat.invoke(f"for {tenant}", temperature=0)
                chat.invoke(f"for {tenant}", temperature=0)
        chat.close()
    kept = Ledger(url)
    for by in ((), ("day",), ("tenant",), ("target", "tag:job"), ("tag:a.b", "tenant")):
        assert sorted(kept.sums(by=by), key=str) == sorted(file.sums(by=by), key=str), by
    assert kept.sums(by=())[0].cache_hits == 3
    assert kept.sums(by=("day",), since_day="2999-01-01") == []
    assert main(["usage", "--ledger", url, "--by", "tenant"]) == 0
    assert "İstanbul" in capsys.readouterr().out
    with pytest.raises(Misconfigured, match="tag:NAME"):
        kept.sums(by=("week",))


def test_a_script_that_asks_once_and_ends_has_its_row(url):
    """Written when the process ends; the connection is closed."""
    script = (
        "from surefoot import ChatModel, Target\n"
        "from surefoot.testing.wire import OpenAISim\n"
        "with OpenAISim() as sim:\n"
        "    target = Target('openai:gpt-5-mini', base_url=sim.url + '/v1', api_key='k')\n"
        f"    ChatModel(target, ledger={url!r}).invoke('hi')\n"
    )
    done = subprocess.run([sys.executable, "-W", "error::ResourceWarning", "-c", script], check=True, capture_output=True, text=True)
    assert "ResourceWarning" not in done.stderr
    assert Ledger(url).sums(by=())[0].attempts == 1


@pytest.mark.parametrize("poison", [ended("evil", input_tokens=2**63), ended("evil", input_tokens=object())], ids=["64 bits", "no number"])
def test_a_row_that_cannot_be_held_is_set_aside_and_told(ledger, url, caplog, poison):
    """One server's absurd count costs nobody else a row."""
    for event in (ended("honest", input_tokens=7), poison, ended("honest")):
        ledger(event)
    ledger.flush()
    assert rows(url) == ["honest", "honest"]
    assert "evil" in rows(url, "said", "sf_usage_set_aside")[0]
    assert ledger.count_set_aside() == 1
    assert sum("set aside" in record.message for record in caplog.records) == 1


def test_text_that_no_database_holds_is_mended_and_costs_no_row(ledger, url):
    """A NUL in a tag or a tenant is one that SQLite holds and Postgres does not."""
    for event in (
        ended(f"evil{SURROGATE}", input_tokens=1),
        ended("nul\0", tags=(("a\0b", "c\0d"), ("job", "x\0")), input_tokens=1),
        ended("honest", tags=(("job", "y"),), input_tokens=1),
    ):
        ledger(event)
    assert [row.attempts for row in ledger.sums(by=())] == [3]
    assert sorted(row.group for row in ledger.sums(by=("tag:job",))) == [("",), ("x\ufffd",), ("y",)]


def test_rows_wait_while_the_server_is_away_and_are_written_once(monkeypatch, caplog):
    """A ledger opens, and calls go on, while Postgres does not answer; its password is in no line."""
    ledger = Ledger(f"postgresql://me:hunter2@127.0.0.1:{closed_port()}/none")
    monkeypatch.setattr(ledger, "_start", lambda: None)
    ledger(ended("acme", input_tokens=1))
    with pytest.raises(Misconfigured, match="the ledger cannot be used: Postgres at 127"):
        ledger.flush()
    assert len(ledger._waiting) == 1
    assert not any("hunter2" in record.getMessage() for record in caplog.records)


def test_a_commit_whose_answer_was_lost_is_not_made_again(ledger, url, monkeypatch):
    """It may have been carried out or not: the rows come again under the same name, and are written exactly once."""
    monkeypatch.setattr(waiting, "ROWS_AT_ONCE", 3)
    for number in range(5):
        ledger(ended(f"t{number}", input_tokens=1))
    commit, is_cut = PostgresConnection.commit, ["after", "before"]

    def cut(self):
        if "usage" not in self.schemas:  # tables are made
            return commit(self)
        how = is_cut.pop() if is_cut else ""
        if how == "after":
            commit(self)
        if how:
            self.close()
            raise psycopg.OperationalError("the connection was lost")
        return commit(self)

    monkeypatch.setattr(PostgresConnection, "commit", cut)
    for _ in range(2):
        with pytest.raises(Misconfigured, match="whether it took what was sent last is not known"):
            ledger.flush()
        ledger(ended("later", input_tokens=1))
    ledger.flush()
    assert rows(url) == ["t0", "t1", "t2", "t3", "t4", "later", "later"]


def test_a_cut_connection_is_replaced_without_a_word(ledger, url, caplog):
    """A server that was restarted between two writes."""
    ledger(ended("one", input_tokens=1))
    ledger.flush()
    cut_connections(url)
    ledger(ended("two", input_tokens=1))
    ledger.flush()
    assert rows(url) == ["one", "two"]
    assert not caplog.records


def test_what_is_no_place_for_a_ledger_is_told_when_it_is_opened(url):
    """A wrong name or user will not mend itself: the rows would wait for ever."""
    with pytest.raises(Misconfigured, match="does not exist"):
        Ledger(url.replace("postgres?", "nowhere?"))
    with pytest.raises(Misconfigured, match="cannot be read"):
        Ledger("postgresql://h:port/x")


def test_the_writers_thread_closes_the_connection(url, monkeypatch):
    """A service that is idle holds none."""
    monkeypatch.setattr(module, "IDLE_S", 0.02)
    monkeypatch.setattr(module, "WRITE_S", 0.01)
    ledger = Ledger(url)
    ledger(ended("acme", input_tokens=1))
    thread = ledger._thread
    thread.join(20)
    assert not thread.is_alive()
    assert not ledger._rows._database._transactions.is_open
    assert ledger.sums(by=())[0].attempts == 1
    assert not ledger._rows._database._transactions.is_open


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_uses_no_connection_of_its_parents(ledger, url):
    """Two processes on one connection read each other's answers."""
    ledger(ended("parent", input_tokens=1))
    ledger.flush()
    child = os.fork()
    if child == 0:
        try:
            ledger(ended("child", input_tokens=1))
            ledger.flush()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    ledger(ended("parent", input_tokens=1))
    ledger.flush()
    assert sorted(rows(url)) == ["child", "parent", "parent"]


def test_models_that_name_one_database_share_one_writer(url):
    """As with a file."""
    assert Ledger.at(url) is Ledger.at(surefoot.Secret(url))


def test_a_ledger_in_postgres_by_toml_shows_no_password(tmp_path, url, monkeypatch):
    """The settings of a service, printed."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    hidden = re.sub("//[^/]*@", "//postgres:hunter2@", url)
    assert "hunter2" in hidden
    (tmp_path / "surefoot.toml").write_text(f'[chat.default]\ntargets = ["openai:gpt-5-mini"]\nledger = {hidden!r}\n')
    assert "hunter2" not in repr(load(tmp_path / "surefoot.toml"))


def test_threads_write_at_once(url, monkeypatch):
    """One connection, one at a time."""
    ledger = Ledger(url)
    monkeypatch.setattr(ledger, "_start", lambda: None)

    def write():
        for _ in range(20):
            ledger(ended("t", input_tokens=1))
            ledger.flush()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.sums(by=())[0].attempts == 80
