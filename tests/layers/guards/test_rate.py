"""rate: within the limits, in order, and nothing wasted."""

from __future__ import annotations

import asyncio
import random
from collections import deque

import pytest

from surefoot.core.stack import stack
from surefoot.errors import BadRequest, CircuitOpen, DeadlineTooNear, QueueFull, RateLimited
from surefoot.events import RateLearned, Waited
from surefoot.layers.guards.rate import ELSEWHERE_S, Rate
from surefoot.layers.watch.deadline import Deadline
from surefoot.rules.token_bucket import AGEING_S
from surefoot.testing import Scripted, make_call
from surefoot.types import Usage
from tests.layers.helping import Heard, fails, now, offered, read, together

pytestmark = pytest.mark.looptime


class Enforcer:
    """A provider that allows `per_minute` in any two seconds' share, counted as they arrive; `tells` what is left of it then."""

    def __init__(self, per_minute, *, cost=lambda call: 1.0, headers=None, tells=False):
        self.allowed = per_minute / 30
        self.tells = tells
        self.cost = cost
        self.headers = headers
        self.log = deque()
        self.refused = 0

    def __call__(self, call):
        at = now()
        while self.log and self.log[0][0] <= at - 2:
            self.log.popleft()
        if self.headers:
            call.state.rate_headers = self.headers
        if sum(cost for _, cost in self.log) + self.cost(call) > self.allowed + 1e-9:
            self.refused += 1
            return RateLimited("too many requests")
        self.log.append((at, self.cost(call)))
        if self.tells:
            left = int(self.allowed - sum(cost for _, cost in self.log))
            call.state.rate_headers = {"x-ratelimit-remaining-requests": str(left), "x-ratelimit-reset-requests": "2s"}
        return "fine"


async def storm(ask, seconds, *, workers=40):
    """`workers` callers who ask again as soon as they are answered."""
    done = 0
    until = now() + seconds

    async def work():
        nonlocal done
        while now() < until:
            try:
                await read(ask, make_call())
                done += now() <= until
            except RateLimited:
                pass

    await asyncio.gather(*(work() for _ in range(workers)))
    return done


async def test_given_limit_is_used_and_never_exceeded():
    """98 % of the quota, no refusal, although the provider enforces two-second windows."""
    provider = Enforcer(600)
    done = await storm(stack(Scripted(provider), Rate(requests_per_minute=600)), 120)
    assert provider.refused == 0
    assert done >= 0.98 * 1200


async def test_an_answer_tells_what_was_left_when_it_was_asked_for():
    """Whoever uses the whole limit reads "none left" all the time: waiting for it again, each answer anew, cost 13 %."""
    provider = Enforcer(600, tells=True)
    done = await storm(stack(Scripted(provider, latency_s=0.2), Rate(requests_per_minute=600)), 120)
    print(f"{done} of 1200 answered")
    assert provider.refused == 0
    assert done >= 0.98 * 1200


async def test_tokens_are_reserved_by_estimate_and_settled_by_the_actual():
    """Estimates are wrong; the difference is refunded, or owed."""
    for actual, expected in ((50, 12), (200, 3)):
        provider = Scripted("fine", usage=Usage(input_tokens=actual))
        done = await storm(stack(provider, Rate(tokens_per_minute=600, estimate=lambda _: 100)), 60, workers=1)
        assert done == pytest.approx(expected, abs=1), actual


async def test_order_of_arrival_is_kept_and_the_large_do_not_starve():
    """A small one behind a large one waits for it."""
    provider = Scripted("fine")
    sizes = [60, 900, 10, 10, 10]
    ask = stack(provider, Rate(tokens_per_minute=600, estimate=lambda request: int(request.messages[0].text)))
    await together(ask, [make_call(str(size)) for size in sizes])
    assert [int(request.messages[0].text) for request in provider.requests] == sizes


def texts(provider):
    """What reached the provider, in order."""
    return [request.messages[0].text for request in provider.requests]


@pytest.mark.parametrize(
    "limits",
    [{"requests_per_minute": 60}, {"tokens_per_minute": 600, "estimate": lambda _: 10}],
    ids=["requests", "tokens"],
)
async def test_interactive_goes_before_batch_at_either_limit(limits):
    """A person must not wait for the night's work, nor be refused for its length."""
    provider = Scripted("fine", usage=Usage(input_tokens=10))
    rate = Rate(**limits)
    ask = stack(provider, rate)
    jobs = [make_call(f"job {n}", priority="batch") for n in range(40)]
    calls = [make_call("now"), *jobs, make_call("person", deadline_s=2.0), make_call("next", deadline_s=3.0)]
    ended = await together(stack(ask, Deadline()), calls)
    assert ended == ["fine"] * len(calls)
    assert texts(provider) == ["now", "person", "next", *[f"job {n}" for n in range(40)]]
    assert rate.idle()


@pytest.mark.parametrize("tokens", [1, 300], ids=["small", "large"])
async def test_batch_ages_and_is_not_starved(tokens):
    """With twice the limit offered by interactive calls, a batch call of half a minute's tokens gets through after its age."""
    provider, took = Scripted("fine", usage=Usage(input_tokens=1)), []
    rate = Rate(tokens_per_minute=600, estimate=lambda request: tokens if request.messages[0].text == "job" else 1)
    ask = stack(provider, rate)

    async def job():
        begun = now()
        await read(ask, make_call("job", priority="batch"))
        took.append(now() - begun)

    async with asyncio.TaskGroup() as group:
        for second in range(30):
            for _ in range(20):
                group.create_task(read(ask, make_call("person")))
            if second == 5:
                group.create_task(job())
            await asyncio.sleep(1)
    print(f"the batch call had its turn after {took[0]:.1f} s, {texts(provider).index('job')} before it")
    assert AGEING_S <= took[0] <= 3 * AGEING_S
    assert 0 < texts(provider).index("job") <= 320  # those who had come by then
    assert rate.idle()


async def test_whoever_comes_during_a_pause_keeps_his_class():
    """Retry-After holds everybody; then the person goes first."""
    provider = Scripted(RateLimited("slow down", retry_after_s=5), "fine")
    rate = Rate(requests_per_minute=60)
    ask = stack(provider, rate)
    await fails(ask, RateLimited, call=make_call("first"))
    job = asyncio.create_task(read(ask, make_call("job", priority="batch")))
    await asyncio.sleep(3)
    begun = now()
    await read(ask, make_call("person"))
    assert now() - begun == pytest.approx(3, abs=0.05)
    await job
    assert now() - begun == pytest.approx(4, abs=0.05)
    assert texts(provider) == ["first", "person", "job"]


async def test_whoever_finds_room_makes_no_future_and_no_timer(monkeypatch):
    """The uncontended way is plain arithmetic, for either class."""
    ask = stack(Scripted(), Rate(requests_per_minute=6e6, tokens_per_minute=6e9, estimate=lambda _: 10))
    made, told = [], []
    with monkeypatch.context() as patch:
        for name in ("create_future", "call_later", "call_at", "call_soon", "create_task"):
            patch.setattr(asyncio.get_running_loop(), name, lambda *_args, name=name, **_kwargs: made.append(name))
        for priority in ("interactive", "batch"):
            try:
                ask(make_call(priority=priority)).send(None)
            except StopIteration as ended:
                told.append(ended.value.text)
    assert (told, made) == (["ok", "ok"], [])


async def test_what_is_refused_further_in_is_given_back():
    """With the breaker open, nobody waits for a limit just to hear no."""
    rate = Rate(requests_per_minute=60, tokens_per_minute=600, estimate=lambda _: 10)
    begun = now()
    await fails(stack(Scripted(CircuitOpen("no")), rate), CircuitOpen, times=100)
    assert now() == begun
    assert rate.idle()


async def test_what_is_turned_away_unread_costs_no_tokens():
    """No provider meters a 400."""
    begun = now()
    await fails(stack(Scripted(BadRequest("no")), Rate(tokens_per_minute=60, estimate=lambda _: 60)), BadRequest, times=3)
    assert now() - begun < 7


async def test_stream_settles_its_tokens_at_its_end():
    """Its usage comes with the last delta."""
    provider = Scripted("one two", usage=Usage(input_tokens=500), delta_gap_s=0.1)
    ask = stack(provider, Rate(tokens_per_minute=600, estimate=lambda _: 1))
    await read(ask, make_call(stream=True))
    begun = now()
    await read(ask, make_call(stream=True))
    assert now() - begun > 40


async def test_waiting_is_told():
    """A wait nobody sees looks like a slow provider."""
    heard = Heard()
    await together(stack(Scripted(), Rate(target="t", requests_per_minute=60)), [make_call(listeners=(heard,)) for _ in range(2)])
    (event,) = heard.of(Waited)
    assert (event.target, event.layer, event.wait_s) == ("t", "rate", pytest.approx(1, abs=0.02))


async def test_caller_who_gives_up_in_the_queue_holds_up_nobody():
    """A dead reservation at the head would stop everybody."""
    provider = Scripted()
    rate = Rate(requests_per_minute=60)
    low_priority, hasty = stack(provider, rate), stack(provider, Deadline(deadline_s=0.5), rate)
    await read(low_priority, make_call())
    queue = [asyncio.create_task(fails(hasty, DeadlineTooNear)) for _ in range(3)]
    await asyncio.sleep(0)
    begun = now()
    await read(low_priority, make_call())
    assert now() - begun == pytest.approx(1, abs=0.02)
    await asyncio.gather(*queue)
    assert rate.idle()


async def test_limit_is_learned_from_headers():
    """One answer is enough to know it."""
    heard = Heard()
    headers = {"x-ratelimit-limit-requests": "600", "x-ratelimit-remaining-requests": "19", "x-ratelimit-reset-requests": "1s"}
    provider = Enforcer(600, headers=headers)
    ask = stack(Scripted(provider), Rate(target="t"))
    await read(ask, make_call(listeners=(heard,)))
    (event,) = heard.of(RateLearned)
    assert (event.target, event.what, event.per_minute) == ("t", "requests", pytest.approx(600))
    assert await storm(ask, 60) >= 0.95 * 600
    assert provider.refused <= 3


async def test_limit_is_learned_from_refusals_alone():
    """Servers without headers have limits too."""
    provider = Enforcer(600)
    ask = stack(Scripted(provider, latency_s=0.05), Rate())
    await storm(ask, 120)
    before = provider.refused
    done = await storm(ask, 120)
    assert done >= 0.85 * 1200
    assert provider.refused - before <= 0.02 * done


async def test_hint_of_a_429_holds_everybody():
    """The next caller would be refused, too."""
    provider = Scripted(RateLimited("slow down", retry_after_s=5), "fine")
    ask = stack(provider, Rate())
    begun = now()
    await fails(ask, RateLimited)
    await read(ask, make_call())
    assert now() - begun >= 5


async def test_429_counts_against_the_limit_it_names():
    """Requests that fit must not be slowed for tokens that did not."""
    provider = Scripted(*["fine"] * 8, RateLimited("Limit 1000 tokens per min (TPM)"), "fine")
    rate = Rate(estimate=lambda _: 10)
    ask = stack(provider, rate)
    heard = Heard()
    for _ in range(3):
        await together(ask, [make_call(listeners=(heard,)) for _ in range(5)])
    assert {event.what for event in heard.of(RateLearned)} == {"tokens"}


async def test_nobody_sleeps_out_a_pause_that_was_cut_short():
    """The first sleep is bounded like the others: what opens meanwhile is seen within a second."""
    rate = Rate(requests_per_minute=60)
    ask = stack(Scripted(), rate)
    rate._requests.pause(200.0, now())
    waiting = asyncio.create_task(read(ask, make_call()))
    await asyncio.sleep(0.5)
    rate._requests._paused_s = 0.0
    begun = now()
    await waiting
    assert now() - begun <= 1.0


async def test_overload_far_longer_than_the_deadline_uses_the_limit_for_answers():
    """Whoever is let go has the time for his answer; the others hear no before anything is spent."""
    rng = random.Random(1)

    async def provider(_call):
        await asyncio.sleep(0.9 + 0.2 * rng.random())
        return "fine"

    provider, rate = Scripted(provider), Rate(requests_per_minute=600)
    ended = await offered(stack(provider, Deadline(deadline_s=5), rate), 20, 120)
    print(f"answered of what could be: {ended[''] / 1200:.3f}, sent for nothing: {1 - ended[''] / provider.calls:.3f}, {dict(ended)}")
    assert ended[""] >= 0.95 * 1200
    assert provider.calls - ended[""] <= 0.02 * provider.calls
    assert rate.idle()


async def test_wait_beyond_the_deadline_is_told_at_once_and_reserves_nothing():
    """A pause of a minute, a deadline of twenty seconds: the next target may answer now."""
    provider = Scripted(RateLimited("slow down", retry_after_s=60), "fine")
    rate = Rate(requests_per_minute=600, tokens_per_minute=6000, estimate=lambda _: 10)
    ask = stack(provider, Deadline(deadline_s=20), rate)
    await fails(ask, RateLimited)
    begun = now()
    error = await fails(ask, DeadlineTooNear, times=100)
    assert (now(), provider.calls, rate.idle()) == (begun, 1, True)
    assert "its limits let the call go in 6" in str(error)
    await asyncio.sleep(60)
    assert await read(ask, make_call()) == "fine"


async def test_random_refusals_are_not_taken_for_a_limit():
    """A provider that refuses one in twenty whatever the pace: each lesson would cost 2 %, without end."""
    rng = random.Random(4)
    rate, provider = Rate(), Scripted(lambda _: RateLimited("too many requests") if rng.random() < 0.05 else "fine", latency_s=0.5)
    ended = await offered(stack(provider, Deadline(deadline_s=20), rate), 20, 300)
    print(f"answered {ended['']} of 6000, {dict(ended)}, pace {rate._requests.per_minute:.0f} a minute")
    assert ended[""] >= 0.9 * 6000
    assert rate.idle()


@pytest.mark.parametrize("seed", range(4))
async def test_one_refusal_in_ten_is_not_taken_for_a_provider_that_is_shut(seed):
    """Two in a row come by chance then; forgetting at each such pair what was seen before would never let a verdict come about."""
    rng = random.Random(seed)
    rate, provider = Rate(), Scripted(lambda _: RateLimited("too many requests") if rng.random() < 0.1 else "fine", latency_s=0.5)
    ended = await offered(stack(provider, Deadline(deadline_s=20), rate), 10, 300)
    print(f"answered {ended['']} of 3000, {dict(ended)}, pace {rate._requests.per_minute:.0f} a minute")
    assert ended[""] >= 0.5 * 3000


async def test_pace_that_was_learned_too_low_grows_although_nobody_has_the_time_to_wait():
    """One request in ten seconds and deadlines of five: those who are refused press as much as those who wait."""
    rate, provider = Rate(), Scripted("fine")
    rate._requests.observe(now(), limit=600.0)
    rate._requests._bucket.retune(6.0, now())
    ended = await offered(stack(provider, Deadline(deadline_s=5), rate), 5, 300)
    print(f"pace after five minutes: {rate._requests.per_minute:.0f} a minute, {dict(ended)}")
    assert rate._requests.per_minute >= 300


def test_waiters_of_a_dead_loop_stop_nobody():
    """A new background loop must not queue behind ghosts."""
    rate, ghosts = Rate(requests_per_minute=60), []
    ask = stack(Scripted(), rate)

    async def die_waiting():
        await read(ask, make_call())
        ghosts.append(asyncio.create_task(read(ask, make_call())))
        await asyncio.sleep(0)

    async def life():
        return await read(ask, make_call())

    loop = asyncio.new_event_loop()
    loop.run_until_complete(die_waiting())
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False
    loop.close()
    assert asyncio.run(asyncio.wait_for(life(), 5)) == "ok"
    assert rate.idle()


async def test_nobody_waits_long_for_a_paused_target_while_another_is_at_hand():
    """Told to come back in 30 s, whoever has somebody else to ask goes there at once; a nightly job, and who has nobody, waits."""
    ask = stack(Scripted(RateLimited("slow down", retry_after_s=30.0), "fine"), Rate(target="t"))
    with pytest.raises(RateLimited):
        await ask(make_call())
    begun = now()
    with pytest.raises(QueueFull, match="another target is at hand"):
        await ask(make_call(others=True))
    assert now() == begun
    nightly, alone = await asyncio.gather(ask(make_call(others=True, priority="batch")), ask(make_call()))
    assert (nightly.text, alone.text) == ("fine", "fine")
    assert now() >= begun + 30.0


async def test_a_short_wait_is_no_reason_to_go_elsewhere():
    """The first target is the one that was wanted."""
    ask = stack(Scripted(RateLimited("slow down", retry_after_s=ELSEWHERE_S / 2), "fine"), Rate(target="t"))
    with pytest.raises(RateLimited):
        await ask(make_call())
    assert (await ask(make_call(others=True))).text == "fine"
