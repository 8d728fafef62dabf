"""A key that lives elsewhere and does not last: fetched once for all who wait, renewed before it runs out, kept through an outage."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable
from random import Random

from msgspec import Struct

from surefoot.errors import SurefootError
from surefoot.secret import Secret

logger = logging.getLogger(__name__)

RENEW_AT = 2 / 3  # of a lease, as Vault's own agent does: a third is left for an outage
SPREAD = 0.1  # and so much earlier or later, so that processes started together do not come together
RETRY_S = 1.0  # after a failed fetch, doubling
RETRY_CEILING_S = 60.0
FORCED_EVERY_S = (
    5.0  # a key the provider refuses is looked up at most so often: a wrong key at 200 calls a second is no reason for 200 look-ups
)


class Grant(Struct, frozen=True, kw_only=True):
    """A key as its vault gave it: to be looked up again within `ttl_s`, void after `lasts_s` (None: until it is revoked)."""

    secret: Secret
    ttl_s: float
    lasts_s: float | None = None


Fetch = Callable[[], Awaitable[Grant]]


class Leased:
    """A KeySource over a secret store that is slow, may be down, and gives keys that change.

    All who ask while a fetch is under way share it. At two thirds of a key's time (10 % earlier or later) it is fetched anew in the
    background; while that fails the last good key is given, until it is void. `draws` spreads the moments; a fixed seed repeats them.
    """

    def __init__(self, fetch: Fetch, *, name: str, draws: Random | None = None) -> None:
        self._fetch = fetch
        self._name = name
        self._draws = draws or Random()  # noqa: S311 - spreads moments, guards nothing
        self._grant: Grant | None = None
        self._void_at: float | None = None
        self._due = 0.0
        self._forced_at = float("-inf")
        self._failures = 0
        self._failure: tuple[type[SurefootError], str] | None = None
        self._shared_fetch: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None

    async def get(self) -> Secret | None:
        """The key to use now. Raises what the fetch failed with, if there is none that is still good."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        grant = self._grant
        if grant is None or (self._void_at is not None and now >= self._void_at):
            if self._failure is not None and now < self._due:
                kind, message = self._failure
                raise kind(message)
            await asyncio.shield(self._fetching(loop))
            grant = self._grant
        elif self._loop is None or self._loop() is not loop:  # the timer went with its loop
            self._arm(loop, max(0.0, self._due - now))
        assert grant is not None
        return grant.secret

    async def renew(self, bad: Secret) -> Secret | None:
        """After the provider refused `bad`: a newer key, fetched at most once for all who ask, or None."""
        loop = asyncio.get_running_loop()
        if self._grant is None or self._grant.secret == bad:
            is_flying = self._shared_fetch is not None and not self._shared_fetch.done() and self._shared_fetch.get_loop() is loop
            if not is_flying:
                if loop.time() < self._forced_at + FORCED_EVERY_S:
                    return None
                self._forced_at = loop.time()
            await asyncio.shield(self._fetching(loop))
        return None if self._grant is None or self._grant.secret == bad else self._grant.secret

    def _fetching(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        fetching = self._shared_fetch
        if fetching is None or fetching.done() or fetching.get_loop() is not loop:
            fetching = self._shared_fetch = loop.create_task(self._refresh())
            fetching.add_done_callback(_fetched)
        return fetching

    async def _refresh(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            grant = await self._fetch()
        except SurefootError as error:
            self._failures += 1
            self._failure = (type(error), str(error))
            wait_s = self._spread(min(RETRY_CEILING_S, RETRY_S * 2.0 ** (self._failures - 1)))
            logger.warning("%s could not be read, next try in %.0f s: %s", self._name, wait_s, error)
            self._arm(loop, wait_s)
            raise
        if self._grant is not None and grant.secret != self._grant.secret:
            logger.info("%s holds a new key", self._name)
        self._failures, self._failure = 0, None
        self._grant = grant
        self._void_at = None if grant.lasts_s is None else loop.time() + grant.lasts_s
        self._arm(loop, self._spread(grant.ttl_s * RENEW_AT))

    def _spread(self, seconds: float) -> float:
        return seconds * self._draws.uniform(1 - SPREAD, 1 + SPREAD)

    def _arm(self, loop: asyncio.AbstractEventLoop, wait_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = loop.time() + wait_s
        self._loop = weakref.ref(loop)
        self._timer = loop.call_later(wait_s, _tick, weakref.ref(self))  # weak: a model that is gone needs no key


def _tick(source: weakref.ref[Leased]) -> None:
    leased = source()
    if leased is not None:
        leased._fetching(asyncio.get_running_loop())  # noqa: SLF001 - same module


def _fetched(fetching: asyncio.Task[None]) -> None:
    if not fetching.cancelled():
        fetching.exception()  # told in the log, and to whoever waited
