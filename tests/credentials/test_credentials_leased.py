"""Keys that do not last: one fetch for all, renewed in time, kept through an outage. All of it in virtual time."""

from __future__ import annotations

import asyncio
import gc
import weakref
from random import Random

import pytest

from surefoot.credentials._leased import Grant, Leased
from surefoot.errors import AuthFailed, SurefootError, Transient
from surefoot.secret import Secret

HOUR_S = 3600.0


class Keeper:
    """Gives key-1, key-2, ...: the `serial` of the moment; down while `is_down`."""

    def __init__(self, *, ttl_s: float = HOUR_S, lasts_s: float | None = None, takes_s: float = 0.05) -> None:
        self.serial = 1
        self.ttl_s, self.lasts_s, self.takes_s = ttl_s, lasts_s, takes_s
        self.is_down = False
        self.asked: list[float] = []

    async def fetch(self) -> Grant:
        self.asked.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.takes_s)
        if self.is_down:
            raise Transient("the keeper is down")
        return Grant(secret=Secret(f"key-{self.serial}"), ttl_s=self.ttl_s, lasts_s=self.lasts_s)

    def source(self) -> Leased:
        return Leased(self.fetch, name="keeper", draws=Random(7))


async def value(source: Leased) -> str:
    secret = await source.get()
    assert secret is not None
    return secret.reveal()


@pytest.mark.looptime
async def test_a_thousand_who_ask_at_once_share_one_fetch():
    """A burst at start-up must not be a burst at Vault."""
    keeper = Keeper()
    source = keeper.source()
    assert set(await asyncio.gather(*(value(source) for _ in range(1000)))) == {"key-1"}
    assert len(keeper.asked) == 1


@pytest.mark.looptime
async def test_who_gives_up_waiting_does_not_end_the_fetch_of_the_others():
    """Cancellation is one caller's own."""
    keeper = Keeper(takes_s=1.0)
    source = keeper.source()
    first = asyncio.ensure_future(value(source))
    second = asyncio.ensure_future(value(source))
    await asyncio.sleep(0.5)
    first.cancel()
    assert await second == "key-1"
    assert len(keeper.asked) == 1


@pytest.mark.looptime
async def test_forty_days_are_renewed_at_two_thirds_of_each_hour_also_while_nobody_asks():
    """A token not renewed in time is lost for good."""
    keeper = Keeper()
    source = keeper.source()
    await source.get()
    await asyncio.sleep(40 * 24 * HOUR_S)
    gaps = [b - a for a, b in zip(keeper.asked, keeper.asked[1:], strict=False)]
    assert 0.9 * HOUR_S * 2 / 3 <= min(gaps) < max(gaps) <= 1.1 * HOUR_S * 2 / 3 + 1
    assert 1300 < len(gaps) < 1600
    assert await value(source) == "key-1"


@pytest.mark.looptime
async def test_a_new_key_takes_over_under_load_without_a_failed_call():
    """At 200 calls a second: the first refusal fetches the new key, all others wait for it."""
    keeper = Keeper()
    source = keeper.source()
    failed = 0

    async def call() -> None:
        nonlocal failed
        key = await source.get()
        await asyncio.sleep(0.02)
        if key.reveal() != f"key-{keeper.serial}":
            key = await source.renew(key)
            failed += key is None or key.reveal() != f"key-{keeper.serial}"

    tasks = []
    for number in range(4000):
        if number % 1500 == 700:
            keeper.serial += 1
        tasks.append(asyncio.ensure_future(call()))
        await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)
    assert failed == 0
    assert len(keeper.asked) == 1 + 3


@pytest.mark.looptime
async def test_a_key_that_stays_refused_is_looked_up_at_most_every_five_seconds():
    """A wrong key at 200 calls a second is no reason for 200 look-ups a second."""
    keeper = Keeper()
    source = keeper.source()
    key = await source.get()
    for _ in range(2000):
        assert await source.renew(key) is None
        await asyncio.sleep(0.005)
    assert len(keeper.asked) <= 1 + 3


@pytest.mark.looptime
async def test_six_hours_of_outage_cost_no_call():
    """The last good key goes on, the keeper is asked about once a minute, and its first answer counts."""
    keeper = Keeper()
    source = keeper.source()
    await source.get()
    keeper.is_down, keeper.serial = True, 2
    before = len(keeper.asked)
    for _ in range(6 * 60):
        assert await value(source) == "key-1"
        await asyncio.sleep(60)
    assert 250 < len(keeper.asked) - before < 420
    keeper.is_down = False
    await asyncio.sleep(70)
    assert await value(source) == "key-2"


@pytest.mark.looptime
async def test_a_void_key_is_not_given_and_the_reason_is_told():
    """Past its own end a key is no better than none."""
    keeper = Keeper(lasts_s=4 * HOUR_S)
    source = keeper.source()
    await source.get()
    keeper.is_down = True
    for hour in range(1, 7):
        await asyncio.sleep(HOUR_S)
        if hour < 4:
            assert await value(source) == "key-1"
        else:
            with pytest.raises(Transient, match="down"):
                await source.get()


@pytest.mark.looptime
async def test_a_source_down_from_the_start_is_not_hammered():
    """200 calls a second for a minute, a handful of fetches; each caller is told why."""
    keeper = Keeper()
    keeper.is_down = True
    source = keeper.source()
    for _ in range(12_000):
        with pytest.raises(Transient):
            await source.get()
        await asyncio.sleep(0.005)
    assert len(keeper.asked) < 12


@pytest.mark.looptime
async def test_a_source_nobody_holds_stops_asking():
    """A model that is gone needs no key."""
    keeper = Keeper()
    source = keeper.source()
    await source.get()
    gone = weakref.ref(source)
    del source
    gc.collect()
    assert gone() is None
    await asyncio.sleep(10 * HOUR_S)
    assert len(keeper.asked) == 1


def test_three_loops_in_a_row_share_one_key():
    """asyncio.run three times: the key stays, the timer moves to the new loop."""
    keeper = Keeper(takes_s=0.0, ttl_s=0.05)
    source = keeper.source()

    async def once() -> str:
        got = await value(source)
        await asyncio.sleep(0.06)
        return got

    assert [asyncio.run(once()) for _ in range(3)] == ["key-1"] * 3
    assert len(keeper.asked) > 3


@pytest.mark.looptime
async def test_errors_keep_their_class():
    """A key we may not read and a keeper that is down ask for different things of the caller."""

    async def refuse() -> Grant:
        raise AuthFailed("no")

    source = Leased(refuse, name="keeper")
    for _ in range(2):
        with pytest.raises(AuthFailed) as caught:
            await source.get()
        assert isinstance(caught.value, SurefootError)
