"""Slices of one limit for many processes: never more than the limit in any window, and what there is goes to who needs it."""

from __future__ import annotations

import random

import pytest

from surefoot.rules.token_bucket.slices import (
    BURST_S,
    DEAD_S,
    STARVED_S,
    TURN_S,
    VALID_S,
    WINDOW_S,
    Member,
    ShareTurn,
    TargetState,
    pace,
    settle,
)

START = 1_796_000_000.0


class Fleet:
    """Processes that take turns at one state, each with a queue of its own."""

    def __init__(self, **limits):
        self.state = TargetState()
        self.limits = limits
        self.now = START
        self.seqs = {}
        self.sent = []

    def turn(self, name, **said):
        self.seqs[name] = self.seqs.get(name, 0) + 1
        return settle(self.state, ShareTurn(**{"member": name, "seq": self.seqs[name], **self.limits, **said}), self.now)

    def worst(self, index):
        """The most in any minute, of requests (1) or tokens (2)."""
        worst = total = start = 0
        for row in self.sent:
            total += row[index]
            while self.sent[start][0] <= row[0] - WINDOW_S:
                total -= self.sent[start][index]
                start += 1
            worst = max(worst, total)
        return worst


@pytest.mark.parametrize(("rpm", "tpm", "tokens"), [(600, 0, 0), (7, 0, 0), (6000, 120_000, 400), (60, 30_000, 2_000)])
def test_no_minute_holds_more_than_the_limit_and_little_is_lost(rpm, tpm, tokens):
    """Eight processes that want all they can get; slices are used up to their last moment, which is the worst they can do."""
    fleet, rng = Fleet(limit_r=rpm, limit_t=tpm), random.Random(3)
    nexts = {f"p{n}": START + rng.random() * TURN_S for n in range(8)}
    need = {"want_r": 5.0, "head_r": 1.0} | ({"want_t": 5.0 * tokens, "head_t": float(tokens)} if tpm else {})
    horizon = START + 200
    while (who := min(nexts, key=nexts.get)) and nexts[who] < horizon:
        fleet.now = nexts[who]
        got = fleet.turn(who, **need)
        late = fleet.now + rng.random() * VALID_S
        fleet.sent.append((late, got.r, got.t))
        nexts[who] += TURN_S * rng.uniform(0.5, 1.0)
    fleet.sent.sort()
    assert fleet.worst(1) <= rpm
    total_r, total_t = (sum(row[index] for row in fleet.sent if row[0] > START + 50) for index in (1, 2))
    used = max(total_r * 60 / 150 / rpm, total_t * 60 / 150 / tpm if tpm else 0)
    assert used > (0.9 if rpm < 100 else 0.95)
    if tpm:
        assert fleet.worst(2) <= tpm


def test_the_pace_leaves_room_for_what_is_saved_up_and_for_late_slices():
    """That is the whole margin: 0.7 % of a minute's limit."""
    assert pace(600) * (WINDOW_S + VALID_S + BURST_S) == pytest.approx(600)
    assert pace(60_000, 2_000) * (WINDOW_S + VALID_S) + 2_000 == pytest.approx(60_000)
    assert pace(1_000, 5_000) > 0


def test_a_bucket_that_is_new_or_was_idle_begins_with_next_to_nothing():
    """A store that was restarted must not let a second quota through."""
    fleet = Fleet(limit_r=6000)
    assert fleet.turn("a", want_r=100.0, head_r=1.0).r == 1.0
    fleet.now += 30
    assert fleet.turn("a", want_r=100.0, head_r=1.0).r == 1.0


def test_so_many_requests_and_tokens_are_saved_up_and_no_more():
    """What a quarter of a second brings, and never less than one request or what the largest needs."""
    fleet = Fleet(limit_r=6000, limit_t=600_000)
    fleet.turn("a", want_r=1.0, head_r=1.0, want_t=100.0, head_t=100.0)
    fleet.now += 1.0
    granted = fleet.turn("a", want_r=1000.0, head_r=1.0, want_t=1e6, head_t=100.0)
    assert granted.r == int(pace(6000) * BURST_S) == 24
    assert granted.t == pytest.approx(pace(600_000, 250) * BURST_S)
    slow = Fleet(limit_r=6)
    slow.turn("a", want_r=1.0, head_r=1.0)
    for _ in range(20):
        slow.now += 1.0
        granted = slow.turn("a", head_r=1.0)
    assert slow.turn("a", want_r=5.0, head_r=1.0).r == 1.0


def test_what_is_given_back_counts_once():
    """The answer to a turn may be lost, and the turn be sent again."""
    fleet = Fleet(limit_r=600)
    fleet.turn("a", want_r=1.0, head_r=1.0)
    fleet.now += 0.001
    assert fleet.turn("a", back_r=1.0, want_r=1.0, head_r=1.0).r == 1.0
    for _ in range(3):
        fleet.seqs["a"] -= 1
        assert fleet.turn("a", back_r=1.0, want_r=1.0, head_r=1.0).r == 0.0


def test_interactive_calls_of_all_processes_go_before_batch_calls_of_any():
    """What they leave, batch calls get."""
    fleet = Fleet(limit_r=6000)
    fleet.turn("job", want_low_r=1.0, head_r=1.0)
    fleet.now += 0.2  # twenty came in
    fleet.turn("people", want_r=15.0, head_r=0.0, used=0)
    fleet.state.r += 15  # they have not been served yet
    fleet.state.members["people"].want_r = 15.0
    assert fleet.turn("job", want_low_r=50.0, head_r=1.0).r <= 5.0


@pytest.mark.parametrize(("want", "other", "share"), [(40.0, 40.0, 1 / 2), (40.0, 80.0, 1 / 3), (40.0, 10.0, 4 / 5)])
def test_what_is_too_little_for_all_is_divided_by_what_each_wants(want, other, share):
    """Nobody has to know how many processes there are."""
    fleet = Fleet(limit_t=6000)
    fleet.turn("other", want_t=other, head_t=1.0)
    fleet.state.members["other"].want_t = other
    fleet.now += 0.2
    fleet.turn("idle")
    there = fleet.state.t
    assert there < want
    assert fleet.turn("one", want_t=want, head_t=1.0).t == pytest.approx(there * share)


def test_a_large_request_is_not_starved_by_small_ones():
    """Denied for longer than its fair turn, it has what it needs kept for it."""
    fleet = Fleet(limit_t=60_000)
    fleet.turn("large", want_t=900.0, head_t=900.0)
    served, fleet_turns = None, 0
    while served is None and fleet_turns < 2_000:
        fleet.now += 0.01
        fleet_turns += 1
        if fleet_turns % 10 == 0 and fleet.turn("large", want_t=900.0, head_t=900.0).t >= 900.0:
            served = fleet.now - START
        fleet.turn(f"small{fleet_turns % 5}", want_t=100.0, head_t=20.0)
    assert served is not None
    assert served < STARVED_S + 15


@pytest.mark.parametrize("kind", ["r", "t"])
def test_who_is_denied_for_another_is_told_when_it_will_be_served(kind):
    """What is kept for one who has waited for too long comes first; asking sooner would be in vain."""
    fleet = Fleet(**{f"limit_{kind}": 6000})
    fleet.turn("starved", **{f"want_{kind}": 3.0, f"head_{kind}": 3.0})
    fleet.state.members["starved"].head_since = fleet.now - 1000
    setattr(fleet.state, kind, 0.0)
    want = {f"want_{kind}": 1.0, f"head_{kind}": 1.0}
    wait_s = fleet.turn("one", **want).wait_s
    fleet.now += 0.9 * wait_s
    assert getattr(fleet.turn("one", **want), kind) == 0.0
    fleet.now += 0.1 * wait_s + 1e-6
    assert getattr(fleet.turn("one", **want), kind) == 1.0


def test_a_request_larger_than_all_that_is_ever_saved_up_goes_as_a_debt():
    """Once; then nothing until it is paid."""
    fleet = Fleet(limit_t=1_000)
    fleet.turn("a", want_t=1.0, head_t=1.0)
    fleet.now += 10
    assert fleet.turn("a", want_t=5_000.0, head_t=5_000.0).t == 0.0
    fleet.now += 100
    assert fleet.turn("a", want_t=5_000.0, head_t=5_000.0).t == 5_000.0
    fleet.now += 60
    assert fleet.turn("a", want_t=10.0, head_t=10.0).t == 0.0


def test_places_are_never_given_twice_and_come_back_from_the_dead():
    """Whoever is not heard of for DEAD_S has none; nobody loses those it uses."""
    fleet = Fleet(places=10)
    slots = {}
    for name in "abcd":
        slots[name] = fleet.turn(name, want_c=10).slots
    for _ in range(3):
        for name in "abcd":
            slots[name] = fleet.turn(name, used=slots[name], want_c=10).slots
            assert sum(slots.values()) <= 10
    assert sum(slots.values()) == 10
    fleet.now += DEAD_S - 0.1
    fleet.turn("a", used=slots["a"], want_c=10)
    fleet.now += 0.2
    assert fleet.turn("a", used=slots["a"], want_c=10).slots == 10


def test_places_go_to_interactive_calls_first():
    """A batch's process gets what others leave."""
    fleet = Fleet(places=8)
    fleet.turn("people", used=2, want_c=4)
    assert fleet.turn("job", want_low_c=8).slots <= 8 - 6
    fleet.now += 0.1
    fleet.turn("people", used=1)
    assert fleet.turn("job", want_low_c=8).slots >= 6


@pytest.mark.parametrize(
    ("places", "mine", "other", "slots"),
    [
        (0, {"want_c": 5}, {}, 0),  # no limit, no places
        (10, {"want_c": 4}, {}, 4),
        (10, {"used": 3, "want_c": 20}, {}, 10),
        (10, {"want_c": 8}, {"slots": 6}, 4),  # what is free, though its share were 5
        (10, {"want_c": 8}, {"slots": 2, "want_c": 4}, 5),  # its share, though 8 are free
        (10, {"want_c": 8}, {"slots": 1, "want_c": 2}, 7),  # what the other leaves, though its share were 7
        (10, {"used": 2, "want_c": 8}, {"slots": 6, "want_c": 6}, 4),
        (2, {"used": 5}, {}, 5),  # never fewer than it uses
        (10, {"want_c": 3}, {"slots": 100, "want_c": 100}, 0),
        (10, {"want_low_c": 8}, {"slots": 2, "want_c": 3}, 5),
        (10, {"used": 1, "want_low_c": 8}, {"slots": 2, "want_c": 3}, 5),
        (10, {"want_low_c": 8}, {"slots": 2, "want_c": 3, "want_low_c": 8}, 2),
        (10, {"want_low_c": 1}, {"slots": 2, "want_c": 3, "want_low_c": 80}, 1),  # one at least, where any are left
        (10, {"want_low_c": 8}, {"slots": 7, "want_c": 3}, 0),
        (10, {"want_c": 2, "want_low_c": 8}, {}, 2),  # batch calls come when its own interactive ones have theirs
    ],
)
def test_places_are_what_one_uses_its_share_or_what_others_leave(places, mine, other, slots):
    """Whichever is most, within what is free; batch calls take of what nobody interactive wants."""
    fleet = Fleet(places=places)
    fleet.turn("one")
    if other:
        fleet.state.members["other"] = Member(beat=START, **other)
    assert fleet.turn("one", **mine).slots == slots


@pytest.mark.parametrize(
    ("there", "mine", "other", "granted"),
    [
        (90.0, {"want_t": 200.0, "head_t": 1.0}, {"want_t": 100.0}, 60.0),
        (90.0, {"want_t": 50.0, "head_t": 1.0}, {}, 50.0),
        (90.0, {"want_t": 200.0, "head_t": 40.0}, {"want_t": 1000.0}, 40.0),  # its first call whole
        (90.0, {"want_t": 200.0, "head_t": 91.0}, {}, 0.0),  # or not at all
        (0.0, {"want_t": 1.0}, {}, 0.0),
        (90.0, {"want_low_t": 200.0, "head_t": 1.0}, {"want_t": 50.0}, 40.0),  # what interactive calls leave
        (90.0, {"want_low_t": 200.0, "head_t": 1.0}, {"want_t": 50.0, "want_low_t": 200.0}, 20.0),
        (90.0, {"want_low_t": 200.0, "head_t": 41.0}, {"want_t": 50.0}, 0.0),
        (90.0, {"want_t": 30.0, "want_low_t": 200.0, "head_t": 5.0}, {}, 90.0),  # both: its interactive calls first
        (90.0, {"want_t": 30.0, "want_low_t": 40.0, "head_t": 5.0}, {"want_low_t": 40.0}, 60.0),
    ],
)
@pytest.mark.parametrize("kind", ["r", "t"])
def test_what_is_there_is_shared_by_what_each_wants(kind, there, mine, other, granted):
    """Of tokens and of requests; what is granted is gone, and what is not granted is told when it will be there."""
    fleet = Fleet(**{f"limit_{kind}": 60_000})
    said, theirs = ({name.replace("_t", f"_{kind}"): value for name, value in one.items()} for one in (mine, other))
    fleet.turn("one")
    setattr(fleet.state, kind, there)
    if other:
        fleet.state.members["other"] = Member(beat=START, **theirs)
    got = fleet.turn("one", **said)
    assert getattr(got, kind) == granted
    assert getattr(fleet.state, kind) == there - granted
    head = mine.get("head_t", 0.0)
    assert got.wait_s == (0.0 if granted else pytest.approx(max(0.0, (head - there) / pace(60_000)), abs=1e-9))


def test_a_need_is_kept_for_whoever_has_been_denied_longest():
    """Once it has waited a second, and twice its fair turn; not for batch calls while we are interactive."""
    rate = pace(60_000)

    def left(*denied, **said):
        fleet = Fleet(limit_t=60_000)
        fleet.turn("one")
        fleet.state.t = 200.0
        for number, (since_s, need, is_low) in enumerate(denied):
            wants = {"want_low_t": need} if is_low else {"want_t": need}
            fleet.state.members[str(number)] = Member(beat=START, head_since=START - since_s, head_t=need, **wants)
        return 200.0 - fleet.turn("one", **(said or {"want_t": 1000.0})).t

    def shared(kept, *others):
        return 200.0 - (200.0 - kept) * 1000.0 / (1000.0 + sum(others))

    assert left((0.9, 100.0, False)) == pytest.approx(shared(0.0, 100.0))  # not yet a second
    assert left((1.1, 100.0, False)) == pytest.approx(shared(100.0, 100.0))
    fair_s = 2 * 2 * 600.0 / rate
    assert left((fair_s - 0.01, 600.0, False)) == pytest.approx(shared(0.0, 600.0))
    assert left((fair_s + 0.01, 600.0, False)) == 200.0  # more than there is: nothing for us
    assert left((5.0, 50.0, False), (9.0, 80.0, False), (7.0, 20.0, False)) == pytest.approx(shared(80.0, 50.0, 80.0, 20.0))
    assert left((9.0, 100.0, True)) == 0.0  # a batch call's need is not kept from us,
    assert left((9.0, 100.0, True), want_low_t=1000.0) == pytest.approx(200.0 - 100.0 * 1000.0 / 1100.0)  # but from our batch calls


def test_a_limit_that_headers_name_to_one_holds_for_all():
    """And a given one is nobody's to change."""
    fleet = Fleet()
    assert fleet.turn("a").limit_r == 0.0
    fleet.turn("a", heard_r=500.0, heard_t=9_000.0)
    assert (fleet.turn("b").limit_r, fleet.turn("b").limit_t) == (500.0, 9_000.0)
    assert fleet.turn("c", limit_r=60.0).limit_r == 60.0


@pytest.mark.parametrize("kind", ["r", "t"])
def test_a_refusal_without_a_limit_makes_one_of_what_all_had_sent(kind):
    """Of requests or of tokens; it grows slowly while calls wait, and the next refusal never raises it."""
    fleet = Fleet()

    def limit(name, **said):
        return getattr(fleet.turn(name, **said), f"limit_{kind}")

    def send(each):
        for _ in range(100):
            fleet.now += 0.1
            for name in "ab":
                fleet.turn(name, **{f"sent_{kind}": each})

    send(2.0)
    learned = limit("a", **{f"refused_{kind}": 1})
    assert learned == pytest.approx(0.9 * 40 * 60, rel=0.15)
    assert getattr(fleet.state, kind) <= 0.0, "what was saved up is what was too much"
    assert limit("b", **{f"refused_{kind}": 1}) == learned  # too soon to say anything new
    for _ in range(50):
        fleet.now += 0.5
        fleet.turn("a", **{f"want_{kind}": 1000.0, f"head_{kind}": 1000.0})
    grown = limit("b")
    assert learned < grown < 1.2 * learned
    send(20.0)
    assert limit("a", **{f"refused_{kind}": 1}) == grown
    fleet.now += 60
    send(0.2)
    assert limit("a", **{f"refused_{kind}": 1}) == pytest.approx(0.9 * 4 * 60, rel=0.15)


def test_a_pause_that_one_was_told_holds_for_all():
    """Retry-After is the account's."""
    fleet = Fleet(limit_r=6000)
    fleet.turn("a", want_r=1.0, head_r=1.0)
    fleet.now += 0.1
    fleet.turn("a", pause_s=2.0)
    got = fleet.turn("b", want_r=1.0, head_r=1.0)
    assert (got.r, got.pause_s, got.wait_s) == (0.0, pytest.approx(2.0), pytest.approx(2.0))
    fleet.now += 2.1
    assert fleet.turn("b", want_r=1.0, head_r=1.0).r == 1.0


def test_what_all_have_seen_fail_is_told_to_each():
    """Over ten seconds; and processes that leave are forgotten at once."""
    fleet = Fleet()
    fleet.turn("a", ok=3, bad=4)
    got = fleet.turn("b", ok=1)
    assert (got.ok, got.bad, got.processes) == (4, 4, 2)
    fleet.turn("b", leaves=True)
    assert fleet.turn("a").processes == 1
    fleet.now += 11
    assert fleet.turn("a").bad == 0
