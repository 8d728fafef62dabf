"""`surefoot ask` and `surefoot chat`: the models from the command line."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from surefoot import __version__
from surefoot.errors import Misconfigured, SurefootError
from surefoot.model import ChatModel
from surefoot.target import Target
from surefoot.text import one_line
from surefoot.types import Message

DEFAULT_CONFIG = Path("surefoot.toml")
DEFAULT_LEDGER = Path(".surefoot/usage.db")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 an error told on stderr, 130 interrupted."""
    args = _parser().parse_args(argv)
    try:
        return args.run(args)  # type: ignore[no-any-return]
    except SurefootError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _model(args: argparse.Namespace) -> ChatModel:
    if args.model:
        first = Target(args.model[0], base_url=args.base_url or "")
        return ChatModel(first, *args.model[1:])
    if args.base_url:
        raise Misconfigured("--base-url says where the first --model is; name one, such as --model openai:llama3")
    config = Path(args.config) if args.config else DEFAULT_CONFIG
    if not config.exists():
        raise Misconfigured(f"no model: name one with --model openai:gpt-5-mini, or describe it in {config} under [chat.default]")
    from surefoot.config import load

    return load(config).chat(args.name)


def _ask(args: argparse.Namespace) -> int:
    text = args.question if args.question != "-" else sys.stdin.read()
    messages = [Message.system(args.system)] if args.system else []
    _say(_model(args), [*messages, Message.user(text)], verbose=args.verbose)
    return 0


def _chat(args: argparse.Namespace) -> int:
    model = _model(args)
    print(f"{' -> '.join(model.targets)}; an empty line or Ctrl-D ends", file=sys.stderr)
    messages = [Message.system(args.system)] if args.system else []
    while True:
        try:
            text = input("> ")
        except EOFError:
            return 0
        if not text.strip():
            return 0
        messages.append(Message.user(text))
        try:
            reply = _say(model, messages, verbose=args.verbose)
        except SurefootError as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            messages.pop()  # the question stands outside the conversation until it is answered
            continue
        messages.append(reply.message)


def _say(model: ChatModel, messages: list[Message], *, verbose: bool) -> Any:
    with model.stream(messages) as stream:
        for delta in stream:
            print(delta.text, end="", flush=True)
    print()
    reply = stream.reply
    if verbose and reply is not None:
        cost = "price unknown" if reply.cost_usd is None else f"${reply.cost_usd:.6f}"
        usage = reply.usage
        print(
            f"[{reply.target or reply.model}: {usage.input_tokens} + {usage.output_tokens} tokens, {cost}, {reply.attempts} attempts]",
            file=sys.stderr,
        )
    return reply


def _usage(args: argparse.Namespace) -> int:
    from surefoot.ledger import Ledger

    if not args.ledger.exists():
        raise Misconfigured(f"no ledger {args.ledger}: name one with --ledger, and let a model write it with ledger=...")
    by = args.by or ["day"]
    ledger = Ledger(args.ledger)
    rows = ledger.sums(by=by, since_day=args.since or "")
    if aside := ledger.count_set_aside():
        print(f"{aside} entries of {args.ledger} are set aside and in no sum: see its table set_aside", file=sys.stderr)
    heads = (*by, "attempts", "cache_hits", "input_tokens", "output_tokens", "cost_usd", "saved_usd", "estimated", "unpriced")
    lines = []
    for one in rows:
        money = (f"{one.cost_usd:.6f}", f"{one.saved_usd:.6f}")
        tokens = (one.input_tokens, one.output_tokens)
        lines.append((*map(one_line, one.group), one.attempts, one.cache_hits, *tokens, *money, one.estimated, one.unpriced))
    if args.format == "csv":
        csv.writer(sys.stdout).writerows([heads, *lines])
    elif args.format == "chart":
        most = max((one.cost_usd for one in rows), default=0.0) or 1.0
        names = [one_line(" ".join(one.group)) for one in rows]
        wide = max(map(len, names), default=0)
        for name, one in zip(names, rows, strict=True):
            print(f"{name:{wide}}  ${one.cost_usd:<12.6f} {'█' * max(1, round(40 * one.cost_usd / most))}")
    else:
        widths = [max(len(str(line[n])) for line in [heads, *lines]) for n in range(len(heads))]
        for line in [heads, *lines]:
            print("  ".join(f"{cell!s:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from surefoot import doctor, runtime
    from surefoot.config import load

    if args.model or not (args.config or DEFAULT_CONFIG.exists()):
        patients = doctor.patients_of(args.model or ())
    else:
        models = load(args.config or DEFAULT_CONFIG)
        patients = [doctor.Patient(target=target, kind=kind) for kind in ("chat", "embed") for target in models.targets(kind)]
    checks = runtime.run(doctor.examine(patients, calls=not args.no_calls))
    print(msgspec.json.encode(checks).decode() if args.json else doctor.told(checks))
    return 1 if doctor.worst(checks) == "fail" else 0


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
    usage.add_argument("--ledger", type=Path, default=DEFAULT_LEDGER, metavar="FILE", help=f"default {DEFAULT_LEDGER}")
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
    return parser


if __name__ == "__main__":
    sys.exit(main())
