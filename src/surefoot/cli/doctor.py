"""`surefoot doctor`: what would go wrong with the first real call, found before it is made.

For each target: its extra, its key (masked), its address, the clocks' difference, and one tiny call. For the installation: the versions of
the vendors' SDKs and the proxies. Nothing it says holds a key.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from importlib import metadata
from ssl import SSLContext
from typing import Any, Literal
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener, getproxies

import msgspec
from msgspec import Struct

from surefoot._documented import Documented
from surefoot.config import DEFAULT_CONFIG
from surefoot.credentials import keys_of, placed
from surefoot.errors import Misconfigured, SurefootError
from surefoot.facts import provider_of
from surefoot.models.chat import ChatModel
from surefoot.models.embed import EmbedModel
from surefoot.providers import registry
from surefoot.providers.http.transport import OPTIONS, address_of, transport_of
from surefoot.secret import Secret
from surefoot.settings import Policy, Target

Verdict = Literal["ok", "warn", "fail"]
# What the extras allow of the frameworks: at least, and below. The vendors' SDKs stand in the tables of facts.
SUPPORTED = {"langchain-core": ((1, 7), (2, 0)), "llama-index-core": ((0, 14), (0, 15))}
REACH_S = 10.0
SKEW_S = 60.0  # beyond this signed requests and tokens with an expiry begin to fail
CALL = Policy(attempts=1, deadline_s=60.0, first_token_s=45.0)
CALL_TOKENS = 16


class Check(Struct, Documented, frozen=True, kw_only=True):
    """One thing looked at: what, of which target ("" for the installation), the verdict, and a sentence."""

    what: str
    """What was looked at, in a word or two."""
    target: str = ""
    """Of which target, as "provider:model"; empty: of the installation."""
    verdict: Verdict
    """Whether it is as it should be."""
    says: str
    """A sentence: what was found and, if need be, what to do."""


class CheckedTarget(Struct, Documented, frozen=True, kw_only=True):
    """A target to look at, and what it is for."""

    target: Target
    """The target to look at."""
    kind: Literal["chat", "embed"] = "chat"
    """What it is used for: "chat" or "embed"."""


async def run_checks(targets: Sequence[CheckedTarget], *, calls: bool = True) -> list[Check]:
    """Look at everything; targets side by side. `calls=False` sends no request that could cost anything."""
    found = [*_versions(), _proxies()]
    for checks in await asyncio.gather(*(_target(checked, calls=calls) for checked in targets)):
        found += checks
    return found


def _versions() -> list[Check]:
    checks = []
    vendors = {one.package: one.versions for one in registry.PROVIDERS.values() if one.package}
    for package, (least, below) in {**vendors, **SUPPORTED}.items():
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        numbers = tuple(int(word) for word in version.split(".")[:2] if word.isdecimal())
        is_fine = least <= numbers < below
        wanted = f"{'.'.join(map(str, least))} or later, below {'.'.join(map(str, below))}"
        checks.append(
            Check(
                what="version",
                verdict="ok" if is_fine else "fail",
                says=f"{package} {version}" + ("" if is_fine else f"; {wanted} is supported"),
            )
        )
    return checks


def _proxies() -> Check:
    """The system's proxies, without the passwords in them."""
    named = []
    for scheme, address in sorted(getproxies().items()):
        parts = urlsplit(address if "://" in address else f"//{address}")
        named.append(f"{scheme} by {parts.hostname}:{parts.port or 80}" if scheme != "no" else f"none for {address}")
    return Check(what="proxy", verdict="ok", says="; ".join(named) or "none")


async def _target(checked: CheckedTarget, *, calls: bool) -> list[Check]:
    target = checked.target
    try:
        entry = registry.provider(target.provider, lane=target.lane, model=target.model)
        target = placed(target, entry)
        keys = keys_of(target, entry)
        key = await keys.get() if keys is not None else None
    except SurefootError as error:
        return [Check(what="key", target=target.name, verdict="fail", says=str(error))]
    checks = [_key(target, key)] if key is not None else []
    address = address_of(target) or entry.address
    if address:
        checks += await asyncio.to_thread(_reach, target, address)
    if calls and not any(check.verdict == "fail" for check in checks):
        checks.append(await _call(checked))
    return checks


def _key(target: Target, key: Secret) -> Check:
    """Whether the key looks like one: length and customary beginning are all that is said of it."""
    size = len(key.reveal())
    known = provider_of(target.provider)
    starts = known.key_starts if known is not None else ()
    begins = next((start for start in starts if key.reveal().startswith(start)), "")
    masked = f"{begins}**** ({size} characters)"
    if not (key.reveal().isascii() and key.reveal().isprintable()) or " " in key.reveal():
        return Check(
            what="key", target=target.name, verdict="fail", says=f"{masked}: holds spaces, line breaks or letters no header carries"
        )
    if starts and not begins and not target.base_url:
        return Check(
            what="key", target=target.name, verdict="warn", says=f"{masked}: keys of {target.provider} begin with {' or '.join(starts)}"
        )
    return Check(what="key", target=target.name, verdict="ok", says=masked)


def _opener(target: Target, address: str) -> OpenerDirector:
    """What opens the address the way the target's calls go: its proxy, its CA file, its client certificate."""
    options = {**OPTIONS, **{name: value for name, value in target.options if name in OPTIONS}}
    tls = transport_of(target, options, address).tls
    proxy = options["proxy"]
    handlers: list[Any] = [] if proxy is None else [ProxyHandler({urlsplit(address).scheme: proxy} if proxy else {})]
    return build_opener(*handlers, *([HTTPSHandler(context=tls)] if isinstance(tls, SSLContext) else []))


def _reach(target: Target, address: str) -> list[Check]:
    """Ask the address for anything, without the key: whatever it answers, it is there, and its Date tells the time."""
    name, started = target.name, time.monotonic()
    if urlsplit(address).scheme not in {"http", "https"}:
        return [Check(what="address", target=name, verdict="fail", says=f"{address} begins with neither http:// nor https://")]
    try:
        asked = Request(address, headers={"user-agent": "surefoot"})  # noqa: S310 - the scheme was looked at
        with _opener(target, address).open(asked, timeout=REACH_S) as answer:
            status, date = answer.status, answer.headers.get("date")
    except HTTPError as error:
        status, date = error.code, error.headers.get("date")
        error.close()
    except Misconfigured as error:
        return [Check(what="address", target=name, verdict="fail", says=str(error))]
    except (OSError, ValueError, HTTPException) as error:
        return [Check(what="address", target=name, verdict="fail", says=f"{address} cannot be reached: {error}")]
    took_ms = (time.monotonic() - started) * 1000
    checks = [Check(what="address", target=name, verdict="ok", says=f"{address} answers in {took_ms:.0f} ms (HTTP {status})")]
    clock = _clock(name, date) if date else None
    return checks if clock is None else [*checks, clock]


def _clock(name: str, date: str) -> Check | None:
    """How far this machine's clock is from the server's; None if the server's date is none."""
    try:
        skew_s = time.time() - parsedate_to_datetime(date).timestamp()  # noqa: TID251 - the wall clock is what is looked at
    except ValueError:
        return None
    return Check(what="clock", target=name, verdict="ok" if abs(skew_s) <= SKEW_S else "warn", says=f"{skew_s:+.0f} s against the server")


async def _call(checked: CheckedTarget) -> Check:
    name = checked.target.name
    started = time.monotonic()
    try:
        if checked.kind == "embed":
            embedded = await EmbedModel(checked.target, policy=CALL).areply(["ok"])
            said = f"{embedded.vectors.shape[1]} dimensions"
        else:
            reply = await ChatModel(checked.target, policy=CALL).ainvoke("Say: ok", max_tokens=CALL_TOKENS)
            said = f"{reply.model or name}, {reply.usage.input_tokens} + {reply.usage.output_tokens} tokens, {reply.finish_reason}"
    except SurefootError as error:
        last = getattr(error, "last", error)
        return Check(what=checked.kind, target=name, verdict="fail", says=f"{type(last).__name__}: {last}")
    return Check(what=checked.kind, target=name, verdict="ok", says=f"{said}, {(time.monotonic() - started) * 1000:.0f} ms")


def targets_of(names: Sequence[str]) -> list[CheckedTarget]:
    """Targets by name; none: the vendors' customary models for which a key is at hand. Raises Misconfigured if there is none either."""
    if names:
        return [CheckedTarget(target=Target(name), kind="embed" if "embed" in name else "chat") for name in names]
    found = []
    for name, entry in registry.default_chats().items():
        target = Target(name)
        try:
            keys_of(target, entry)
        except Misconfigured:
            continue
        found.append(CheckedTarget(target=target))
    if not found:
        variables = ", ".join(entry.key_variables[0] for entry in registry.default_chats().values())
        raise Misconfigured(f"nothing to look at: name a model with --model, a file with --config, or set a key: {variables}")
    return found


def worst(checks: Sequence[Check]) -> Verdict:
    """The gravest verdict."""
    verdicts = {check.verdict for check in checks}
    return "fail" if "fail" in verdicts else "warn" if "warn" in verdicts else "ok"


def told(checks: Sequence[Check]) -> str:
    """The findings as lines, for people."""
    return "\n".join(f"{check.verdict:4}  {check.what:8} {f'{check.target}: ' if check.target else ''}{check.says}" for check in checks)


def add_doctor(commands: Any) -> None:
    """The parser of `surefoot doctor`."""
    look = commands.add_parser("doctor", help="look at keys, addresses, versions, clocks and models before they are needed")
    look.add_argument("-m", "--model", action="append", metavar="PROVIDER:MODEL", help="look at this one; repeat for more")
    look.add_argument("-u", "--base-url", metavar="URL", help="where the first --model is, if not at the vendor's address")
    look.add_argument("-c", "--config", metavar="FILE", help=f"look at all targets of this file (default {DEFAULT_CONFIG})")
    look.add_argument("--no-calls", action="store_true", help="make no call that costs anything")
    look.add_argument("--json", action="store_true", help="for programs")
    look.set_defaults(run=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    from surefoot import runtime
    from surefoot.config import load

    if args.model or not (args.config or DEFAULT_CONFIG.exists()):
        targets = targets_of(args.model or ())
    else:
        models = load(args.config or DEFAULT_CONFIG)
        targets = [CheckedTarget(target=target, kind=kind) for kind in ("chat", "embed") for target in models.targets(kind)]
    checks = runtime.run(run_checks(targets, calls=not args.no_calls))
    print(msgspec.json.encode(checks).decode() if args.json else told(checks))
    return 1 if worst(checks) == "fail" else 0
