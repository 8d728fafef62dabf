"""The doctor: what would go wrong, or does, as far as it shows without asking a provider."""

from __future__ import annotations

import platform
import time

from surefoot import runtime
from surefoot.errors import SurefootError
from surefoot.gateway.keys.store import KEYS
from surefoot.gateway.page.frame import PageRequest
from surefoot.gateway.records import WholeAnswer

LOOPBACK = ("127.0.0.1", "localhost", "::1")
Check = tuple[str, str, str]  # verdict ("ok", "warn", "fail"), what, and what is said of it


async def doctor(page: PageRequest) -> WholeAnswer:
    """The stores, the settings and the models' layers."""
    checks = [await _keys(page), await _ledger(page), _calls(page), *_settings(page), *_breakers(page)]
    models = [(kind, name, model.describe()) for (kind, name), model in page.services.built.items()]
    return page.html("doctor.html", checks=checks, models=models, python=platform.python_version())


async def _keys(page: PageRequest) -> Check:
    begun = time.perf_counter()
    try:
        await page.keys.database.run(lambda sql: sql.row("SELECT 1"), KEYS, reads=True)
    except SurefootError as error:
        return "fail", page.say("Keys"), str(error)
    took = page.formats.duration((time.perf_counter() - begun) * 1000)
    return "ok", page.say("Keys"), page.say("{place} answers in {took}", place=page.keys.describe(), took=took)


async def _ledger(page: PageRequest) -> Check:
    ledger, what = page.services.ledger, page.say("Ledger")
    if ledger is None:
        return "warn", what, page.say("[serve] ledger is empty: nothing is put down of what calls cost")
    try:
        aside = await runtime.in_thread(ledger.count_set_aside)
    except SurefootError as error:
        return "fail", what, str(error)
    if aside:
        return "warn", what, page.say("{place}: {aside} entries are set aside and in no sum", place=ledger.describe(), aside=aside)
    return "ok", what, page.say("{place} is read and written", place=ledger.describe())


def _calls(page: PageRequest) -> Check:
    calls, what = page.services.calls, page.say("Calls")
    if calls is None:
        return "warn", what, page.say("[serve] calls_days is 0: no call is kept for this page")
    if calls.dropped:
        return "warn", what, page.say("{number} calls found no room while the database was away", number=calls.dropped)
    return "ok", what, page.say("kept for {days} days, without prompts and answers", days=f"{calls.keep_days:g}")


def _settings(page: PageRequest) -> list[Check]:
    settings, what = page.services.settings, page.say("Address")
    checks: list[Check] = []
    if settings.host not in LOOPBACK and not settings.tls_certificate:
        said = page.say(
            "{host} without tls_certificate: keys cross the network in plain text, unless a proxy in front ends TLS", host=settings.host
        )
        checks.append(("warn", what, said))
    else:
        checks.append(("ok", what, f"{settings.host}:{settings.port}" + (", TLS" if settings.tls_certificate else "")))
    if settings.metrics == "open":
        checks.append(("warn", page.say("Metrics"), page.say("anybody may read /metrics: names of models and what they cost")))
    return checks


def _breakers(page: PageRequest) -> list[Check]:
    calls = page.services.calls
    return [
        ("fail", target, page.say("left alone since {at}: too many of its answers failed", at=page.formats.moment(since)))
        for target, since in (calls.open_breakers.items() if calls is not None else ())
    ]
