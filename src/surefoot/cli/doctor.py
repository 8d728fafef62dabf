"""`surefoot doctor`: what would go wrong with the first real call, found before it is made.

For each target: its extra, its key (masked), its address, the clocks' difference, and one tiny call. For the installation: the versions of
the vendors' SDKs and the proxies. Nothing it says holds a key.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import re
import time
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

import msgspec
from msgspec import Struct

from surefoot._documented import Documented
from surefoot.cli.reach import Check, Verdict, reach
from surefoot.config import DEFAULT_CONFIG
from surefoot.credentials import keys_of, placed
from surefoot.errors import Misconfigured, SurefootError
from surefoot.facts import ours, provider_of
from surefoot.models.chat import ChatModel
from surefoot.models.embed import EmbedModel
from surefoot.providers import registry
from surefoot.providers.http.transport import address_of
from surefoot.secret import PLACEHOLDER, Secret
from surefoot.settings import Policy, Target

# What the extras allow of the frameworks: at least, and below. The vendors' SDKs stand in the tables of facts.
SUPPORTED = {"langchain-core": ((1, 7), (2, 0)), "llama-index-core": ((0, 14), (0, 15))}
CALL = Policy(attempts=1, deadline_s=60.0, first_token_s=45.0)
CALL_TOKENS = 16
# What people leave in place of a key, in examples and templates; compared in small letters, without marks.
PLACEHOLDERS = re.compile(
    r"(sk)?(your|my|the|insert|put|replace|enter|paste|add)?(openai|anthropic|gemini|google)?(api|secret)?(key|token)(here|goeshere)?"
    r"|change(me|it)|todo|fixme|dummy|placeholder|none|null|undefined|(sk)?x*"
)
QUOTES = "\"'`\u201c\u201d\u2018\u2019"
MIN_KEY = 16  # characters: the shortest that any house gives out are longer
REMEDIES = {  # what to do about an error of the trial call, by its class
    "AuthFailed": "make a new key, and see that it belongs to this address and may use this model",
    "QuotaExhausted": "add credit to the account, or raise its limit",
    "RateLimited": "wait a minute; if it stays, the account's limit is used up by others",
    "Overloaded": "the service fails inside: look at its status page, and name a fallback",
    "NotFound": "write a model that the address has",
    "AttemptTimedOut": "is the model still loading? ask again, or raise first_token_s",
    "MalformedReply": "what answers is not the API: is something in between?",
    "ConnectionLost": "ask again; if it stays, something in between cuts connections",
}


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
                remedy="" if is_fine else f'run  pip install "{package}>={".".join(map(str, least))},<{".".join(map(str, below))}"',
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
        placed_at = placed(target, entry)
        keys = keys_of(placed_at, entry)
        key = await keys.get() if keys is not None else None
    except SurefootError as error:
        return [Check(what="key", target=target.name, verdict="fail", says=str(error), remedy=_no_key(str(error)))]
    checks = [_key(placed_at, key)] if key is not None and key != PLACEHOLDER else []  # who needs none shows a placeholder
    address = address_of(placed_at) or entry.address
    if entry.address_variable and not target.base_url and placed_at.base_url not in {"", entry.address}:
        checks.append(Check(what="address", target=target.name, verdict="ok", says=f"{address}, from {entry.address_variable}"))
    models: tuple[str, ...] = ()
    if address and not _failed(checks):
        reached = await asyncio.to_thread(reach, placed_at, address, key)
        checks += reached.checks
        models = reached.models
    if not _failed(checks):
        checks.append(await _call(checked, models)) if calls else checks.extend(_listed(target, models))
    return checks


def _failed(checks: Sequence[Check]) -> bool:
    return any(check.verdict == "fail" for check in checks)


def _no_key(says: str) -> str:
    """What to do about a target that cannot be built; empty where the sentence says so itself."""
    return (
        ""
        if "set the environment variable" in says or "pip install" in says
        else "mend that setting, or write the key into the environment"
    )


def _key(target: Target, key: Secret) -> Check:
    """Whether the key looks like one: length and customary beginning are all that is said of it."""
    text = key.reveal()
    known = provider_of(target.provider)
    starts = known.key_starts if known is not None else ()
    begins = next((start for start in starts if text.startswith(start)), "")
    is_at_home = not target.base_url or (known is not None and target.base_url == known.address)
    wrong = _never_a_key(text) or (_no_key_of(target.provider, text, starts) if is_at_home else None)
    verdict, says, remedy = wrong or ("ok", "", "")
    return Check(what="key", target=target.name, verdict=verdict, says=f"{begins}**** ({len(text)} characters){says}", remedy=remedy)


def _never_a_key(text: str) -> tuple[Verdict, str, str] | None:
    """What is wrong with a key wherever it is shown; None where nothing is."""
    if text.strip(QUOTES) != text:
        return (
            "fail",
            ": stands in quotation marks, which are sent too",
            "write it without them: `docker -e` and some .env readers keep them",
        )
    if text.lower().startswith("bearer "):
        return "fail", ": begins with Bearer, which is added to it", "write the key alone"
    if not (text.isascii() and text.isprintable()) or " " in text:
        return "fail", ": holds spaces, line breaks or letters no header carries", "copy it once more, the key alone"
    return None


def _no_key_of(provider: str, text: str, starts: tuple[str, ...]) -> tuple[Verdict, str, str] | None:
    """What speaks against its being a key of the provider's own; None where nothing does."""
    letters = re.sub(r"[^a-z]", "", text.lower())
    if text.startswith(("$", "<", "{", "%")) or "..." in text or "***" in text or PLACEHOLDERS.fullmatch(letters):
        return "fail", ": is a placeholder, not a key", "write your own key in its place"
    if starts and not text.startswith(starts):
        whose = next((name for name, one in ours().items() if one.key_starts and text.startswith(one.key_starts)), "")
        looks = f", and this one looks like one of {whose}" if whose else ""
        return "warn", f": keys of {provider} begin with {' or '.join(starts)}{looks}", "was it pasted into the wrong variable?"
    if len(text) < MIN_KEY:
        return "warn", ": is shorter than keys are", "was it cut when it was copied?"
    return None


def _listed(target: Target, models: Sequence[str]) -> list[Check]:
    """A warning where the address lists models and this is none of them; aliases and dated names of one model count as one."""
    name = target.model
    if not models or any(one.startswith(name) or name.startswith(one) for one in models):
        return []
    says = f"the address lists {len(models)} models, and {name} is none of them"
    return [Check(what="model", target=target.name, verdict="warn", says=says, remedy=_instead(name, models))]


def _instead(name: str, models: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, models, n=3, cutoff=0.5) or sorted(models)[:3]
    return f"write one that it has, such as {', '.join(near)}"


async def _call(checked: CheckedTarget, models: Sequence[str]) -> Check:
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
        kind = type(last).__name__
        remedy = _instead(checked.target.model, models) if kind == "NotFound" and models else REMEDIES.get(kind, "")
        return Check(what=checked.kind, target=name, verdict="fail", says=f"{kind}: {last}", remedy=remedy)
    return Check(what=checked.kind, target=name, verdict="ok", says=f"{said}, {(time.monotonic() - started) * 1000:.0f} ms")


def targets_of(names: Sequence[str], base_url: str = "") -> list[CheckedTarget]:
    """Targets by name, the first one at `base_url`; none: the vendors' customary models for which a key is at hand.

    Raises Misconfigured if there is none either.
    """
    if base_url and not names:
        raise Misconfigured("--base-url says where the first --model is; name one, such as --model openai:llama3")
    if names:
        targets = [Target(name, base_url=base_url if n == 0 else "") for n, name in enumerate(names)]
        return [CheckedTarget(target=target, kind="embed" if "embed" in target.model else "chat") for target in targets]
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
    """The findings as lines, for people: a remedy below what it mends."""
    lines = []
    for check in checks:
        lines.append(f"{check.verdict:4}  {check.what:11} {f'{check.target}: ' if check.target else ''}{check.says}")
        if check.remedy:
            lines.append(f"{'':18}-> {check.remedy}")
    return "\n".join(lines)


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
    from surefoot.config import read

    if args.model or args.base_url or not (args.config or DEFAULT_CONFIG.exists()):
        targets = targets_of(args.model or (), args.base_url or "")
    else:
        models = read(args.config or DEFAULT_CONFIG)
        targets = [CheckedTarget(target=target, kind=kind) for kind in ("chat", "embed") for target in models.targets(kind)]
    checks = runtime.run(run_checks(targets, calls=not args.no_calls))
    print(msgspec.json.encode(checks).decode() if args.json else told(checks))
    return 1 if worst(checks) == "fail" else 0
