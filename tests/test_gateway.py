"""The gateway's parts by themselves: the table of routes, admission, settings."""

from __future__ import annotations

import asyncio

import pytest

from surefoot.errors import Misconfigured
from surefoot.gateway.admission import AdmissionQueue
from surefoot.gateway.errors import HttpError
from surefoot.gateway.router import Router
from surefoot.gateway.routes import ROUTES
from surefoot.gateway.settings import serve_settings

OTHER_SPELLINGS = [
    b"//v1/models", b"/v1//models", b"/v1/models/", b"/V1/models", b"/v1/./models", b"/v1/x/../models", b"/v1/%6dodels", b"/v1/models;a=b",
    b"/v1/models%2f", b"/%2fv1/models", b"/v1/models/..", b"/v1/models/%2e%2e", b"/v1/models/a/b", b"/v1/models%00", b"/v1\\models", b"",
    b"/health/live/", b"/HEALTH/live", b"/v1/models/.hidden", b"/v1/models\n",
]  # fmt: skip


@pytest.mark.parametrize("path", OTHER_SPELLINGS)
def test_another_spelling_of_a_path_is_no_route(path: bytes):
    """What a proxy before us may read otherwise than we do must not exist."""
    assert Router(ROUTES).find(path) == ({}, ())


def test_every_route_is_closed_unless_it_says_open():
    """A new route wants a key by default; open are the probes, what takes the one-time token, how to ask, and the form to sign in."""
    assert {route.path for route in ROUTES if route.access == "open"} == {
        "/health/live", "/health/ready", "/admin/setup", "/openapi.json", "/ui/page.css", "/ui/sign-in"
    }  # fmt: skip
    assert all(route.admits for route in ROUTES if route.access in {"key", "admin"} and route.name != "metrics")
    assert {route.access for route in ROUTES if route.path.startswith("/ui")} == {"open", "session"}


@pytest.mark.looptime
async def test_who_waits_too_long_or_too_many_are_refused():
    """The bound on the queue holds, places go in order, and one who leaves takes none with him."""
    admission = AdmissionQueue(most=1, queue=2, queue_s=5.0)
    assert admission.enter()
    first, second = asyncio.ensure_future(admission.wait()), asyncio.ensure_future(admission.wait())
    await asyncio.sleep(0)
    with pytest.raises(HttpError) as refused:
        await admission.wait()
    assert (refused.value.status, dict(refused.value.headers)[b"retry-after"]) == (503, b"1")
    first.cancel()
    await asyncio.sleep(0)
    admission.leave()
    await second
    assert (admission.in_flight, admission.queued) == (1, 0)
    with pytest.raises(HttpError):
        await admission.wait()
    admission.leave()
    assert (admission.in_flight, admission.queued) == (0, 0)


@pytest.mark.looptime
async def test_a_place_given_to_who_has_just_left_is_given_on():
    """The cancellation and the place may come in the same turn of the loop."""
    admission = AdmissionQueue(most=1, queue=2, queue_s=5.0)
    assert admission.enter()
    waiting = asyncio.ensure_future(admission.wait())
    await asyncio.sleep(0)
    admission.leave()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert admission.in_flight == 0


@pytest.mark.parametrize("said", [{"prot": 1}, {"port": -1}, {"cors_origins": ["*"]}, {"tls_key": "k.pem"}, {"queue_s": -1}, {"port": "x"}])
def test_a_setting_that_cannot_be_meant_is_refused(said: dict[str, object]):
    """At the start, naming the key."""
    with pytest.raises(Misconfigured, match=next(iter(said))):
        serve_settings(said)
