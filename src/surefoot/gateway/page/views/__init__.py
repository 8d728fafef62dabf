"""The page's views, and their routes."""

from __future__ import annotations

from surefoot.gateway.page.frame import Handler, View, for_anybody, signed_in, style
from surefoot.gateway.page.views import calls, compare, doctor, entry, jobs, keys, money, overview, targets
from surefoot.gateway.router import Route


def _open(method: str, path: str, handle: Handler) -> Route:
    """A route for anybody, which answers under any load."""
    return Route(method=method, path=path, name="page", handle=handle, access="open", admits=False)


def _signed_in(method: str, path: str, view: View) -> Route:
    """A route for who has signed in."""
    return Route(method=method, path=path, name="page", handle=signed_in(view), access="session", admits=False)


PAGE_ROUTES: tuple[Route, ...] = (
    _signed_in("GET", "/ui", overview.overview),
    _open("GET", "/ui/page.css", style),
    _open("GET", "/ui/sign-in", for_anybody(entry.form)),
    _open("POST", "/ui/sign-in", for_anybody(entry.sign_in)),
    _signed_in("POST", "/ui/sign-out", entry.sign_out),
    _signed_in("GET", "/ui/targets", targets.targets),
    _signed_in("GET", "/ui/calls", calls.calls),
    _signed_in("GET", "/ui/calls/{id}", calls.call),
    _signed_in("GET", "/ui/money", money.money),
    _signed_in("GET", "/ui/keys", keys.keys),
    _signed_in("POST", "/ui/keys", keys.make),
    _signed_in("POST", "/ui/keys/{id}/rotate", keys.rotate),
    _signed_in("POST", "/ui/keys/{id}/revoke", keys.revoke),
    _signed_in("POST", "/ui/teams", keys.set_team),
    _signed_in("GET", "/ui/jobs", jobs.jobs),
    _signed_in("GET", "/ui/compare", compare.compare),
    _signed_in("GET", "/ui/doctor", doctor.doctor),
)
