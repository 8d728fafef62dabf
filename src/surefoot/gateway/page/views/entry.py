"""Signing in with an admin's key, or, at the first start, with the set-up token, which makes one."""

from __future__ import annotations

from surefoot.gateway.page.frame import PageRequest
from surefoot.gateway.records import WholeAnswer


async def form(page: PageRequest) -> WholeAnswer:
    """The form."""
    return page.to("/ui") if page.session is not None else page.html("entry.html", wrong="", secret="")


async def sign_in(page: PageRequest) -> WholeAnswer:
    """Begin a session. A set-up token is used up, and the key that it makes is shown this once."""
    said = page.form.get("secret", "").strip()
    if said.startswith("setup-"):
        record, secret = await page.keys.set_up(said)
        page.sign_in(await page.sessions.begin(record.id))
        return page.html("entry.html", wrong="", secret=secret)
    grant = await page.keys.find(said) if said else None
    if grant is None or not grant.is_admin:
        return page.html("entry.html", status=401, wrong=page.say("This is no admin's key."), secret="")
    page.sign_in(await page.sessions.begin(grant.key_id))
    return page.to("/ui")


async def sign_out(page: PageRequest) -> WholeAnswer:
    """End the session."""
    if page.session is not None:
        await page.sessions.end(page.session)
    page.sign_out()
    return page.to("/ui/sign-in")
