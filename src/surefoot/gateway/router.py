"""The table of routes. What is not in it is denied; a path is matched byte for byte as it came, so another spelling of one is no route."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

from msgspec import Struct

from surefoot._documented import Documented
from surefoot.gateway.records import StreamedAnswer, WholeAnswer

Access = Literal["open", "key", "admin", "session"]
Handler = Callable[[Any, Any], Awaitable[WholeAnswer | StreamedAnswer]]

SESSION_COOKIE = "surefoot_session"  # what holds a session of the page
NAME = rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}"  # what may stand for {name}: no slash, escape or leading dot


class Route(Struct, Documented, frozen=True, kw_only=True):
    """One method and path."""

    method: str
    """Such as "POST"."""
    path: str
    """Such as "/v1/files/{id}"; a name in braces is one segment of letters, digits, `.`, `_`, `:` and `-`."""
    name: str
    """What logs and metrics call it."""
    handle: Handler
    """`await handle(services, exchange)` answers it."""
    access: Access = "key"
    """Who may ask: "key" (the default) any valid key, "admin" an admin's, "open" anybody, "session" who has signed in to the page, which
    asks for it itself (`page.frame.signed_in`)."""
    dialect: Literal["openai", "anthropic"] = "openai"
    """How errors are written."""
    spends: bool = False
    """It asks models, so a budget that is used up refuses it."""
    admits: bool = True
    """It takes one of the places for requests in flight; False for what must be answered under any load."""


class Router:
    """Finds the route of a request."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._exact: dict[bytes, dict[str, Route]] = {}
        self._patterns: dict[str, tuple[re.Pattern[bytes], dict[str, Route]]] = {}
        for route in self.routes:
            if "{" in route.path:
                pattern = re.compile((b"(%b)" % NAME).join(map(re.escape, re.split(rb"\{\w+\}", route.path.encode()))))
                self._patterns.setdefault(route.path, (pattern, {}))[1][route.method] = route
            else:
                self._exact.setdefault(route.path.encode(), {})[route.method] = route

    def find(self, raw_path: bytes) -> tuple[dict[str, Route], tuple[str, ...]]:
        """The routes of a path by method, and what stands for its names in braces; empty where there is none."""
        found = self._exact.get(raw_path)
        if found is not None:
            return found, ()
        for pattern, routes in self._patterns.values():
            match = pattern.fullmatch(raw_path)
            if match is not None:
                return routes, tuple(one.decode() for one in match.groups())
        return {}, ()
