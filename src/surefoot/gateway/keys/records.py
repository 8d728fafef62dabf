"""What is kept of keys and teams."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from surefoot._documented import Documented
from surefoot.gateway.errors import HttpError
from surefoot.gateway.records import Allowance
from surefoot.rules.spending import nano


class KeyRecord(Struct, Documented, frozen=True, kw_only=True):
    """A key without its secret, which nobody keeps."""

    id: str
    """Names the key: "key_" and 16 hexadecimal digits."""
    prefix: str
    """The first characters of the secret, to recognise it by."""
    name: str = ""
    """What its owner calls it."""
    team: str = ""
    """Its team; empty: none."""
    is_admin: bool = False
    """It makes, changes and revokes keys, and asks no model."""
    allowance: Allowance = Allowance()
    """What it may ask and spend."""
    created: float = 0.0
    """When it was made: seconds since 1970."""
    expires: float | None = None
    """From when on it is not good any more; None: never."""
    revoked: float | None = None
    """When it was revoked; None: it is not."""

    def shown(self) -> dict[str, Any]:
        """As the admin API and the command line show it: money in dollars."""
        found = msgspec.to_builtins(self)
        found.pop("allowance")
        return {**found, **shown(self.allowance)}


class TeamRecord(Struct, Documented, frozen=True, kw_only=True):
    """A team."""

    name: str
    """Its name, of letters, digits, `.`, `_` and `-`."""
    allowance: Allowance = Allowance()
    """What all its keys together may ask and spend."""
    created: float = 0.0
    """When it was made: seconds since 1970."""

    def shown(self) -> dict[str, Any]:
        """As the admin API and the command line show it."""
        return {"name": self.name, "created": self.created, **shown(self.allowance)}


def shown(allowance: Allowance) -> dict[str, Any]:
    """An allowance with money in dollars."""
    usd = None if allowance.budget_nano is None else allowance.budget_nano / 1e9
    return {
        "models": list(allowance.models), "budget_usd": usd, "period": allowance.period,
        "requests_per_minute": allowance.requests_per_minute, "tokens_per_minute": allowance.tokens_per_minute,
    }  # fmt: skip


class _Said(Struct, forbid_unknown_fields=True, kw_only=True):
    models: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    budget_usd: float | msgspec.UnsetType | None = msgspec.UNSET
    period: Literal["ever", "day", "month"] | msgspec.UnsetType = msgspec.UNSET
    requests_per_minute: int | msgspec.UnsetType | None = msgspec.UNSET
    tokens_per_minute: int | msgspec.UnsetType | None = msgspec.UNSET


ALLOWANCE_FIELDS = _Said.__struct_fields__


def changed(allowance: Allowance, said: dict[str, Any]) -> Allowance:
    """`allowance` with what is said. Raises HttpError (400) for what is no allowance."""
    try:
        found = msgspec.convert(said, _Said)
    except msgspec.ValidationError as error:
        raise HttpError(400, "invalid_request", f"{error}; known are {', '.join(ALLOWANCE_FIELDS)}") from error
    fields: dict[str, Any] = {}
    for name in ALLOWANCE_FIELDS:
        value = getattr(found, name)
        if value is msgspec.UNSET:
            continue
        if isinstance(value, int | float) and not 0 <= value < 1e9:
            raise HttpError(400, "invalid_request", f"{name} = {value} must be from 0 to a billion, or null for no limit", param=name)
        if name == "budget_usd":
            fields["budget_nano"] = None if value is None else nano(value)
        else:
            fields[name] = value
    return msgspec.structs.replace(allowance, **fields)
