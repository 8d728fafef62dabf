"""`surefoot ask` and `surefoot chat`: questions from a terminal, a pipe or files."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from surefoot.config import DEFAULT_CONFIG, load
from surefoot.discovery import look_around
from surefoot.errors import Misconfigured, SurefootError
from surefoot.models.chat import ChatModel
from surefoot.providers import registry
from surefoot.settings import Target
from surefoot.types import ChatReply, File, Image, Message, Part, Text

if TYPE_CHECKING:
    from surefoot.history import History

KEPT = Path(".surefoot/chats.db")
ENDS = ("/exit", "/quit")
PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp"}
PDF = ".pdf"


def _common() -> argparse.ArgumentParser:
    """What both commands take."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("-m", "--model", action="append", metavar="PROVIDER:MODEL", help="repeat for fallbacks, in order of preference")
    shared.add_argument("-u", "--base-url", metavar="URL", help="where the first model is, if not at the vendor's address")
    shared.add_argument("-c", "--config", metavar="FILE", help=f"settings (default {DEFAULT_CONFIG}, where there is one)")
    shared.add_argument("-n", "--name", default="default", help="which [chat.NAME] of the file")
    shared.add_argument("-s", "--system", metavar="TEXT", help="standing instructions")
    shared.add_argument("-t", "--temperature", type=_temperature, metavar="T", help="0 to 2; left out, the vendor decides")
    shared.add_argument("--max-tokens", type=_count, metavar="N", help="the longest answer")
    shared.add_argument("-v", "--verbose", action="store_true", help="target, tokens, cost and attempts on stderr")
    return shared


def add_ask(commands: Any) -> None:
    """The parser of `surefoot ask`."""
    ask = commands.add_parser("ask", parents=[_common()], help="ask one question and stream the answer")
    ask.add_argument("question", nargs="?", help="the question; - or left out: read from standard input")
    ask.add_argument("-f", "--file", action="append", type=Path, default=[], metavar="FILE", help="a text, picture or PDF; repeat for more")
    ask.add_argument("--json", action="store_true", help="one JSON object: text, target, usage, cost_usd, finish_reason, attempts")
    ask.set_defaults(run=_ask)


def add_chat(commands: Any) -> None:
    """The parser of `surefoot chat`."""
    chat = commands.add_parser("chat", parents=[_common()], help="hold a conversation")
    says = f"go on with this conversation, and keep it in {KEPT} (readable by you alone); without it nothing is written"
    chat.add_argument("--resume", nargs="?", const="default", metavar="NAME", help=says)
    chat.set_defaults(run=_chat)


def _count(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word} is no number of tokens, such as 200")
    return int(word)


def _temperature(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 2:
        raise argparse.ArgumentTypeError(f"{word} is no temperature: they go from 0 to 2")
    return value


def _model(args: argparse.Namespace) -> ChatModel:
    """The model that answers: the named one, the file's, or one whose key or server is found, which is then said."""
    if args.model:
        first = Target(args.model[0], base_url=args.base_url or "")
        return ChatModel(first, *args.model[1:])
    if args.base_url:
        raise Misconfigured("--base-url says where the first --model is; name one, such as --model openai:llama3")
    if args.config or DEFAULT_CONFIG.exists():
        return load(args.config or DEFAULT_CONFIG).chat(args.name)
    around = look_around()
    for hint in around.hints:
        print(f"note: {hint}", file=sys.stderr)
    if around.found is None:
        variables = ", ".join(entry.key_variables[0] for entry in registry.default_chats().values())
        raise Misconfigured(
            f"no model: name one with --model openai:gpt-5-mini, set a key ({variables}), or describe one in {DEFAULT_CONFIG} under "
            "[chat.default]"
        )
    print(f"{around.found.target.name} answers: {around.found.why}", file=sys.stderr)
    return ChatModel(around.found.target)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    wanted = {"temperature": args.temperature, "max_tokens": args.max_tokens}
    return {name: value for name, value in wanted.items() if value is not None}


def _ask(args: argparse.Namespace) -> int:
    text = _from_stdin() if args.question in (None, "-") else args.question
    if not text.strip() and not args.file:
        raise Misconfigured("no question: give one, or pipe one into standard input")
    content: list[Part | str] = [*(_attached(path) for path in args.file), *([text] if text.strip() else [])]
    question = Message.user(content if args.file else text)
    messages = [*([Message.system(args.system)] if args.system else []), question]
    with _model(args) as model:
        if args.json:
            print(msgspec.json.encode(_told(model.invoke(messages, **_options(args)))).decode())
            return 0
        return 0 if _ShownAnswer(model, messages, args).stream() is not None else 130


def _from_stdin() -> str:
    """The whole of standard input as text. Raises Misconfigured where it is not UTF-8."""
    if sys.stdin.isatty():
        print("(the question; Ctrl-D ends it)", file=sys.stderr)
    if not hasattr(sys.stdin, "buffer"):
        return sys.stdin.read()
    return _decoded(sys.stdin.buffer.read(), "standard input")


def _decoded(data: bytes, place: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Misconfigured(f"{place}, line {line}: not UTF-8; convert it, such as with  iconv -f WINDOWS-1254 -t UTF-8") from error


def _attached(path: Path) -> Part:
    """A file as a part of the question: a picture, a PDF, or its text under its name."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Misconfigured(f"{path}: cannot be read: {error.strerror}") from error
    ending = path.suffix.lower()
    if ending in PICTURES:
        return Image(data=data, media_type=PICTURES[ending])
    if ending == PDF:
        return File(data=data, name=path.name)
    if b"\0" in data:
        raise Misconfigured(f"{path}: neither text nor a picture ({', '.join(PICTURES)}) nor a PDF")
    return Text(f'<file name="{path.name}">\n{_decoded(data, str(path))}\n</file>')


def _told(reply: ChatReply) -> dict[str, Any]:
    """A reply as the fields that programs want."""
    names = ("text", "model", "target", "finish_reason", "usage", "cost_usd", "attempts", "request_id")
    told = {name: getattr(reply, name) for name in names}
    return {**told, "tool_calls": reply.message.tool_calls} if reply.message.tool_calls else told


def _chat(args: argparse.Namespace) -> int:
    with _model(args) as model:
        talk = _Conversation(args)
        print(f"{' -> '.join(model.targets)}; {ENDS[0]} or Ctrl-D ends, Ctrl-C stops an answer", file=sys.stderr)
        if args.resume:
            print(f"conversation {args.resume!r}: {len(talk.messages)} messages so far, kept in {KEPT}", file=sys.stderr)
        _edit_lines()
        while (text := _read()) is not None:
            question = Message.user(text)
            try:
                answer = _ShownAnswer(model, talk.window(question), args)
                answer.stream()
            except SurefootError as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
                continue  # the question stands outside the conversation until it is answered
            if answer.text or answer.reply is not None:
                talk.add(question, answer.reply.message if answer.reply is not None else Message.assistant(answer.text))
    return 0


def _edit_lines() -> None:
    """Arrow keys, earlier lines, and pasted text as one line: without the last, each pasted line would be a question of its own."""
    try:
        import readline
    except ImportError:  # Windows has its own line editing
        return
    readline.parse_and_bind("set enable-bracketed-paste on")


def _read() -> str | None:
    """The next thing said, None at the end. Blank lines say nothing, and Ctrl-C takes back what was typed."""
    while True:
        try:
            text = input("> ")
        except EOFError:
            return None
        except KeyboardInterrupt:
            print(f"\n({ENDS[0]} or Ctrl-D ends)", file=sys.stderr)
            continue
        except UnicodeDecodeError as error:
            print(f"not UTF-8, so not sent: {error.reason}", file=sys.stderr)
            continue
        if text.strip() in ENDS:
            return None
        if text.strip():
            return text


class _Conversation:
    """What was said so far, in memory or, with `--resume`, in a file too; standing instructions are said anew each time."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._standing = [Message.system(args.system)] if args.system else []
        self._name: str = args.resume or ""
        self._history: History | None = None
        self.messages: list[Message] = []
        """What was said, in order, without standing instructions."""
        if self._name:
            from surefoot.history import History

            KEPT.parent.mkdir(parents=True, exist_ok=True)
            self._history = History(KEPT)
            self.messages = self._history.all(self._name)

    def window(self, question: Message) -> Sequence[Message]:
        """What to ask with: as much of the conversation as fits, and the question."""
        if self._history is None:
            return [*self._standing, *self.messages, question]
        return [*self._standing, *self._history.window(self._name, question)]

    def add(self, *messages: Message) -> None:
        """Remember a question and its answer."""
        self.messages += messages
        if self._history is not None:
            self._history.add(self._name, *messages)


class _ShownAnswer:
    """One answer on its way to the terminal. Ctrl-C stops it; what was shown until then is kept as `text`."""

    def __init__(self, model: ChatModel, messages: Sequence[Message], args: argparse.Namespace) -> None:
        self._model, self._messages, self._args = model, messages, args
        self.text = ""
        """What was shown so far."""
        self.reply: ChatReply | None = None
        """The whole answer; None until it is there, and where it was stopped."""

    def stream(self) -> ChatReply | None:
        """Print the answer as it comes; returns it, or None if it was stopped."""
        try:
            with self._model.stream(self._messages, **_options(self._args)) as stream:
                for delta in stream:
                    self.text += delta.text
                    print(delta.text, end="", flush=True)
            self.reply = stream.reply
        except KeyboardInterrupt:
            print("\n(stopped)", file=sys.stderr)
            return None
        print()
        if self._args.verbose and self.reply is not None:
            print(_billed(self.reply), file=sys.stderr)
        return self.reply


def _billed(reply: ChatReply) -> str:
    cost = "price unknown" if reply.cost_usd is None else f"${reply.cost_usd:.6f}"
    tokens = f"{reply.usage.input_tokens} + {reply.usage.output_tokens} tokens"
    return f"[{reply.target or reply.model}: {tokens}, {cost}, {reply.attempts} attempts]"
