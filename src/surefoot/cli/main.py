"""The command `surefoot`: its subcommands, exit codes, and how errors are shown."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from surefoot import __version__
from surefoot.cli.ask import add_ask, add_chat
from surefoot.cli.backup import add_backup
from surefoot.cli.doctor import add_doctor
from surefoot.cli.jobs import add_jobs
from surefoot.cli.models import add_models
from surefoot.cli.parts import PARTS, run_part
from surefoot.cli.serve import add_serve
from surefoot.cli.usage import add_usage
from surefoot.errors import SurefootError

EXIT_CODES = {
    0: "done",
    1: "an error, told in one line on standard error",
    2: "words that the command does not know; what cannot be measured or compared (eval)",
    3: "done in part: files left out (rag index), a comparison that decides nothing (eval compare)",
    130: "interrupted by Ctrl-C",
    141: "the reader of the output went away, as in `surefoot ... | head -1`",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code, see EXIT_CODES."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):  # a letter that the terminal's encoding has not is shown as its escape, and ends nothing
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        if words and words[0] in PARTS:
            code = run_part(words[0], words[1:])
        else:
            args = _parser().parse_args(words)
            code = args.run(args)
        sys.stdout.flush()
    except SurefootError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        _let_go_of_stdout()
        return 141
    except OSError as error:
        print(f"{_place(error)}{error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return code


def _let_go_of_stdout() -> None:
    """Point standard output to nowhere, so that the interpreter's last flush does not meet the closed pipe again."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        try:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        except (OSError, ValueError):  # no file behind it, as in a notebook
            sys.stdout = sys.__stdout__


def _place(error: OSError) -> str:
    """The file that an error is about, as the beginning of a sentence; empty where it names none."""
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return f"{' -> '.join(names)}: " if names else ""


def _parser() -> argparse.ArgumentParser:
    codes = "; ".join(f"{code} {says}" for code, says in EXIT_CODES.items())
    parser = argparse.ArgumentParser(prog="surefoot", description="LLM calls that stay on their feet", epilog=f"exit codes: {codes}")
    parser.add_argument("--version", action="version", version=f"surefoot {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    for add in (add_ask, add_chat, add_models, add_doctor, add_usage, add_jobs, add_backup, add_serve):
        add(commands)
    for name, (_, _, says) in PARTS.items():
        commands.add_parser(name, help=says)
    return parser


if __name__ == "__main__":
    sys.exit(main())
