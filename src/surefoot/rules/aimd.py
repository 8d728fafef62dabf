"""How many calls may be in flight: a fixed number, or one found by additive increase and multiplicative decrease.

Why not the latency: an LLM's depends on how long the answer is, so a gradient takes long answers for overload. What counts is what the
provider says: refused (429, 529), timed out, or headers with nothing left.

The factors. *Shrink to 0.75*: a sawtooth between 0.75 and 1 of the capacity keeps 0.88 of it in flight on average; halving keeps 0.75 and
would hardly stay within a fifth of it; 0.9 needs sixteen windows from 50 down to 10, 0.75 needs six. *Growth by 1 a window, and by 1 more
for every 8 windows without a refusal*: near the capacity a step of 1 or 2 refuses as few calls; far below it the steps add up to w +
w*w/16, so from 7 up to 50 takes nineteen windows, where 1 a window takes forty-three. A window is one round trip: as many successes as
may be in flight, so a slow model adapts in its own time and no clock is read. *Once per window*: of fifty calls refused together only the
first shrinks; the others were sent before it, and say nothing about the limit since.

Before the first refusal the limit grows by half a window's successes (slow start): from 8 to 256 in nine windows. With answers of 2 s that
is twenty seconds, so where requests per minute are given it starts at a second of them, up to 32: who grants 80 a second holds as many in
flight for each second that an answer takes.

Sources: Chiu and Jain, 1989 (AIMD is fair); RFC 5681 (once per window, slow start); Netflix concurrency-limits (no growth unless used;
success, ignore, dropped); failsafe-go (a dropped permit teaches nothing). All operations are O(1).
"""

import math

START = 8.0  # what the peers start from; slow start makes up for a low guess
LEAST = 1.0  # a small local server takes one at a time
PACED = 32.0  # of more at once, over connections yet to be opened, the last arrive too late for a provider that enforces windows of 2 s
MOST = 256.0  # at which an aiohttp client still spends less than twice the CPU on a call that it spends at 32 in flight
SHRINK = 0.75
GROWTH = 1.0  # a window
QUIET = 8.0  # windows without refusal after which the growth is one more
SLOW_START = 0.5  # of a window's successes
USED = 0.8  # of the limit must be in flight for it to grow: what nobody uses, nobody has tested


class Limit:
    """The limit and what teaches it. `Limit.fixed(n)` learns nothing.

    Success, overload, or nothing at all: a cancelled call, or the caller's own mistake, says nothing about the provider and is not
    reported. `now` is read from `limit`, a whole number of at least 1.
    """

    __slots__ = ("_cut_s", "_least", "_limit", "_most", "_quiet", "_refused", "limit")

    def __init__(self, start: float = START, *, least: float = LEAST, most: float = MOST) -> None:
        self._least = max(1.0, least)
        self._most = max(self._least, most)
        self._limit = min(max(start, self._least), self._most)
        self._quiet = 0.0  # windows since the last cut
        self._refused = False
        self._cut_s = -math.inf
        self.limit = int(self._limit)

    @classmethod
    def fixed(cls, limit: int) -> "Limit":
        """Always `limit`."""
        return cls(limit, least=limit, most=limit)

    @classmethod
    def paced(cls, per_minute: float | None) -> "Limit":
        """Starts at a second of the requests per minute where they are given, up to `PACED`."""
        return cls(min(max(START, (per_minute or 0.0) / 60.0), PACED))

    def on_success(self, in_flight: int) -> None:
        """A call succeeded; `in_flight` were under way with it. Grows, if the limit was really used."""
        limit = self._limit
        if in_flight < USED * limit or limit >= self._most:
            return
        if self._refused:
            self._quiet += 1.0 / limit
            limit += (GROWTH + self._quiet / QUIET) / limit
        else:
            limit += SLOW_START
        self._limit = min(limit, self._most)
        self.limit = int(self._limit)

    def on_overload(self, started_s: float, now_s: float) -> bool:
        """A call begun at `started_s` was refused (429, 529) or timed out. True if the limit shrank.

        One begun before the last cut is old news.
        """
        if not self.is_news(started_s, now_s):
            return False
        self._cut_s, self._quiet, self._refused = now_s, 0.0, True
        self._limit = max(self._least, self._limit * SHRINK)
        self.limit = int(self._limit)
        return True

    def is_news(self, started_s: float, now_s: float) -> bool:
        """Whether a call begun at `started_s` says anything about the limit since the last cut."""
        if self._cut_s > now_s:
            self._cut_s = -math.inf  # the clock was set back
        return started_s > self._cut_s

    def put_back(self, limit: float) -> None:
        """The cuts since it was `limit` were no lessons (`rules.noise`): return there, and look for the capacity as at the start."""
        self._limit = min(max(self._limit, limit), self._most)
        self.limit, self._quiet, self._refused = int(self._limit), 0.0, False
