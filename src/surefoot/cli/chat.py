"""`surefoot ask` and `surefoot chat`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from surefoot.config import DEFAULT_CONFIG
from surefoot.errors import Misconfigured, SurefootError
from surefoot.models.chat import ChatModel
from surefoot.settings import Target
from surefoot.types import Message


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
