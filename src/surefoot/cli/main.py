"""The command `surefoot`: its subcommands, exit codes, and how errors are shown."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from surefoot import __version__
from surefoot.cli.chat import _ask, _chat
from surefoot.cli.doctor import _doctor
from surefoot.cli.jobs import add_jobs
from surefoot.cli.parts import PARTS, run_part
from surefoot.cli.serve import add_serve
from surefoot.cli.usage import _usage
from surefoot.config import DEFAULT_CONFIG
from surefoot.errors import SurefootError
from surefoot.usage.ledger import DEFAULT_LEDGER


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 an error told on stderr, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words and words[0] in PARTS:
            return run_part(words[0], words[1:])
        args = _parser().parse_args(words)
        return args.run(args)  # type: ignore[no-any-return]
    except SurefootError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="surefoot", description="LLM calls that stay on their feet")
    parser.add_argument("--version", action="version", version=f"surefoot {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("-m", "--model", action="append", metavar="PROVIDER:MODEL", help="repeat for fallbacks, in order of preference")
    shared.add_argument("-u", "--base-url", metavar="URL", help="where the first model is, if not at the vendor's address")
    shared.add_argument("-c", "--config", metavar="FILE", help=f"settings (default {DEFAULT_CONFIG})")
    shared.add_argument("-n", "--name", default="default", help="which [chat.NAME] of the file")
    shared.add_argument("-s", "--system", metavar="TEXT", help="standing instructions")
    shared.add_argument("-v", "--verbose", action="store_true", help="target, tokens, cost and attempts on stderr")
    ask = commands.add_parser("ask", parents=[shared], help="ask one question and stream the answer")
    ask.add_argument("question", help="the question, or - to read it from standard input")
    ask.set_defaults(run=_ask)
    chat = commands.add_parser("chat", parents=[shared], help="hold a conversation")
    chat.set_defaults(run=_chat)
    usage = commands.add_parser("usage", help="tokens, money and cache savings from a ledger")
    usage.add_argument("--ledger", default=str(DEFAULT_LEDGER), metavar="PLACE", help=f"default {DEFAULT_LEDGER}; or postgresql://...")
    usage.add_argument("--by", action="append", metavar="WORD", help="day, target, tenant or tag:NAME; repeat to split further")
    usage.add_argument("--since", metavar="YYYY-MM-DD", help="leave out earlier days (UTC)")
    usage.add_argument("--format", choices=("table", "csv", "chart"), default="table")
    usage.set_defaults(run=_usage)
    look = commands.add_parser("doctor", help="look at keys, addresses, versions, clocks and models before they are needed")
    look.add_argument("-m", "--model", action="append", metavar="PROVIDER:MODEL", help="look at this one; repeat for more")
    look.add_argument("-c", "--config", metavar="FILE", help=f"look at all targets of this file (default {DEFAULT_CONFIG})")
    look.add_argument("--no-calls", action="store_true", help="make no call that costs anything")
    look.add_argument("--json", action="store_true", help="for programs")
    look.set_defaults(run=_doctor)
    add_jobs(commands)
    add_serve(commands)
    for name, (_, _, says) in PARTS.items():
        commands.add_parser(name, help=says)
    return parser


if __name__ == "__main__":
    sys.exit(main())
