"""How one limit is shared by many processes: leased slices, settled in turns.

Each process takes a turn every TURN_S or so. It says what it wants, what it gives back and that it is alive, and is granted a slice of
requests and tokens, valid for VALID_S, and places for calls in flight. In between it admits calls by itself.

Never too many: what is granted leaves the bucket at once. A slice is void after two turns, and what is left of it is given back, not used.
The pace is so much below the limit that no window holds more than the limit: a window of W seconds sees at most what accrues in W, what was
saved up (BURST_S) and slices granted before it (VALID_S). What a process that died held is lost, not doubled; what it gave back counts
once, by the number of its turn. A bucket that is new, or was forgotten by its store, begins with one request.

Fair: what there is goes to interactive calls of all processes first, and among equals by what they want; who was denied for long has what
it needs kept for it, so that small requests do not starve a large one.

Where no limit was given, the one that a provider's headers name to any process holds for all; a refusal without a limit makes one of what
all together had sent lately, which then grows slowly while calls wait.

Doorman (Google, 2016) leases capacity in seconds; here it is a tenth, with tokens settled by their actual cost.
"""

from __future__ import annotations

import math

from msgspec import Struct, field

TURN_S = 0.1  # a process and target: a server is asked some ten times a second by each, whatever their load
VALID_S = 2 * TURN_S  # a slice is void after it
BURST_S = 0.25  # what may be saved up
WINDOW_S = 60.0  # limits are per minute
DEAD_S = 2.0  # a process not heard of for so long is taken for dead, and its places are free
PAUSE_CEILING_S = 300.0  # one absurd Retry-After must not silence everybody for a day
SENT_S, SENT_SLOTS = 5, 3  # what was sent is remembered in slots of so many seconds
LEARNED_SHARE = 0.9  # of what all had sent, after a refusal that named no limit
RELEARN_S = 2.0  # refusals this soon after one that taught something say nothing new
GROWTH = 0.002  # a second, of a limit learned from refusals, while calls wait
STARVED_S, STARVED_TURNS = 1.0, 2  # who was denied for longer than this, and than so many times its fair turn, has its need kept for it
PEAK_SLACK = 2.5  # times the largest request is saved up, so that what is given back does not overflow
FLEET_S = 10  # failures of all processes are counted over so many seconds


class Member(Struct, gc=False, array_like=True):
    """What is known of one process."""

    seq: int = 0
    beat: float = 0.0
    want_r: float = 0.0
    want_low_r: float = 0.0
    want_t: float = 0.0
    want_low_t: float = 0.0
    slots: int = 0
    want_c: int = 0
    want_low_c: int = 0
    head_since: float = 0.0
    head_r: float = 0.0
    head_t: float = 0.0


class TargetState(Struct, array_like=True):
    """What all processes share of one target. Moments are seconds of the store's clock."""

    at: float = 0.0
    r: float = 0.0
    t: float = 0.0
    limit_r: float = 0.0
    limit_t: float = 0.0
    is_guess_r: bool = False
    is_guess_t: bool = False
    learned_at: float = 0.0
    paused_until: float = 0.0
    peak_t: float = 0.0
    members: dict[str, Member] = field(default_factory=dict)
    fleet: dict[int, tuple[int, int]] = field(default_factory=dict)
    sent: dict[int, tuple[float, float]] = field(default_factory=dict)


class ShareTurn(Struct, gc=False, array_like=True, kw_only=True):
    """What one process says. Amounts of requests end in `_r`, of tokens in `_t`; `low` is for batch calls."""

    member: str
    seq: int
    want_r: float = 0.0
    want_low_r: float = 0.0
    want_t: float = 0.0
    want_low_t: float = 0.0
    head_r: float = 0.0
    head_t: float = 0.0
    back_r: float = 0.0
    back_t: float = 0.0
    sent_r: float = 0.0
    sent_t: float = 0.0
    used: int = 0
    want_c: int = 0
    want_low_c: int = 0
    places: int = 0
    ok: int = 0
    bad: int = 0
    limit_r: float = 0.0
    limit_t: float = 0.0
    heard_r: float = 0.0
    heard_t: float = 0.0
    refused_r: int = 0
    refused_t: int = 0
    pause_s: float = 0.0
    leaves: bool = False


class Granted(Struct, gc=False, array_like=True):
    """What it is told. `limit_*` 0: unlimited."""

    r: float = 0.0
    t: float = 0.0
    slots: int = 0
    processes: int = 1
    wait_s: float = 0.0
    ok: int = 0
    bad: int = 0
    limit_r: float = 0.0
    limit_t: float = 0.0
    pause_s: float = 0.0


def pace(limit: float, burst: float = 0.0) -> float:
    """Per second, so that no minute holds more than `limit`; `burst` is what may be saved up where that is more than BURST_S of it."""
    slow = limit / (WINDOW_S + VALID_S + BURST_S)
    return max(min(slow, (limit - burst) / (WINDOW_S + VALID_S)), 0.5 * slow) if burst > slow * BURST_S else slow


def settle(state: TargetState, turn: ShareTurn, now: float) -> Granted:
    """Take a turn: `state` changes; what is granted leaves it."""
    is_new = state.at == 0.0
    since_s = 0.0 if is_new else max(0.0, now - state.at)
    mine = state.members.get(turn.member)
    counts = mine is None or turn.seq > mine.seq  # a turn that is sent again is answered again, and settled once
    _note(state, turn, now, counts=counts)
    limit_r, limit_t = turn.limit_r or state.limit_r, turn.limit_t or state.limit_t
    (rate_r, rate_t), cap_t, (r, t) = _filled(state, turn, since_s, (limit_r, limit_t), is_new=is_new, counts=counts)
    others = _others(state, turn.member, now)
    head_since = mine.head_since if mine is not None and mine.head_since else now
    is_low = not (turn.want_r or turn.want_t)
    kept_r, kept_t = _kept(others, head_since, now, (rate_r, rate_t), is_low=is_low)
    grant_r = grant_t = 0.0
    if now >= state.paused_until:
        grant_r = _requests_granted(turn, others, r - kept_r) if limit_r else 0.0
        grant_t = _tokens_granted(turn, others, t - kept_t, cap_t) if limit_t else 0.0
    slots = _slots(turn, others)
    state.r, state.t, state.at = r - grant_r, t - grant_t, now
    wait_s = 0.0
    if limit_r and not grant_r and turn.head_r:
        wait_s = max(wait_s, (turn.head_r + kept_r - r) / rate_r)
    if limit_t and not grant_t and turn.head_t:
        wait_s = max(wait_s, (min(turn.head_t, cap_t) + kept_t - t) / rate_t)
    _grow(state, turn, since_s, is_short=wait_s > 0.0)
    if turn.leaves:
        state.members.pop(turn.member, None)
    else:
        short_r, short_t = not grant_r and turn.head_r > 0.0, not grant_t and turn.head_t > 0.0
        state.members[turn.member] = Member(
            max(turn.seq, mine.seq if mine else 0), now, max(0.0, turn.want_r - grant_r), turn.want_low_r, max(0.0, turn.want_t - grant_t),
            turn.want_low_t, slots, max(0, turn.used + turn.want_c - slots), turn.want_low_c,
            head_since if short_r or short_t else 0.0, 1.0 if short_r else 0.0, min(turn.head_t, cap_t) if short_t else 0.0,
        )  # fmt: skip
    fleet = [counts for second, counts in state.fleet.items() if second > now - FLEET_S]
    return Granted(
        float(grant_r), grant_t, slots, len(others) + 1, max(0.0, wait_s, state.paused_until - now), sum(ok for ok, _ in fleet),
        sum(bad for _, bad in fleet), limit_r, limit_t, max(0.0, state.paused_until - now),
    )  # fmt: skip


def _filled(
    state: TargetState, turn: ShareTurn, since_s: float, limits: tuple[float, float], *, is_new: bool, counts: bool
) -> tuple[tuple[float, float], float, tuple[float, float]]:
    """The rates, the most tokens that may be saved up, and what there is of requests and tokens by now."""
    limit_r, limit_t = limits
    state.peak_t = max(turn.head_t, state.peak_t * 0.5 ** (since_s / WINDOW_S))
    large_t = min(PEAK_SLACK * state.peak_t, 0.5 * limit_t)
    rate_r, rate_t = pace(limit_r), pace(limit_t, large_t)
    cap_r, cap_t = max(1.0, rate_r * BURST_S), max(rate_t * BURST_S, large_t)
    r, t = (1.0, min(cap_t, turn.head_t)) if is_new else (state.r, state.t)
    if counts:
        r, t = r + turn.back_r, t + turn.back_t
    r, t = min(cap_r, r + rate_r * since_s), min(cap_t, t + rate_t * since_s)
    if since_s > DEAD_S:  # after an outage, or idle: nothing was saved up
        r = min(r, 1.0)
    return (rate_r, rate_t), cap_t, (r, t)


def _requests_granted(turn: ShareTurn, others: list[Member], free: float) -> float:
    """Requests for this turn, out of `free`."""
    wanted = sum(one.want_r for one in others), sum(one.want_low_r for one in others)
    return float(_granted(free, (turn.want_r, turn.want_low_r), wanted, turn.head_r, whole=True))


def _tokens_granted(turn: ShareTurn, others: list[Member], free: float, most: float) -> float:
    """Tokens for this turn, out of `free`; at least what its first call needs, though it is larger than the bucket: as a debt."""
    wanted = sum(one.want_t for one in others), sum(one.want_low_t for one in others)
    head = min(turn.head_t, most)
    granted = _granted(free, (turn.want_t, turn.want_low_t), wanted, head, whole=False)
    return max(granted, turn.head_t) if granted >= head > 0.0 else granted


def _note(state: TargetState, turn: ShareTurn, now: float, *, counts: bool) -> None:
    """What the process has seen: answers, failures, refusals, limits named in headers."""
    if not counts:
        return
    if turn.ok or turn.bad:
        second = int(now)
        ok, bad = state.fleet.get(second, (0, 0))
        state.fleet[second] = (ok + turn.ok, bad + turn.bad)
        for old in [one for one in state.fleet if one <= now - FLEET_S]:
            del state.fleet[old]
    slot = int(now / SENT_S)
    sent_r, sent_t = state.sent.get(slot, (0.0, 0.0))
    state.sent[slot] = (sent_r + turn.sent_r, sent_t + turn.sent_t)
    for old in [one for one in state.sent if one <= slot - SENT_SLOTS]:
        del state.sent[old]
    if turn.heard_r:
        state.limit_r, state.is_guess_r = turn.heard_r, False
    if turn.heard_t:
        state.limit_t, state.is_guess_t = turn.heard_t, False
    if turn.pause_s:
        state.paused_until = max(state.paused_until, now + min(turn.pause_s, PAUSE_CEILING_S))
    if (turn.refused_r or turn.refused_t) and now - state.learned_at >= RELEARN_S:
        state.learned_at = now
        _learn(state, turn, now)


def _learn(state: TargetState, turn: ShareTurn, now: float) -> None:
    """A refusal that named no limit: what all together had sent lately was too much."""
    slots = [state.sent.get(int(now / SENT_S) - back, (0.0, 0.0)) for back in (0, 1)]
    span_s = now % SENT_S + (SENT_S if int(now / SENT_S) - 1 in state.sent else 0.0)
    per_minute_r, per_minute_t = (sum(one) * WINDOW_S / max(span_s, 1.0) for one in zip(*slots, strict=True))
    if turn.refused_r and not turn.limit_r and (state.is_guess_r or not state.limit_r):
        found = LEARNED_SHARE * max(per_minute_r, 1.0)
        state.limit_r, state.is_guess_r = min(found, state.limit_r or found), True
    if turn.refused_t and not turn.limit_t and (state.is_guess_t or not state.limit_t):
        found = LEARNED_SHARE * max(per_minute_t, 1.0)
        state.limit_t, state.is_guess_t = min(found, state.limit_t or found), True
    state.r, state.t = min(state.r, 0.0), min(state.t, 0.0)


def _grow(state: TargetState, turn: ShareTurn, since_s: float, *, is_short: bool) -> None:
    if is_short:
        factor = 1.0 + GROWTH * min(since_s, 1.0)
        if state.is_guess_r and not turn.limit_r:
            state.limit_r *= factor
        if state.is_guess_t and not turn.limit_t:
            state.limit_t *= factor


def _others(state: TargetState, me: str, now: float) -> list[Member]:
    """The processes that are alive; those that are not are forgotten, with their places."""
    for name in [name for name, one in state.members.items() if now - one.beat > DEAD_S]:
        del state.members[name]
    return [one for name, one in state.members.items() if name != me]


def _kept(others: list[Member], head_since: float, now: float, rates: tuple[float, float], *, is_low: bool) -> tuple[float, float]:
    """What is kept for another one that was denied for longer than we and than is its fair turn: a request, and the tokens it needs."""
    count, first = len(others) + 1, None
    for one in others:
        if not 0.0 < one.head_since < head_since or not (is_low or one.want_r or one.want_t):
            continue
        due_r, due_t = (need / rate if rate else 0.0 for need, rate in zip((one.head_r, one.head_t), rates, strict=True))
        is_starved = now - one.head_since > max(STARVED_S, STARVED_TURNS * count * max(due_r, due_t))
        if is_starved and (first is None or one.head_since < first.head_since):
            first = one
    return (0.0, 0.0) if first is None else (first.head_r, first.head_t)


def _granted(available: float, want: tuple[float, float], others: tuple[float, float], head: float, *, whole: bool) -> float:
    """What goes to one who wants (for interactive, for batch calls), where others do: batch calls get what interactive ones leave."""
    is_low = not want[0]
    high = _share(available, want[0], others[0], 0.0 if is_low else head)
    high = math.floor(high) if whole else high
    low = _share(available - high - others[0], want[1], others[1], head if is_low else 0.0)
    return high + (math.floor(low) if whole else low)


def _share(available: float, want: float, others: float, least: float) -> float:
    """What goes to one who wants `want` where others want `others`; the head of its queue, `least`, whole or not at all."""
    if available <= 0.0 or want <= 0.0 or available < least:
        return 0.0
    return max(min(want, available * want / (want + others)), min(least, want))


def _slots(turn: ShareTurn, others: list[Member]) -> int:
    """Places for the process: never fewer than it uses, else what others leave, in proportion, batch calls last."""
    if not turn.places:
        return 0
    held = sum(one.slots for one in others)
    want_c, low_c = sum(one.want_c for one in others), sum(one.want_low_c for one in others)
    free = turn.places - held
    fair = max(1, turn.places * (turn.used + turn.want_c) // max(1, turn.used + turn.want_c + held + want_c))
    slots = max(turn.used, min(turn.used + turn.want_c, free, max(fair, free - want_c)))
    if turn.want_low_c and not turn.want_c:
        left = free - slots - want_c
        share = max(1, left * turn.want_low_c // (turn.want_low_c + low_c)) if left > 0 else 0
        slots += max(0, min(turn.want_low_c, left, share))
    return slots
