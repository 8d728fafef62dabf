"""Keys and teams in a database, found by the hash of a secret; those in use are remembered for a moment, so that a call asks nobody."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from surefoot.gateway.errors import HttpError
from surefoot.gateway.keys.records import KeyRecord, TeamRecord
from surefoot.gateway.records import Allowance, KeyGrant
from surefoot.secret import Secret
from surefoot.storage.sql import DatabaseAway, Sql, TableSchema, open_database

KEYS = TableSchema("keys", "surefoot.gateway.keys")
SHOWN = 11  # characters of a secret: "sf-" and eight more, of 43
REMEMBERED = 20_000  # keys, unknown ones included, so that guessing costs no statement
FRESH_S = 5.0  # a revocation in another process is heard of after so long
STALE_S = 3600.0  # while the database is away, a key that was good is good for so long
GRACE_S = 3600.0  # the secret before a rotation
T = TypeVar("T")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
COLUMNS = "id, prefix, name, team, is_admin, allowance, created, expires, revoked"

_allowance = msgspec.json.Decoder(Allowance)


def digest(secret: str) -> str:
    """What is kept of a secret: of 32 random bytes a plain SHA-256 can be turned back by nobody."""
    return hashlib.sha256(secret.encode()).hexdigest()


def new_secret() -> str:
    """A new secret: "sf-" and 32 random bytes."""
    return f"sf-{secrets.token_urlsafe(32)}"


class SqlKeys:
    """Keys and teams at `url`: "sqlite:PATH" or "postgresql://...". Lives on one loop."""

    def __init__(self, url: Secret) -> None:
        self.database = open_database(url)
        """The database, for what else is kept beside the keys."""
        self._known: OrderedDict[str, tuple[float, KeyGrant | None, float]] = OrderedDict()

    @staticmethod
    def record(row: tuple[Any, ...]) -> KeyRecord:
        """A row of `COLUMNS`."""
        return _record(row)

    def describe(self) -> str:
        """Where they are, without user or password."""
        return self.database.describe()

    async def find(self, secret: str) -> KeyGrant | None:
        """What the bearer of `secret` may do; None for a key that is unknown, expired or revoked. Raises HttpError (503)."""
        hashed = digest(secret)
        now = time.monotonic()
        known = self._known.get(hashed)
        if known is None or now - known[0] > FRESH_S:
            known = await self._read(hashed, now, known)
        grant, until = known[1], known[2]
        return grant if grant is not None and time.time() < until else None  # noqa: TID251 - expiry is a date

    async def by_id(self, key_id: str) -> KeyGrant | None:
        """What the bearer of the key `key_id` may do; None for one that is unknown, expired or revoked."""

        def read(sql: Sql) -> tuple[KeyGrant | None, float]:
            row = sql.row(f"SELECT {COLUMNS} FROM sf_key WHERE id = ?", (key_id,))  # noqa: S608 - names of ours
            return (None, 0.0) if row is None else _grant(sql, row, float("inf"))

        grant, until = await self.database.run(read, KEYS, reads=True)
        return grant if grant is not None and _now() < until else None

    async def _read(
        self, hashed: str, now: float, known: tuple[float, KeyGrant | None, float] | None
    ) -> tuple[float, KeyGrant | None, float]:
        try:
            found = await self.database.run(lambda sql: _find(sql, hashed), KEYS, reads=True)
        except DatabaseAway as away:
            if known is not None and now - known[0] < STALE_S:
                return known
            raise HttpError(503, "keys_unavailable", "the store of keys cannot be reached; ask again", retry_after_s=1.0) from away
        entry = (now, *found)
        self._known[hashed] = entry
        self._known.move_to_end(hashed)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return entry

    async def create(
        self, *, name: str = "", team: str = "", is_admin: bool = False, allowance: Allowance | None = None, expires: float | None = None
    ) -> tuple[KeyRecord, str]:
        """A new key, and its secret, which is shown this once. Raises HttpError (404) for a team that is none."""
        secret = new_secret()
        record = KeyRecord(
            id=f"key_{secrets.token_hex(8)}", prefix=secret[:SHOWN], name=name[:200], team=team, is_admin=is_admin,
            allowance=allowance or Allowance(), created=_now(), expires=expires,
        )  # fmt: skip

        def insert(sql: Sql) -> None:
            if team and sql.row("SELECT 1 FROM sf_team WHERE name = ?", (team,)) is None:
                raise HttpError(404, "not_found", f"there is no team {team!r}; make it first")
            sql.change(
                f"INSERT INTO sf_key (hash, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - names of ours
                (
                    digest(secret), record.id, record.prefix, record.name, team, int(is_admin), _json(record.allowance), record.created,
                    expires, None,
                ),
            )  # fmt: skip

        await self.database.run(insert, KEYS)
        return record, secret

    async def all_keys(self) -> list[KeyRecord]:
        """All keys, newest first, the revoked ones too."""
        rows = await self.database.run(
            lambda sql: sql.rows(f"SELECT {COLUMNS} FROM sf_key ORDER BY created DESC, id"), KEYS, reads=True  # noqa: S608
        )  # fmt: skip
        return [_record(row) for row in rows]

    async def get(self, key_id: str) -> KeyRecord:
        """One. Raises HttpError (404)."""
        return await self.database.run(lambda sql: _one(sql, key_id), KEYS, reads=True)

    async def change(self, key_id: str, allowance: Allowance) -> KeyRecord:
        """Another allowance from now on; what was spent stays spent. Raises HttpError (404)."""

        def update(sql: Sql) -> KeyRecord:
            sql.change("UPDATE sf_key SET allowance = ? WHERE id = ?", (_json(allowance), key_id))
            return _one(sql, key_id)

        return await self._forgetting(update)

    async def revoke(self, key_id: str) -> KeyRecord:
        """Good for nothing from now on, for ever. Raises HttpError (404)."""
        now = _now()

        def update(sql: Sql) -> KeyRecord:
            sql.change("UPDATE sf_key SET revoked = ?, old_hash = NULL WHERE id = ? AND revoked IS NULL", (now, key_id))
            return _one(sql, key_id)

        return await self._forgetting(update)

    async def rotate(self, key_id: str, *, grace_s: float = GRACE_S) -> tuple[KeyRecord, str]:
        """A new secret; the old one is good for `grace_s` more. Raises HttpError: 404, or 409 for one that was revoked."""
        secret, until = new_secret(), _now() + grace_s

        def update(sql: Sql) -> KeyRecord:
            if _one(sql, key_id).revoked is not None:
                raise HttpError(409, "revoked", f"{key_id} was revoked; make another")
            sql.change(
                "UPDATE sf_key SET old_hash = hash, old_until = ?, hash = ?, prefix = ? WHERE id = ?",
                (until, digest(secret), secret[:SHOWN], key_id),
            )
            return _one(sql, key_id)

        return await self._forgetting(update), secret

    async def set_team(self, name: str, allowance: Allowance) -> TeamRecord:
        """Make a team, or give one another allowance. Raises HttpError (400) for a name that is none."""
        if not _NAME.fullmatch(name):
            raise HttpError(400, "invalid_request", "a team's name is at most 64 letters, digits, '.', '_' and '-'", param="name")
        now = _now()

        def upsert(sql: Sql) -> TeamRecord:
            sql.change(
                "INSERT INTO sf_team (name, allowance, created) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET allowance = excluded.allowance",
                (name, _json(allowance), now),
            )
            return TeamRecord(name=name, allowance=allowance, created=now)

        return await self._forgetting(upsert)

    async def teams(self) -> list[TeamRecord]:
        """All teams, by name."""
        rows = await self.database.run(
            lambda sql: sql.rows("SELECT name, allowance, created FROM sf_team ORDER BY name"), KEYS, reads=True
        )  # fmt: skip
        return [TeamRecord(name=name, allowance=_allowance.decode(said), created=created) for name, said, created in rows]

    async def setup_token(self) -> str | None:
        """A token that makes the first admin's key, once; None where there is an admin. One that was not used is replaced."""
        token = f"setup-{secrets.token_urlsafe(24)}"

        def begin(sql: Sql) -> bool:
            if sql.row("SELECT 1 FROM sf_key WHERE is_admin = 1 AND revoked IS NULL") is not None:
                return False
            sql.change("DELETE FROM sf_setup WHERE used IS NULL")
            sql.change("INSERT INTO sf_setup (hash, used) VALUES (?, NULL)", (digest(token),))
            return True

        return token if await self.database.run(begin, KEYS) else None

    async def set_up(self, token: str) -> tuple[KeyRecord, str]:
        """The first admin's key for a set-up token, which is then used up. Raises HttpError (401)."""
        now = _now()

        def use(sql: Sql) -> bool:
            return bool(sql.change("UPDATE sf_setup SET used = ? WHERE hash = ? AND used IS NULL", (now, digest(token))))

        if not await self.database.run(use, KEYS):
            raise HttpError(
                401, "invalid_setup_token", "this is no set-up token, or it has been used; the start of `surefoot serve` prints one"
            )
        return await self.create(name="admin", is_admin=True)

    async def aclose(self) -> None:
        """Close the database."""
        await self.database.aclose()

    async def _forgetting(self, change: Callable[[Sql], T]) -> T:
        """Make a change, and forget what was remembered of keys here."""
        found = await self.database.run(change, KEYS)
        self._known.clear()
        return found


def _find(sql: Sql, hashed: str) -> tuple[KeyGrant | None, float]:
    """What a secret's hash is good for, and until when."""
    row = sql.row(f"SELECT {COLUMNS} FROM sf_key WHERE hash = ?", (hashed,))  # noqa: S608 - names of ours
    until = float("inf")
    if row is None:
        row = sql.row(f"SELECT {COLUMNS}, old_until FROM sf_key WHERE old_hash = ?", (hashed,))  # noqa: S608
        if row is None:
            return None, until
        until = row[-1]
    return _grant(sql, row[:9], until)


def _grant(sql: Sql, row: tuple[Any, ...], until: float) -> tuple[KeyGrant | None, float]:
    """What a key's row is good for, and until when, at most `until`."""
    key = _record(row)
    if key.revoked is not None:
        return None, until
    team = sql.row("SELECT allowance FROM sf_team WHERE name = ?", (key.team,)) if key.team else None
    theirs = _allowance.decode(team[0]) if team is not None else Allowance()
    own, shared = set(key.allowance.models), set(theirs.models)
    if own and shared and not own & shared:
        return None, until  # nothing is left that it might ask
    models = own & shared if own and shared else own or shared
    grant = KeyGrant(
        key_id=key.id, name=key.name, team=key.team, models=tuple(sorted(models)), is_admin=key.is_admin, allowance=key.allowance,
        team_allowance=theirs,
    )  # fmt: skip
    return grant, until if key.expires is None else min(until, key.expires)


def _one(sql: Sql, key_id: str) -> KeyRecord:
    row = sql.row(f"SELECT {COLUMNS} FROM sf_key WHERE id = ?", (key_id,))  # noqa: S608 - names of ours
    if row is None:
        raise HttpError(404, "not_found", f"there is no key {key_id!r}")
    return _record(row)


def _record(row: tuple[Any, ...]) -> KeyRecord:
    key_id, prefix, name, team, is_admin, said, created, expires, revoked = row
    return KeyRecord(
        id=key_id, prefix=prefix, name=name, team=team, is_admin=bool(is_admin), allowance=_allowance.decode(said), created=created,
        expires=expires, revoked=revoked,
    )  # fmt: skip


def _json(allowance: Allowance) -> str:
    return msgspec.json.encode(allowance).decode()


def _now() -> float:
    return time.time()  # noqa: TID251 - a key's dates are the calendar's
