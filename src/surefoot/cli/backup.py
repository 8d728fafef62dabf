"""`surefoot backup` and `surefoot restore`: copies of what is kept in a database."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surefoot.secret import Secret


def add_backup(commands: Any) -> None:
    """The parsers of both commands."""
    backup = commands.add_parser("backup", help="copy a ledger, conversations and jobs into a file, while everybody works on")
    backup.add_argument("url", help="sqlite:PATH or postgresql://...")
    backup.add_argument("--to", type=Path, required=True, metavar="FILE", help="a new file, such as monday.gz")
    backup.set_defaults(run=_backup)
    restore = commands.add_parser("restore", help="put such a copy into a database, of either kind")
    restore.add_argument("file", type=Path, help="what `surefoot backup` wrote")
    restore.add_argument("--to", required=True, metavar="URL", help="sqlite:PATH or postgresql://...")
    restore.add_argument("--replace", action="store_true", help="delete what is there of the same tables")
    restore.set_defaults(run=_restore)


def _backup(args: argparse.Namespace) -> int:
    from surefoot.backup import back_up

    return _told(back_up(Secret(args.url), args.to))


def _restore(args: argparse.Namespace) -> int:
    from surefoot.backup import restore

    return _told(restore(args.file, Secret(args.to), replace=args.replace))


def _told(counts: Mapping[str, int]) -> int:
    for name, count in counts.items():
        if count:
            print(f"{name}: {count:,}")
    return 0
