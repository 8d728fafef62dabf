"""Spend limits in Redis, or Valkey: one account for many processes.

A reservation is taken and settled by scripts that run whole on the server, so any number of processes together stay within the limit.
It is a lease: whoever holds it renews it. What a killed or stopped process held counts as spent after LEASE_S, as nobody can tell what its
calls cost; a process that comes back settles them all the same, and the account is corrected. Amounts are whole billionths of a dollar, so
that ten dimes are a dollar. Settling waits for nobody; what could not be sent is sent again. A script that arrives twice, or a
reservation that arrives after its own settlement, changes nothing.

While Redis cannot be reached a hard limit refuses: it is a promise about money, and nobody can say what is left of it. A soft limit sends,
and its spending is booked when Redis is back.

Keys of an account: a hash of what is spent and reserved, of each lease's amount ("l:ID") and of each amount written off ("x:ID"); a sorted
set of the leases by the moment they end; one of what was written off, by when; and a mark for each settlement, for DONE_MS.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
from collections import deque
from collections.abc import Coroutine
from typing import Any

from msgspec import Struct

from surefoot import runtime
from surefoot.errors import BudgetExceeded
from surefoot.rules.spending import AMPLE, FULL, NANO, WAIT, Claim, nano
from surefoot.storage.redis_client import PIPELINE, RETRY_S, RedisClient, RedisUnavailable
from surefoot.usage.spend import BUSY, Busy, Hold, Waiters

PREFIX = "budget:"  # behind the address's own
TIMEOUT_S = 2.0  # for one answer of the server: what a call may wait to know what may be spent
OPEN_S = 5.0  # the same for the first connection, which takes several round trips
LEASE_S = 60.0  # what a killed or stopped process had reserved counts as spent after so long
UNSENT = 10_000  # settlements kept while Redis is down; beyond that the oldest are dropped, and their leases run out
PERIODS_MS = {"day": 3 * 86_400_000, "month": 62 * 86_400_000}  # when an account of a period is forgotten; one without, never
DONE_MS = 86_400_000  # how long a settlement is known to have been made, so that sending it again changes nothing
DOWN = object()

_log = logging.getLogger("surefoot.spend_store")

GIVE_BACK = """
local function give_back(amount)
  if redis.call('hincrby', KEYS[1], 'reserved', '-' .. amount) < 0 then redis.call('hset', KEYS[1], 'reserved', '0') end
end
"""  # never below nothing: the account may have been deleted while its leases were not
NOW = """
local time = redis.pcall('time')
local now
if time.err then
  redis.call('set', KEYS[2] .. ':clock', '', 'px', 1000)
  now = redis.call('pexpiretime', KEYS[2] .. ':clock') - 1000
else
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
"""  # also for users who may not run TIME, which is in no category of commands that one would grant
WRITE_OFF = (
    GIVE_BACK
    + NOW
    + f"""
for _, id in ipairs(redis.call('zrangebyscore', KEYS[2], '-inf', now)) do
  redis.call('zrem', KEYS[2], id)
  local amount = redis.call('hget', KEYS[1], 'l:' .. id)
  if amount then
    redis.call('hdel', KEYS[1], 'l:' .. id)
    give_back(amount)
    redis.call('hincrby', KEYS[1], 'spent', amount)
    redis.call('hset', KEYS[1], 'x:' .. id, amount)
    redis.call('zadd', KEYS[3], now, id)
  end
end
for _, id in ipairs(redis.call('zrangebyscore', KEYS[3], '-inf', now - {DONE_MS})) do
  redis.call('zrem', KEYS[3], id)
  redis.call('hdel', KEYS[1], 'x:' .. id)
end
"""
)
RESERVE = (  # the decision is that of `rules.counter.grant`
    WRITE_OFF
    + f"""
local id, limit, worst, least, bounded = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local spent = tonumber(redis.call('hget', KEYS[1], 'spent') or '0')
local reserved = tonumber(redis.call('hget', KEYS[1], 'reserved') or '0')
local granted = redis.call('hget', KEYS[1], 'l:' .. id)
if granted then return {{granted, string.format('%.0f', spent), string.format('%.0f', spent + reserved)}} end
if redis.call('exists', KEYS[4]) == 1 or redis.call('hexists', KEYS[1], 'x:' .. id) == 1 then return {{{FULL}}} end
local left = limit - spent - reserved
local later = left
if reserved > 0 then later = limit - spent end
if ARGV[6] == '1' or worst <= left then granted = worst
elseif limit >= {AMPLE} * worst and worst <= later then return {{{WAIT}}}
elseif least <= left then granted = math.min(left, bounded)
elseif least <= later then return {{{WAIT}}}
else return {{{FULL}}} end
granted = string.format('%.0f', granted)
redis.call('hincrby', KEYS[1], 'reserved', granted)
redis.call('hset', KEYS[1], 'l:' .. id, granted)
redis.call('zadd', KEYS[2], now + ARGV[7], id)
if ARGV[8] ~= '0' then for i = 1, 3 do redis.call('pexpire', KEYS[i], ARGV[8]) end end
return {{granted, string.format('%.0f', spent), string.format('%.0f', spent + reserved + granted)}}
"""
)
SETTLE = (
    GIVE_BACK
    + """
local id = ARGV[1]
redis.call('zrem', KEYS[2], id)
local amount = redis.call('hget', KEYS[1], 'l:' .. id)
if amount then
  redis.call('hdel', KEYS[1], 'l:' .. id)
  give_back(amount)
end
local written_off = redis.call('hget', KEYS[1], 'x:' .. id)
if written_off then
  redis.call('hdel', KEYS[1], 'x:' .. id)
  redis.call('zrem', KEYS[3], id)
  redis.call('hincrby', KEYS[1], 'spent', '-' .. written_off)
end
if not redis.call('set', KEYS[4], '1', 'nx', 'px', ARGV[3]) then return 0 end
redis.call('hincrby', KEYS[1], 'spent', ARGV[2])
if ARGV[4] ~= '0' then redis.call('pexpire', KEYS[1], ARGV[4]) end
return 1
"""
)
RENEW = (
    WRITE_OFF
    + """
for i = 2, #ARGV do redis.call('zadd', KEYS[2], 'xx', now + ARGV[1], ARGV[i]) end
return 1
"""
)
SPENT = (
    WRITE_OFF
    + """
return redis.call('hget', KEYS[1], 'spent') or '0'
"""
)


class _Settlement(Struct, frozen=True):
    """What a call did cost, still to be booked."""

    hold: Hold
    actual_usd: float


class RedisSpendStore:
    """Accounts at `url`, shared by everybody who names it: `RedisSpendStore("redis://HOST:6379/0")`.

    Raises Misconfigured for an address that cannot be read, or where the package redis is missing.
    """

    def __init__(self, url: str, *, prefix: str | None = None, timeout_s: float = TIMEOUT_S, lease_s: float = LEASE_S) -> None:
        self._client = RedisClient(url, wait_s=timeout_s, open_s=OPEN_S, lost="hard budgets refuse, soft ones are booked later")
        self._prefix = self._client.address.prefix + PREFIX if prefix is None else prefix
        self._lease_s = lease_s
        self.waiters = Waiters()
        self._start_over()

    def _start_over(self) -> None:
        """Nothing held: at the beginning, on a new background loop, and in a forked child, whose parent holds its own."""
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._held: dict[str, Hold] = {}
        self._unsent: deque[_Settlement] = deque(maxlen=UNSENT)
        self._tasks: set[asyncio.Task[None]] = set()
        self._renewing: asyncio.Task[None] | None = None
        self._off_exit: Any = None
        self._again: asyncio.TimerHandle | None = None
        self._policy, self._policy_of = "", 0  # how the server evicts, and by which connection we know
        self._trouble = ""  # why the last script was not run

    def describe(self) -> str:
        """One phrase for `describe()`, without user or password."""
        return f"accounts in {self._client.describe()}"

    def idle(self) -> bool:
        """True if nothing is reserved by this process, everything is booked, and nobody waits."""
        return not self._held and not self._unsent and not self._tasks and self.waiters.idle()

    async def reserve(self, account: str, claim: Claim, *, limit_usd: float, force: bool) -> Hold | Busy | None:
        """Set aside; None if it does not fit. Raises BudgetExceeded while Redis cannot be reached, unless `force`."""
        self._at_home()
        hold = Hold(account=account, amount_usd=claim.worst / NANO, id=secrets.token_hex(8))
        self._held[hold.id] = hold
        ttl_ms = _ttl_ms(account)
        amounts = (nano(limit_usd), claim.worst, claim.least, claim.bounded)
        try:
            said, forgets = await asyncio.gather(
                self._run(RESERVE, account, hold.id, *amounts, int(force), int(self._lease_s * 1000), ttl_ms, mark=hold.id),
                self._forgets(lasts=ttl_ms == 0),
            )
            if forgets and not force:
                raise BudgetExceeded(  # noqa: TRY301 - what was reserved is given back below
                    f"the budget for {_shown(account)} is not safe: {self._client.describe()} may evict what was spent "
                    f"(maxmemory-policy {forgets}), and the limit would begin anew. Nothing was sent. Set noeviction there, take another "
                    "server, accept it with ?eviction=accept in budget_store, or use a soft limit (mode='soft')"
                )
        except BaseException:
            self.settle(hold, 0.0)  # it may have been taken all the same
            raise
        if said is DOWN:
            self.settle(hold, 0.0)
            if force:
                return Hold(account=account, amount_usd=hold.amount_usd, id=secrets.token_hex(8))
            raise BudgetExceeded(
                f"what is left of the budget for {_shown(account)} is not known: {self._trouble}. "
                "Nothing was sent; a soft limit (mode='soft') would have sent",
                retry_after_s=RETRY_S,
            )
        granted, *sums = map(int, said)
        if not sums:
            self._held.pop(hold.id, None)
            return BUSY if granted == WAIT else None
        spent, total = sums
        return Hold(account=account, amount_usd=granted / NANO, id=hold.id, spent_usd=spent / NANO, total_usd=total / NANO)

    async def _forgets(self, *, lasts: bool) -> str:
        """The server's way of evicting accounts, "" if it has none; `lasts`: keys without a time to live, which some ways spare."""
        if self._client.address.accepts_eviction:
            return ""
        if self._policy_of != self._client.openings or not self._policy_of:
            try:
                about = str(await self._client.run("INFO", "memory"))
            except RedisUnavailable as error:
                if self._client.is_down:
                    return ""  # nor is anything reserved
                _log.info("whether budgets are safe from eviction is not known: %s", error)
                about = ""
            self._policy_of = self._client.openings
            policy = re.search(r"maxmemory_policy[':\s]+([a-z-]+)", about)
            is_bounded = re.search(r"maxmemory[':\s]+[1-9]", about) is not None
            self._policy = policy[1] if policy and is_bounded and policy[1] != "noeviction" else ""
        return "" if lasts and self._policy.startswith("volatile-") else self._policy

    def settle(self, hold: Hold, actual_usd: float) -> None:
        """Replace a reservation by the actual cost; sent beside the call, again until it is booked."""
        self._held.pop(hold.id, None)
        self._unsent.append(_Settlement(hold, actual_usd))
        self._beside(self._send())

    async def spent_usd(self, account: str) -> float | None:
        """What the account has paid so far, by everybody; None while Redis cannot be reached."""
        self._at_home()
        said = await self._run(SPENT, account)
        return None if said is DOWN else int(said) / NANO

    async def aclose(self) -> None:
        """Book what is left, close the connections."""
        if self._tasks and self._loop is asyncio.get_running_loop():
            await asyncio.wait(self._tasks, timeout=self._client.wait_s)
        await self._send()
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._off_exit is not None:
            self._off_exit()
            self._off_exit = None
        self._loop = None
        await self._client.aclose()

    def _at_home(self) -> None:
        """Begin anew in a forked child or on a new background loop; renew leases from now on."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop or self._process != os.getpid():
            unsent = self._unsent if self._process == os.getpid() else ()
            if self._off_exit is not None:
                self._off_exit()
            self._start_over()
            self._unsent.extend(unsent)
            self._loop = loop
            self._off_exit = runtime.on_exit(self._at_exit)
        if self._renewing is None or self._renewing.done():
            self._renewing = loop.create_task(self._renew())

    async def _renew(self) -> None:
        """While anything is held or unbooked: renew leases, send again what could not be sent."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            leases: dict[str, list[str]] = {}
            for hold in self._held.values():
                leases.setdefault(hold.account, []).append(hold.id)
            for account, ids in leases.items():
                await self._run(RENEW, account, int(self._lease_s * 1000), *ids)
            await self._send()
            if not self._held and not self._unsent:
                return

    async def _at_exit(self) -> None:
        """The background loop ends: what its calls left unbooked is booked."""
        await self._send()
        await self._client.aclose()

    async def _send(self) -> None:
        """Book what is unbooked, as far as Redis takes it; in what order does not matter."""
        while self._unsent:
            at_once = 1 if self._client.is_down else PIPELINE  # one is enough to see whether it is back
            some = [self._unsent.popleft() for _ in range(min(at_once, len(self._unsent)))]
            left = some
            try:
                said = await asyncio.gather(*(self._book(one) for one in some))
                left = [one for one, booked in zip(some, said, strict=True) if not booked]
            finally:
                self._unsent.extendleft(reversed(left))
            if left:
                self._send_later()
                return

    def _send_later(self) -> None:
        """Try again after a while; one timer for all that is unbooked."""
        if self._again is None:
            self._again = asyncio.get_running_loop().call_later(RETRY_S, self._send_again)

    def _send_again(self) -> None:
        self._again = None
        self._beside(self._send())

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _book(self, one: _Settlement) -> bool:
        """True if Redis has taken it; then the next one tries that waits for room."""
        account = one.hold.account
        said = await self._run(SETTLE, account, one.hold.id, nano(one.actual_usd), DONE_MS, _ttl_ms(account), mark=one.hold.id)
        if said is DOWN:
            return False
        self.waiters.wake(account)
        return True

    async def _run(self, script: str, account: str, *numbers: str | int, mark: str = "") -> Any:
        """What the script says; DOWN if the server gives no usable answer."""
        key = f"{self._prefix}{{{account}}}"  # braces: all keys of an account live on one node of a cluster
        keys = (key, f"{key}:leases", f"{key}:written-off", *((f"{key}:{mark}",) if mark else ()))
        try:
            return await self._client.run("EVAL", script, len(keys), *keys, *numbers)
        except RedisUnavailable as error:
            self._trouble = str(error)
            return DOWN


def _ttl_ms(account: str) -> int:
    """How long after its last use an account is forgotten; 0 for never."""
    period = account.rpartition("|")[2]
    return PERIODS_MS["day" if len(period) > len("2026-11") else "month"] if period else 0


def _shown(account: str) -> str:
    return account.partition("|")[0]
