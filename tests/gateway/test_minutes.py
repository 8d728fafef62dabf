"""Requests and tokens a minute over several processes: never more than the limit in any 60 seconds, and nearly all of it used."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from surefoot.gateway.minutes import shared
from surefoot.gateway.minutes.lease import LEASE_S, MinuteAsked, MinuteState, give
from surefoot.gateway.minutes.shared import SharedMinutes, Take
from surefoot.storage.sql import DatabaseAway, open_database
from tests.postgres import fresh_url


@pytest.mark.parametrize("limit", [1, 7, 300, 5_000])
def test_no_minute_holds_more_than_the_limit_whatever_is_given_in_advance(limit: int):
    """Three processes that use what they were given as late as they may, give some back, and ask again."""
    draw, state, used = Random(limit), MinuteState(), []
    hands: list[tuple[int, int, float]] = [(0, 0, 0.0)] * 3  # left, the second it was given in, until when it may be used
    now = 1_000.0
    while now < 1_400:
        now += draw.choice((0.01, 0.3, 0.9))
        at = draw.randrange(3)
        left, since, until = hands[at]
        least = draw.randint(1, max(1, limit // 50))
        if left < least or now > until:
            given = give(state, MinuteAsked(name="a", least=least, limit=limit, back=left, back_at=since), f"p{at}", now)
            hands[at] = (given.amount, given.at, now + LEASE_S)
            if not given.amount:
                assert given.wait_s > 0
                continue
        left, since, until = hands[at]
        late = min(until, now + draw.random())
        used.append((late, least))
        hands[at] = (left - least, since, until)
    for begin, _ in used:
        assert sum(amount for moment, amount in used if begin <= moment < begin + 60) <= limit
    assert sum(amount for _, amount in used) >= 0.75 * limit * 400 / 62


def crew(url: str, count: int) -> list[SharedMinutes]:
    return [SharedMinutes(open_database(url)) for _ in range(count)]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_processes_share_a_limit(kind: str, tmp_path: Path):
    """Four of them and 100 requests: 100 are let through, whoever asks; the refused are told when to come back."""
    url = fresh_url() if kind == "postgresql" else f"sqlite:{tmp_path}/k.db"
    members = crew(url, 4)
    takes = [Take("key a|requests", 1, 100), Take("team t|tokens", 10, 100_000)]

    async def ask(one: SharedMinutes) -> int:
        return sum([await one.take(takes) is None for _ in range(60)])

    assert sum(await asyncio.gather(*map(ask, members))) in range(90, 101)  # some may be in the hand of one who asks no more
    refused = await members[0].take(takes)
    assert refused is not None
    assert (refused[0].name, 0 < refused[1] <= 62) == ("key a|requests", True)
    for one in members:
        await one.aclose()


async def test_what_an_answer_used_counts_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The prompt was a guess of 10; the answer came to 900 of 1,000: the other process has 100, also when the first one asks no more."""
    monkeypatch.setattr(shared, "LEASE_S", 0.05)
    one, other = crew(f"sqlite:{tmp_path}/k.db", 2)
    assert await one.take([Take("a", 10, 1_000)]) is None
    one.add("a", 890, 1_000)
    for _ in range(100):
        await asyncio.sleep(0.02)
        if await other.take([Take("a", 101, 1_000)]) is not None:
            break
        other.add("a", -101, 1_000)
    else:
        pytest.fail("the other never heard of it")
    await asyncio.sleep(0.3)
    assert await other.take([Take("a", 95, 1_000)]) is None
    for member in (one, other):
        await member.aclose()


async def test_while_the_database_is_away_each_keeps_to_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one, other = crew(f"sqlite:{tmp_path}/k.db", 2)
    takes = [Take("a", 1, 40)]
    for member in (other, one):
        assert await member.take(takes) is None

    async def away(*_: object, **__: object) -> None:
        raise DatabaseAway("gone")

    monkeypatch.setattr(one._database, "run", away)
    assert sum([await one.take(takes) is None for _ in range(60)]) in range(19, 21)
    monkeypatch.undo()
    monkeypatch.setattr(one, "_away_until", 0.0)
    assert await one.take(takes) is None
    for member in (one, other):
        await member.aclose()
