"""Where turns are taken: a script in Redis, a row in Postgres or SQLite. One state a target; the time is the store's.

A key holds the version of what is under it, so that processes of two versions share nothing rather than misread each other.
"""

from __future__ import annotations

import hashlib
import threading
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

import msgspec

from surefoot.rules.token_bucket import slices
from surefoot.rules.token_bucket.slices import Granted, Member, ShareTurn, TargetState, settle
from surefoot.secret import Secret
from surefoot.storage import is_redis_url
from surefoot.storage.redis_client import RedisClient, RedisUnavailable
from surefoot.storage.sql import Database, DatabaseAway, Sql, TableSchema, open_database

VERSION = "sf1"  # of TargetState
LIMITS = TableSchema("limits", "surefoot.shared")
ANSWER_S = 0.25  # a store that takes longer is away: calls shall not wait for it
OPEN_S = 2.0  # the same for the first connection
KEPT_MS = 3_600_000  # a target nobody asked for so long is forgotten

_encode = msgspec.msgpack.Encoder().encode
_state = msgspec.msgpack.Decoder(TargetState)
_granted = msgspec.msgpack.Decoder(Granted)


class StoreAway(Exception):
    """No turn could be taken; what was said is said again with the next one."""


class TurnStore(Protocol):
    """Where all processes that name the same store take their turns."""

    async def take(self, target: str, turn: ShareTurn) -> Granted:
        """Take a turn at the state of `target`. Raises StoreAway."""

    def describe(self) -> str:
        """One phrase, without user or password."""

    async def aclose(self) -> None:
        """Close connections."""


class RedisTurns:
    """Turns by a script that runs whole on the server."""

    def __init__(self, url: str, namespace: str) -> None:
        self._client = RedisClient(url, wait_s=ANSWER_S, open_s=OPEN_S, lost="each process keeps to its share of the limits")
        self._prefix = f"{self._client.address.prefix}{VERSION}:{f'{namespace}:' if namespace else ''}"
        self._script, self._digest = script()
        self._loaded = -1  # by which opening of a connection the server was given the script

    def describe(self) -> str:
        """Where it is."""
        return self._client.describe()

    async def take(self, target: str, turn: ShareTurn, *, now: float | None = None) -> Granted:
        """One command. `now` in place of the server's time is for tests."""
        said = (1, f"{self._prefix}{{{target}}}", _encode(turn), "" if now is None else repr(now))
        try:
            answer: Any = None
            if self._loaded == self._client.openings:  # by its digest, which spares the server the text
                (answer,) = await self._client.run_many([("EVALSHA", self._digest, *said)])
            if answer is None or type(answer).__name__ == "NoScriptError":  # perhaps another server, or its scripts were flushed
                (answer,) = await self._client.run_many([("EVAL", self._script, *said)])
                self._loaded = self._client.openings
        except RedisUnavailable as error:
            raise StoreAway(str(error)) from error
        if isinstance(answer, Exception):
            raise StoreAway(f"{self.describe()} refused: {self._client.address.mask(str(answer))}") from answer
        return _granted.decode(answer)

    async def aclose(self) -> None:
        """Close connections."""
        await self._client.aclose()


class SqlTurns:
    """Turns in a transaction each: the target's row is read under a lock, and written."""

    def __init__(self, database: Database, namespace: str) -> None:
        self._database = database
        self._prefix = f"{VERSION}:{f'{namespace}:' if namespace else ''}"

    def describe(self) -> str:
        """Where it is."""
        return self._database.describe()

    async def take(self, target: str, turn: ShareTurn, *, now: float | None = None) -> Granted:
        """One transaction. `now` in place of the database's time is for tests."""
        name = self._prefix + target
        try:
            return await self._database.run(lambda sql: _take(sql, name, turn, now), LIMITS, alone=True)
        except DatabaseAway as error:
            raise StoreAway(str(error)) from error

    async def aclose(self) -> None:
        """Close the connection."""
        await self._database.aclose()


def _take(sql: Sql, name: str, turn: ShareTurn, now: float | None) -> Granted:
    lock = " FOR UPDATE" if sql.dialect == "postgresql" else ""
    look = f"SELECT state FROM sf_limit WHERE target = ?{lock}"  # noqa: S608 - our own word
    found = sql.row(look, (name,))
    if found is None:
        sql.change("INSERT INTO sf_limit (target, state) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, _encode(TargetState())))
        found = sql.row(look, (name,))
    assert found is not None
    state = _state.decode(bytes(found[0]))
    granted = settle(state, turn, sql.now() if now is None else now)
    sql.change("UPDATE sf_limit SET state = ? WHERE target = ?", (_encode(state), name))
    return granted


@cache
def script() -> tuple[str, str]:
    """The script for Redis, and its digest: the fields' places and the rules' constants from the code, then turn.lua."""
    tables = [
        f"local {name} = {{{', '.join(f'{word} = {place}' for place, word in enumerate(kind.__struct_fields__, 1))}}}"
        for name, kind in (("TURN", ShareTurn), ("STATE", TargetState), ("MEMBER", Member))
    ]
    words = (
        "WINDOW_S", "VALID_S", "BURST_S", "DEAD_S", "FLEET_S", "SENT_S", "SENT_SLOTS", "PAUSE_CEILING_S", "RELEARN_S", "LEARNED_SHARE",
        "STARVED_S", "STARVED_TURNS", "PEAK_SLACK", "GROWTH",
    )  # fmt: skip
    numbers = [f"local {word} = {getattr(slices, word)!r}" for word in words]
    text = files("surefoot.shared").joinpath("turn.lua").read_text(encoding="utf-8")
    whole = "\n".join((*tables, *numbers, f"local KEPT_MS = {KEPT_MS}", text))
    return whole, hashlib.sha1(whole.encode(), usedforsecurity=False).hexdigest()


def open_turns(url: str, namespace: str) -> TurnStore:
    """The store at `url`, an address of Redis or of a database; nothing is opened before the first turn."""
    return RedisTurns(url, namespace) if is_redis_url(url) else SqlTurns(open_database(url), namespace)


_lock = threading.Lock()
_opened: dict[tuple[str, str], tuple[TurnStore, int]] = {}


class HeldStore:
    """One holder's claim on the store of an address, which is opened once a process, and closed by the last who lets go."""

    def __init__(self, url: Secret, namespace: str) -> None:
        self._key = (url.reveal(), namespace)
        with _lock:
            store, holders = _opened.get(self._key) or (open_turns(*self._key), 0)
            _opened[self._key] = (store, holders + 1)
        self.store = store
        self._is_held = True

    async def let_go(self) -> None:
        """Let go, once; the last one closes it."""
        with _lock:
            if not self._is_held:
                return
            self._is_held = False
            store, holders = _opened[self._key]
            if holders > 1:
                _opened[self._key] = (store, holders - 1)
                return
            del _opened[self._key]
        await store.aclose()


def target_digest(*said: Any) -> str:
    """What a target is called in the store: the same for all processes that say the same of it; no key can be read from it."""
    return hashlib.blake2b(repr(said).encode(), digest_size=12).hexdigest()
