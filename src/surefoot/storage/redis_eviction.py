"""Whether a Redis may forget what it was told to keep: its `maxmemory-policy`, which may change while it runs."""

from __future__ import annotations

import asyncio
import logging
import math
import re

from surefoot.storage.redis_client import RedisClient, RedisUnavailable

CHECK_S = 2.0  # what was said holds for so long; it is asked for in the same pipeline as what depends on it

_log = logging.getLogger("surefoot.storage")


class Eviction:
    """How the server behind `client` makes room when its memory is full."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._policy = ""
        self._asked_s = -math.inf
        self._known_of = -1  # by which connection: another one may lead to another server
        self._asking: asyncio.Task[None] | None = None
        self._is_told = False  # that there was no answer

    async def forgets(self, *, lasts: bool) -> str:
        """The server's way of evicting keys, "" if it has none; `lasts`: keys without a time to live, which some ways spare."""
        client = self._client
        if client.address.accepts_eviction:
            return ""
        now_s = asyncio.get_running_loop().time()
        if self._asking is None and (now_s - self._asked_s > CHECK_S or self._known_of != client.openings):
            self._asked_s = now_s
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        if self._asking is not None:
            await asyncio.shield(self._asking)
        return "" if lasts and self._policy.startswith("volatile-") else self._policy

    async def _ask(self) -> None:
        try:
            self._read(str(await self._client.run("INFO", "memory")))
        except RedisUnavailable as error:
            if not self._is_told and not self._client.is_down:
                self._is_told = True
                _log.info("whether %s may evict budgets is not known: %s", self._client.describe(), error)
        finally:
            self._asking, self._known_of = None, self._client.openings

    def _read(self, about: str) -> None:
        policy = re.search(r"maxmemory_policy[':\s]+([a-z-]+)", about)
        is_bounded = re.search(r"maxmemory[':\s]+[1-9]", about) is not None
        self._policy = policy[1] if policy and is_bounded and policy[1] != "noeviction" else ""
