"""`surefoot serve`: the gateway of a configuration file."""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path
from typing import Any

from surefoot.config import DEFAULT_CONFIG, load
from surefoot.errors import Misconfigured


def add_serve(commands: Any) -> None:
    """The parser of `surefoot serve`."""
    says = "an OpenAI- and Anthropic-compatible service over the models of a configuration file"
    parser = commands.add_parser("serve", help=says, description=says)
    parser.add_argument("config", nargs="?", default=str(DEFAULT_CONFIG), metavar="FILE", help=f"settings (default {DEFAULT_CONFIG})")
    parser.add_argument("--host", help="listen on this address, whatever the file says")
    parser.add_argument("--port", type=int, help="listen on this port, whatever the file says")
    parser.set_defaults(run=_serve)


def _serve(args: argparse.Namespace) -> int:
    try:
        import httptools  # noqa: F401 - without it uvicorn would take a slower parser and say nothing

        from surefoot.gateway.server import serve
    except ModuleNotFoundError as error:
        raise Misconfigured(f'`surefoot serve` needs {error.name}, not installed here: run  pip install "surefoot[serve]"') from error
    from surefoot.gateway.app import Gateway
    from surefoot.gateway.records import KeyGrant
    from surefoot.gateway.services import StaticKeys
    from surefoot.gateway.settings import serve_settings

    models = load(Path(args.config))
    said = {name: value for name, value in (("host", args.host), ("port", args.port)) if value is not None}
    settings = serve_settings({**models.serve, **said})
    key = f"sf-{secrets.token_urlsafe(32)}"
    print(f"a key for this run: {key}", file=sys.stderr)
    serve(Gateway(models, StaticKeys({key: KeyGrant(key_id="first")}), settings))
    return 0
