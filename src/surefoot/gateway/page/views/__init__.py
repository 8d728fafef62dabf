"""The page's views, and their routes."""

from __future__ import annotations

from typing import Any

from surefoot.gateway.page.frame import for_anybody, signed_in, style
from surefoot.gateway.page.views import calls, compare, doctor, entry, jobs, keys, money, overview, targets
from surefoot.gateway.router import Route


def _route(method: str, path: str, handle: Any) -> Route:
    """A route that sees to sessions itself, and answers under any load."""
    return Route(method=method, path=path, name="page", handle=handle, access="open", admits=False)


PAGE_ROUTES: tuple[Route, ...] = (
    _route("GET", "/ui", signed_in(overview.overview)),
    _route("GET", "/ui/page.css", style),
    _route("GET", "/ui/sign-in", for_anybody(entry.form)),
    _route("POST", "/ui/sign-in", for_anybody(entry.sign_in)),
    _route("POST", "/ui/sign-out", signed_in(entry.sign_out)),
    _route("GET", "/ui/targets", signed_in(targets.targets)),
    _route("GET", "/ui/calls", signed_in(calls.calls)),
    _route("GET", "/ui/calls/{id}", signed_in(calls.call)),
    _route("GET", "/ui/money", signed_in(money.money)),
    _route("GET", "/ui/keys", signed_in(keys.keys)),
    _route("POST", "/ui/keys", signed_in(keys.make)),
    _route("POST", "/ui/keys/{id}/rotate", signed_in(keys.rotate)),
    _route("POST", "/ui/keys/{id}/revoke", signed_in(keys.revoke)),
    _route("POST", "/ui/teams", signed_in(keys.set_team)),
    _route("GET", "/ui/jobs", signed_in(jobs.jobs)),
    _route("GET", "/ui/compare", signed_in(compare.compare)),
    _route("GET", "/ui/doctor", signed_in(doctor.doctor)),
)
