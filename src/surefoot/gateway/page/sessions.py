"""Who is signed in to the page: a random token in a cookie, of which the database keeps the hash, as it does of keys.

A session ends with its time, when it is signed out, and with its admin's key: revoked, expired or rotated away.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.gateway.keys.store import digest
from surefoot.storage.sql import Sql, TableSchema
from surefoot.storage.sql.database import Database

PAGE = TableSchema("page", "surefoot.gateway.page")
SESSION_S = 12 * 3600.0  # a working day
FRESH_S = 5.0  # how long a look at the database counts: a revoked admin is out after so long, as a revoked key is
REMEMBERED = 1_000


class PageSession(Struct, Documented, frozen=True, kw_only=True):
    """Somebody is signed in."""

    key_id: str
    """With which admin's key."""
    token: str
    """What the cookie holds."""
    until: float
    """When it ends: seconds since 1970."""

    @property
    def form_token(self) -> str:
        """What each form carries: another site's page cannot know it, so it cannot send one in this name."""
        return hmac.new(self.token.encode(), b"form", hashlib.sha256).hexdigest()

    def sent_it(self, said: str) -> bool:
        """Whether `said` is the token of this session's forms."""
        return hmac.compare_digest(self.form_token.encode(), said.encode())


class PageSessions:
    """The sessions in a database that holds the keys as well. Lives on one loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[str, tuple[float, PageSession | None]] = OrderedDict()

    async def begin(self, key_id: str) -> PageSession:
        """Sign in with an admin's key that was found good."""
        session = PageSession(key_id=key_id, token=secrets.token_urlsafe(32), until=_now() + SESSION_S)

        def insert(sql: Sql) -> None:
            sql.change("DELETE FROM sf_session WHERE until < ?", (_now(),))
            sql.change("INSERT INTO sf_session (hash, key_id, until) VALUES (?, ?, ?)", (digest(session.token), key_id, session.until))

        await self._database.run(insert, PAGE)
        return session

    async def find(self, token: str) -> PageSession | None:
        """The session of a cookie; None where it is none, or none any more. One statement at most."""
        now = time.monotonic()
        known = self._known.get(token)
        if known is None or now - known[0] > FRESH_S:
            found = await self._database.run(lambda sql: _find(sql, token), PAGE, reads=True)
            known = self._known[token] = (now, found)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        session = known[1]
        return session if session is not None and session.until > _now() else None

    async def end(self, session: PageSession) -> None:
        """Sign out."""
        self._known.pop(session.token, None)
        await self._database.run(lambda sql: sql.change("DELETE FROM sf_session WHERE hash = ?", (digest(session.token),)), PAGE)

    def forget(self) -> None:
        """Look again: keys have changed."""
        self._known.clear()


def _find(sql: Sql, token: str) -> PageSession | None:
    row = sql.row(
        "SELECT s.key_id, s.until, k.expires FROM sf_session AS s JOIN sf_key AS k ON k.id = s.key_id "
        "WHERE s.hash = ? AND k.is_admin = 1 AND k.revoked IS NULL",
        (digest(token),),
    )
    if row is None:
        return None
    key_id, until, expires = row
    return PageSession(key_id=key_id, token=token, until=until if expires is None else min(until, expires))


def _now() -> float:
    return time.time()  # noqa: TID251 - a session's end is a date
