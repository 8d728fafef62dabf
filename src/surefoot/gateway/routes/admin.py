"""The admin API: keys and teams. A secret is shown once, in the answer to the request that made it."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from surefoot.gateway.errors import HttpError
from surefoot.gateway.exchange import HttpExchange
from surefoot.gateway.keys.records import ALLOWANCE_FIELDS, changed
from surefoot.gateway.keys.store import GRACE_S, SqlKeys
from surefoot.gateway.records import Allowance, WholeAnswer
from surefoot.gateway.services import Services

KEY_FIELDS = frozenset({"name", "team", "is_admin", "expires", *ALLOWANCE_FIELDS})


async def set_up(services: Services, exchange: HttpExchange) -> WholeAnswer:
    """POST /admin/setup {"token": ...}: the first admin's key, for the token that the first start printed."""
    record, secret = await _keys(services).set_up(str(_body(exchange, frozenset({"token"})).get("token", "")))
    return _answer({**record.shown(), "key": secret})


async def keys(services: Services, exchange: HttpExchange) -> WholeAnswer:  # noqa: ARG001 - the shape of all routes
    """GET /admin/keys: all of them, without their secrets."""
    return _answer({"keys": [one.shown() for one in await _keys(services).all_keys()]})


async def create_key(services: Services, exchange: HttpExchange) -> WholeAnswer:
    """POST /admin/keys: a new key."""
    said = _body(exchange, KEY_FIELDS)
    expires = said.get("expires")
    if expires is not None and not (isinstance(expires, int | float) and expires > time.time()):  # noqa: TID251 - a date
        raise HttpError(400, "invalid_request", "expires is a moment to come, in seconds since 1970", param="expires")
    name, team, is_admin = said.get("name", ""), said.get("team", ""), said.get("is_admin", False)
    if not (isinstance(name, str) and isinstance(team, str) and isinstance(is_admin, bool)):
        raise HttpError(400, "invalid_request", "name and team are text, is_admin is true or false")
    allowance = changed(Allowance(), {one: said[one] for one in ALLOWANCE_FIELDS if one in said})
    record, secret = await _keys(services).create(name=name, team=team, is_admin=is_admin, allowance=allowance, expires=expires)
    return _answer({**record.shown(), "key": secret}, status=201)


async def key(services: Services, exchange: HttpExchange) -> WholeAnswer:
    """GET /admin/keys/{id}."""
    return _answer((await _keys(services).get(exchange.names[0])).shown())


async def change_key(services: Services, exchange: HttpExchange) -> WholeAnswer:
    """PATCH /admin/keys/{id}: another allowance; what is not named stays."""
    said = _body(exchange, frozenset(ALLOWANCE_FIELDS))
    store = _keys(services)
    before = await store.get(exchange.names[0])
    return _answer((await store.change(before.id, changed(before.allowance, said))).shown())


async def revoke_key(services: Services, exchange: HttpExchange) -> WholeAnswer:
    """DELETE /admin/keys/{id}: good for nothing from now on."""
    return _answer((await _keys(services).revoke(exchange.names[0])).shown())


async def rotate_key(services: Services, exchange: HttpExchange) -> WholeAnswer:
    """POST /admin/keys/{id}/rotate {"grace_s": 3600}: a new secret; the old one is good for so long."""
    grace_s = _body(exchange, frozenset({"grace_s"})).get("grace_s", GRACE_S)
    if not isinstance(grace_s, int | float) or not 0 <= grace_s <= 30 * 86_400:
        raise HttpError(400, "invalid_request", "grace_s is seconds, from 0 to 30 days", param="grace_s")
    record, secret = await _keys(services).rotate(exchange.names[0], grace_s=grace_s)
    return _answer({**record.shown(), "key": secret})


async def teams(services: Services, exchange: HttpExchange) -> WholeAnswer:  # noqa: ARG001
    """GET /admin/teams."""
    return _answer({"teams": [one.shown() for one in await _keys(services).teams()]})


async def set_team(services: Services, exchange: HttpExchange) -> WholeAnswer:
    """POST /admin/teams: make a team, or give one another allowance."""
    said = _body(exchange, frozenset({"name", *ALLOWANCE_FIELDS}))
    name = said.pop("name", "")
    if not isinstance(name, str):
        raise HttpError(400, "invalid_request", "name is text", param="name")
    return _answer((await _keys(services).set_team(name, changed(Allowance(), said))).shown())


def _keys(services: Services) -> SqlKeys:
    if not isinstance(services.keys, SqlKeys):
        raise HttpError(501, "unsupported", "the keys of this gateway are given by its program; it keeps none")
    return services.keys


def _body(exchange: HttpExchange, known: frozenset[str]) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(exchange.body or b"{}", type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise HttpError(400, "invalid_json", f"the body is not a JSON object: {error}") from error
    for name in said.keys() - known:
        raise HttpError(400, "invalid_request", f"unknown field {name[:100]!r}; known are {', '.join(sorted(known))}", param=name[:100])
    return said


def _answer(value: Any, *, status: int = 200) -> WholeAnswer:
    return WholeAnswer(
        msgspec.json.encode(value), status=status, headers=((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
    )
