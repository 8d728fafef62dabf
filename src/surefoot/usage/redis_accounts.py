"""Spend limits in Redis, or Valkey: one account for many processes.

A reservation is taken and settled by scripts that run whole on the server, so any number of processes together stay within the limit.
It is a lease: whoever holds it renews it. What a killed or stopped process held counts as spent after LEASE_S, as nobody can tell what its
calls cost; a process that comes back settles them all the same, and the account is corrected. Amounts are whole billionths of a dollar, so
that ten dimes are a dollar. Settling waits for nobody; what could not be sent is sent again. A script that arrives twice, or a
reservation that arrives after its own settlement, changes nothing.

While Redis cannot be reached a hard limit refuses: it is a promise about money, and nobody can say what is left of it. A soft limit sends,
and its spending is booked when Redis is back.

A server may come back without what was written last: a replica took over before it had it, or nothing was on the disk. So each process
remembers how far it has seen an account's `gross` grow, which begins at 1 and never falls. One that has fallen is put right before anything
more is reserved there, and with it the leases of the calls under way.

Keys of an account: a hash of what is spent, reserved and ever spent ("gross"), of each lease's amount ("l:ID") and of each amount written
off ("x:ID"); a sorted set of the leases by the moment they end; one of what was written off, by when; and a mark for each settlement, for
DONE_MS.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import msgspec

from surefoot import runtime
from surefoot.errors import BudgetExceeded
from surefoot.rules.spending import AMPLE, FULL, NANO, WAIT, Claim, nano
from surefoot.storage.redis_client import PIPELINE, RETRY_S, RedisClient, RedisUnavailable
from surefoot.storage.redis_eviction import Eviction
from surefoot.usage.spend import BUSY, Busy, Hold, Waiters, shown

PREFIX = "budget:"  # behind the address's own
TIMEOUT_S = 2.0  # for one answer of the server: what a call may wait to know what may be spent
SOFT_S = 0.25  # the same for a soft limit, which is only told
OPEN_S = 5.0  # the same for the first connection, which takes several round trips
LEASE_S = 60.0  # what a killed or stopped process had reserved counts as spent after so long
UNSENT = 10_000  # settlements kept while Redis is down; beyond that the oldest are dropped, and their leases run out
PERIODS_MS = {"day": 3 * 86_400_000, "month": 62 * 86_400_000}  # when an account of a period is forgotten; one without, never
DONE_MS = 86_400_000  # how long a settlement is known to have been made, so that sending it again changes nothing
SEEN = 10_000  # accounts of which it is remembered how much was ever spent; of those used least recently it is forgotten
LOST = -3  # a script's answer where the account has lost what we have seen of it; nothing was done
DOWN = object()
T = TypeVar("T")

_log = logging.getLogger("surefoot.spend_store")

BOOK = """
local function give_back(amount)
  if redis.call('hincrby', KEYS[1], 'reserved', '-' .. amount) < 0 then redis.call('hset', KEYS[1], 'reserved', '0') end
end
local function gross()
  return tonumber(redis.call('hget', KEYS[1], 'gross') or redis.call('hget', KEYS[1], 'spent') or '0')
end
local function spend(amount)
  local before = gross()
  redis.call('hincrby', KEYS[1], 'spent', string.format('%.0f', amount))
  redis.call('hset', KEYS[1], 'gross', string.format('%.0f', before + math.max(0, amount)))
end
"""  # reserved never below nothing: the account may have been deleted while its leases were not
WHOLE = f"if tonumber(ARGV[1]) > gross() then return {LOST} end\n"
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
    BOOK
    + NOW
    + f"""
for _, id in ipairs(redis.call('zrangebyscore', KEYS[2], '-inf', now)) do
  redis.call('zrem', KEYS[2], id)
  local amount = redis.call('hget', KEYS[1], 'l:' .. id)
  if amount then
    redis.call('hdel', KEYS[1], 'l:' .. id)
    give_back(amount)
    spend(tonumber(amount))
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
RESERVE = (  # the decision is that of `rules.spending.grant`
    WRITE_OFF
    + WHOLE
    + f"""
local id, limit, worst, least, bounded = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local spent = tonumber(redis.call('hget', KEYS[1], 'spent') or '0')
local reserved = tonumber(redis.call('hget', KEYS[1], 'reserved') or '0')
local granted = redis.call('hget', KEYS[1], 'l:' .. id)
local function said(amount)
  return {{amount, string.format('%.0f', spent), string.format('%.0f', spent + reserved), string.format('%.0f', gross())}}
end
if granted then return said(granted) end
if redis.call('exists', KEYS[4]) == 1 or redis.call('hexists', KEYS[1], 'x:' .. id) == 1 then return {{{FULL}}} end
local left = limit - spent - reserved
local later = left
if reserved > 0 then later = limit - spent end
if ARGV[7] == '1' or worst <= left then granted = worst
elseif limit >= {AMPLE} * worst and worst <= later then return {{{WAIT}}}
elseif least <= left then granted = math.min(left, bounded)
elseif least <= later then return {{{WAIT}}}
else return {{{FULL}}} end
granted = string.format('%.0f', granted)
redis.call('hincrby', KEYS[1], 'reserved', granted)
redis.call('hset', KEYS[1], 'l:' .. id, granted)
redis.call('hsetnx', KEYS[1], 'gross', string.format('%.0f', gross() + 1))
redis.call('zadd', KEYS[2], now + ARGV[8], id)
if ARGV[9] ~= '0' then for i = 1, 3 do redis.call('pexpire', KEYS[i], ARGV[9]) end end
reserved = reserved + granted
return said(granted)
"""
)
SETTLE = (
    BOOK
    + WHOLE
    + """
local id = ARGV[2]
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
end
if redis.call('set', KEYS[4], '1', 'nx', 'px', ARGV[4]) then
  spend(tonumber(ARGV[3]) - tonumber(written_off or '0'))
  if ARGV[5] ~= '0' then redis.call('pexpire', KEYS[1], ARGV[5]) end
end
return string.format('%.0f', gross())
"""
)
RENEW = (  # also of leases that the server has lost: all but those with a settlement, or written off
    WRITE_OFF
    + """
redis.call('hsetnx', KEYS[1], 'gross', string.format('%.0f', gross() + 1))
spend(math.max(0, tonumber(ARGV[1]) - gross()))
for i = 3, #ARGV, 2 do
  local id, amount, settled = ARGV[i], ARGV[i + 1], KEYS[3 + (i - 1) / 2]
  local is_lost = redis.call('hexists', KEYS[1], 'l:' .. id) + redis.call('hexists', KEYS[1], 'x:' .. id) == 0
  if amount ~= '0' and is_lost and redis.call('exists', settled) == 0 then
    redis.call('hset', KEYS[1], 'l:' .. id, amount)
    redis.call('hincrby', KEYS[1], 'reserved', amount)
    redis.call('zadd', KEYS[2], now + ARGV[2], id)
  else
    redis.call('zadd', KEYS[2], 'xx', now + ARGV[2], id)
  end
end
return string.format('%.0f', gross())
"""
)
SPENT = WRITE_OFF + WHOLE + "return redis.call('hget', KEYS[1], 'spent') or '0'"


_Settlement = tuple[Hold, float]  # what a call did cost, still to be booked


class RedisSpendStore:
    """Accounts at `url`, shared by everybody who names it: `RedisSpendStore("redis://HOST:6379/0")`.

    Raises Misconfigured for an address that cannot be read, or where the package redis is missing.
    """

    def __init__(self, url: str, *, prefix: str | None = None, timeout_s: float = TIMEOUT_S, lease_s: float = LEASE_S) -> None:
        self._client = RedisClient(url, wait_s=timeout_s, open_s=OPEN_S, lost="hard budgets refuse, soft ones are booked later")
        self._prefix = self._client.address.prefix + PREFIX if prefix is None else prefix
        self._lease_s = lease_s
        self.waiters = Waiters()
        self._seen: dict[str, int] = {}  # of each account, the latest used last: billionths of a dollar ever spent
        self._start_over()

    def _start_over(self) -> None:
        """Nothing held: at the beginning, on a new background loop, and in a forked child, whose parent holds its own."""
        self._process = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._held: dict[str, Hold] = {}  # by id; of an amount of 0 while nobody has said that it is reserved
        self._unsent: deque[_Settlement] = deque(maxlen=UNSENT)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._renewing: asyncio.Task[None] | None = None
        self._off_exit: Any = None
        self._again: asyncio.TimerHandle | None = None
        self._is_stuck = False  # what was sent last was not booked
        self._eviction = Eviction(self._client)
        self._trouble = ""  # why the last script was not run

    def describe(self) -> str:
        """One phrase for `describe()`, without user or password."""
        return f"accounts in {self._client.describe()}"

    def idle(self) -> bool:
        """True if nothing is reserved by this process, everything is booked, and nobody waits."""
        return not self._held and not self._unsent and not self._tasks and self.waiters.idle()

    async def reserve(self, account: str, claim: Claim, *, limit_usd: float, force: bool) -> Hold | Busy | None:
        """Set aside; None if it does not fit. Raises BudgetExceeded while Redis cannot be reached, unless `force`.

        A soft limit (`force`) waits SOFT_S for the answer and goes on without it: it is booked all the same, once the server takes it.
        """
        self._at_home()
        hold = Hold(account=account, amount_usd=claim.worst / NANO, id=secrets.token_hex(8))
        self._held[hold.id] = msgspec.structs.replace(hold, amount_usd=0.0)
        if not force:
            return await self._reserve(hold, claim, limit_usd)
        asking = self._beside(self._reserve(hold, claim, limit_usd, force=True))
        done, _ = await asyncio.wait({asking}, timeout=SOFT_S)
        return asking.result() if done else hold

    async def _reserve(self, hold: Hold, claim: Claim, limit_usd: float, *, force: bool = False) -> Hold | Busy | None:
        account, ttl_ms = hold.account, _ttl_ms(hold.account)
        amounts = (nano(limit_usd), claim.worst, claim.least, claim.bounded, int(force))
        try:
            said, forgets = await asyncio.gather(
                self._run(RESERVE, account, hold.id, *amounts, int(self._lease_s * 1000), ttl_ms, marks=[hold.id]),
                self._eviction.forgets(lasts=ttl_ms == 0),
            )
            if not force:
                self._check_known(account, forgets, is_known=said is not DOWN)
        except BaseException:
            self.settle(hold, 0.0)  # it may have been taken all the same
            raise
        if said is DOWN:
            return hold
        granted, *sums = map(int, said)
        if not sums:
            self._held.pop(hold.id, None)
            return BUSY if granted == WAIT else None
        spent, total, gross = sums
        self._see(account, gross)
        taken = Hold(account=account, amount_usd=granted / NANO, id=hold.id, spent_usd=spent / NANO, total_usd=total / NANO)
        if hold.id in self._held:  # else it has its settlement already
            self._held[hold.id] = taken
        return taken

    def _check_known(self, account: str, forgets: str, *, is_known: bool) -> None:
        """Raise BudgetExceeded where nobody can say what is left, or where it may be forgotten."""
        if not is_known:
            raise BudgetExceeded(
                f"what is left of the budget for {shown(account)} is not known: {self._trouble}. "
                "Nothing was sent; a soft limit (mode='soft') would have sent",
                retry_after_s=RETRY_S,
            )
        if forgets:
            raise BudgetExceeded(
                f"the budget for {shown(account)} is not safe: {self._client.describe()} may evict what was spent "
                f"(maxmemory-policy {forgets}), and the limit would begin anew. Nothing was sent. Set noeviction there, take another "
                "server, accept it with ?eviction=accept in budget_store, or use a soft limit (mode='soft')"
            )

    def _see(self, account: str, gross: int) -> None:
        """Remember what was ever spent from an account."""
        self._seen[account] = max(gross, self._seen.pop(account, 0))
        if len(self._seen) > SEEN:
            del self._seen[next(iter(self._seen))]

    def settle(self, hold: Hold, actual_usd: float) -> None:
        """Replace a reservation by the actual cost; sent beside the call, again until it is booked."""
        self._held.pop(hold.id, None)
        self._unsent.append((hold, actual_usd))
        if self._again is None:  # else it is sent with the others that wait
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
        for one in (self._renewing, self._again):
            if one is not None:
                one.cancel()
        off_exit, self._renewing, self._again, self._off_exit, self._loop = self._off_exit, None, None, None, None
        if off_exit is not None:
            off_exit()
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
            for account in {hold.account for hold in self._held.values()}:
                await self._renew_account(account)
            await self._send()
            if not self._held and not self._unsent:
                return

    async def _renew_account(self, account: str) -> None:
        """Renew our leases of one account; give back to it what it has lost of them, and of what was spent."""
        holds = [hold for hold in self._held.values() if hold.account == account]
        words = [word for hold in holds for word in (hold.id, nano(hold.amount_usd))]
        said = await self._evaluate(RENEW, account, int(self._lease_s * 1000), *words, marks=[hold.id for hold in holds])
        if said is not DOWN:
            self._see(account, int(said))

    async def _at_exit(self) -> None:
        """The background loop ends: what its calls left unbooked is booked."""
        await self._send()
        await self._client.aclose()

    async def _send(self) -> None:
        """Book what is unbooked, as far as Redis takes it; in what order does not matter."""
        while self._unsent:
            at_once = 1 if self._is_stuck or self._client.is_down else PIPELINE  # one is enough to see whether it is back
            some = [self._unsent.popleft() for _ in range(min(at_once, len(self._unsent)))]
            left = some
            try:
                said = await asyncio.gather(*(self._book(*one) for one in some))
                left = [one for one, booked in zip(some, said, strict=True) if not booked]
            finally:
                self._unsent.extendleft(reversed(left))
            self._is_stuck = bool(left)
            if left:
                if self._again is None:  # one timer for all that is unbooked
                    self._again = asyncio.get_running_loop().call_later(RETRY_S, self._send_again)
                return

    def _send_again(self) -> None:
        self._again = None
        self._beside(self._send())

    def _beside(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _book(self, hold: Hold, actual_usd: float) -> bool:
        """True if Redis has taken it; then the next one tries that waits for room."""
        account = hold.account
        numbers = (hold.id, nano(actual_usd), DONE_MS, _ttl_ms(account))
        said = await self._run(SETTLE, account, *numbers, marks=[hold.id])
        if said is DOWN:
            return False
        self._see(account, int(said))
        self.waiters.wake(account)
        return True

    async def _run(self, script: str, account: str, *numbers: str | int, marks: Sequence[str] = ()) -> Any:
        """What the script says; DOWN if the server gives no usable answer. An account that has lost something is put right first."""
        said = await self._evaluate(script, account, *numbers, marks=marks)
        if said != LOST:
            return said
        _log.warning("%s has lost what was spent from the budget for %s; it is put right", self._client.describe(), shown(account))
        await self._renew_account(account)
        said = await self._evaluate(script, account, *numbers, marks=marks)
        return DOWN if said == LOST else said

    async def _evaluate(self, script: str, account: str, *numbers: str | int, marks: Sequence[str]) -> Any:
        key = f"{self._prefix}{{{account}}}"  # braces: all keys of an account live on one node of a cluster
        keys = (key, f"{key}:leases", f"{key}:written-off", *(f"{key}:{mark}" for mark in marks))
        try:
            return await self._client.run("EVAL", script, len(keys), *keys, self._seen.get(account, 0), *numbers)
        except RedisUnavailable as error:
            self._trouble = str(error)
            return DOWN


def _ttl_ms(account: str) -> int:
    """How long after its last use an account is forgotten; 0 for never."""
    period = account.rpartition("|")[2]
    return PERIODS_MS["day" if len(period) > len("2026-11") else "month"] if period else 0
