"""Sums by hour, day and month: written with the rows, equal to them to the billionth, in a file and in Postgres."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing

import psycopg
import pytest

from surefoot.usage import ledger as module
from surefoot.usage.ledger import Ledger
from surefoot.usage.rows.rollups import GROUPS, SPANS, RollupsWanted, rollups
from tests.postgres import fresh_url
from tests.usage.test_ledger import SURROGATE, ended

DAY = 86_400


@pytest.fixture(params=["file", "postgres"])
def place(request, tmp_path):
    return tmp_path / "u.db" if request.param == "file" else fresh_url()


def quiet(place, monkeypatch):
    """A ledger that writes when it is told to."""
    ledger = Ledger(place)
    monkeypatch.setattr(ledger, "_start", lambda: None)
    return ledger


def drop_sums(place):
    """As a surefoot without sums left it."""
    if isinstance(place, str):
        with psycopg.connect(place) as connection:
            connection.execute("DROP TABLE sf_usage_sum")
            connection.execute("DROP INDEX sf_usage_batch_at")
            connection.execute("UPDATE sf_meta SET version = 1 WHERE part = 'usage'")
    else:
        with closing(sqlite3.connect(place)) as database, database:
            database.execute("DROP TABLE usage_sum")


def everything(ledger):
    return ledger.rollups(*(RollupsWanted(span, GROUPS, "") for span in SPANS))


def test_they_equal_the_rows_and_are_made_for_a_ledger_that_has_none(place, monkeypatch):
    """The page shows these and never the rows: whatever is booked, late, cached or unpriced, both say the same."""
    ledger = quiet(place, monkeypatch)
    draw, now = random.Random(5), 1_764_500_000.0
    for batch in range(4):
        for _ in range(60):
            monkeypatch.setattr(module.time, "time", lambda: now + draw.random() * 40 * DAY)
            tags = (
                (("key", f"k{draw.randrange(4)}"), ("model", "default"), ("team", draw.choice(["", "core"]))) if draw.random() < 0.8 else ()
            )
            ledger(ended(tags=tags, input_tokens=draw.randrange(1000), output_tokens=draw.randrange(1000)))
        monkeypatch.setattr(module.time, "time", lambda: now)
        ledger(ended(tags=(("key", float("nan")), ("team", f"{SURROGATE}")), input_tokens=2**60 if batch < 2 else 2**70))
        ledger.flush()
    for span, by in (("day", "day"), ("day", "tag:key")):
        rows = ledger.sums(by=(by,))
        if by == "day":
            found = {one.bucket: one for one in ledger.rollups(RollupsWanted(span, ("all",), ""))}
            assert {one.group[0] for one in rows} == set(found)
            for row in rows:
                one = found[row.group[0]]
                assert (one.attempts, one.hits, one.output, one.estimated) == (
                    row.attempts,
                    row.cache_hits,
                    row.output_tokens,
                    row.estimated,
                )
                assert abs(one.cost_nano / 1e9 - row.cost_usd) < 1e-9 * row.attempts
    sums = everything(ledger)
    assert sum(one.cost_nano for one in sums if one.grouped == "all") == 3 * 242 * 500_000_000
    assert {one.grouped for one in sums} == set(GROUPS)
    assert len({len(one.bucket) for one in sums}) == len(SPANS)
    drop_sums(place)
    assert everything(quiet(place, monkeypatch)) == sums


def test_the_dearest_come_first_and_so_many_as_are_wanted(tmp_path, monkeypatch):
    """Ten thousand keys do not make a page of ten thousand lines."""
    ledger = quiet(tmp_path / "u.db", monkeypatch)
    for number in range(30):
        for _ in range(number):
            ledger(ended(tags=(("key", f"k{number:02}"),), input_tokens=1))
    wanted = [RollupsWanted("month", ("key",), "", most=3), RollupsWanted("day", ("all",), "")]
    assert [one.name for one in ledger.rollups(*wanted)] == ["", "k29", "k28", "k27"]


def test_a_batch_is_summed_before_it_is_written():
    """A thousand rows of one hour are one line a span and group, sorted as every writer sorts them."""
    row = (0.0, "1970-01-01", "c", "first", "openai:m", "", '{"key":"k"}', "", 1, 2, 0, 0, 0, None, 0.0)
    found = rollups([row] * 1000)
    assert len(found) == len(SPANS) * 4
    assert found == sorted(found)
    assert found[0] == ("day", "all", "1970-01-01", "", 1000, 0, 1000, 2000, 1000 * (5 + 2 * 20) * 1000, 0, 0, 1000)
