"""Which files of a folder are documents, and which are left out, with the reason.

Symbolic links are resolved: one that leads out of the folder is never followed (a shared folder must not pull in what lies beside it), one
to a file that is read anyhow is not read twice. A link into a hidden folder is read, since that is how Kubernetes mounts files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

__all__ = ["Skipped", "is_complete", "listed", "relative", "walk"]

NAMED = 5  # files named for one reason; a thousand pictures make no readable list

Kind = Literal["type", "alias", "unreadable", "link", "refused"]


class Skipped(NamedTuple):
    """A file that was left out, and why.

    `kind` is "type" (no document: a picture, a program), "alias" (a link to what is read under its own name), "unreadable" (a document
    whose text cannot be had), "link" (a link that is broken or leads out of the folder) or "refused" (a passage that the embedding model
    does not take).
    """

    source: str
    reason: str
    kind: Kind = "unreadable"


def walk(root: Path, types: Container[str]) -> tuple[list[Path], list[Skipped]]:
    """The files under `root` whose name ends in one of `types`, in the order of their names, and all that is left out.

    Names that begin with a dot are passed over in silence.
    """
    files: list[Path] = []
    skipped: list[Skipped] = []
    home = root.resolve()
    for path in sorted(_entries(root, skipped), key=lambda each: relative(each, root)):
        if (left_out := _left_out(path, home)) is not None:
            skipped.append(Skipped(relative(path, root), *left_out))
        elif path.suffix.lower() in types:
            files.append(path)
        else:
            skipped.append(Skipped(relative(path, root), f"files of type {path.suffix or 'none'} are not read", "type"))
    return files, skipped


def _entries(root: Path, skipped: list[Skipped]) -> Iterator[Path]:
    """Every file and every link to a folder; a folder that cannot be listed goes into `skipped`."""

    def refuse(error: OSError) -> None:
        skipped.append(Skipped(relative(Path(error.filename), root), f"the folder cannot be listed: {error.strerror}"))

    for folder, folders, names in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked = [name for name in folders if (Path(folder) / name).is_symlink()]
        yield from (Path(folder) / name for name in (*names, *linked) if not name.startswith("."))


def _left_out(path: Path, home: Path) -> tuple[str, Kind] | None:
    """Why a file is not read, whatever its type; None where it may be."""
    is_link = path.is_symlink()
    try:
        target = path.resolve(strict=True)
        mode = target.stat().st_mode
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        return ("a link to nothing", "link") if is_link else (f"it cannot be read: {getattr(error, 'strerror', error)}", "unreadable")
    if is_link:
        if not target.is_relative_to(home):
            return "a link out of the folder, which is not followed", "link"
        inside = target.relative_to(home)
        if stat.S_ISDIR(mode):
            return "a link to a folder whose files are read under their own names", "alias"
        if not any(part.startswith(".") for part in inside.parts):
            return "a link to a file that is read under its own name", "alias"
    return None if stat.S_ISREG(mode) else ("it is a device, pipe or socket, not a file", "unreadable")


def relative(file: Path, folder: Path) -> str:
    """The path of `file` from `folder`, with forward slashes; bytes that are no text are written out."""
    return os.fsencode(file.relative_to(folder).as_posix()).decode("utf-8", "backslashreplace")


def is_complete(skipped: Iterable[Skipped]) -> bool:
    """Whether every document was indexed: files of other types, and links to what is read anyhow, are no loss."""
    return all(one.kind in {"type", "alias"} for one in skipped)


def listed(skipped: Sequence[Skipped], *, known: Iterable[str]) -> str:
    """What was left out as lines for people, a reason a line, with the first files of each."""
    groups: dict[str, list[str]] = {}
    for one in skipped:
        groups.setdefault(one.reason, []).append(one.source)
    lines = [f"left out: {len(skipped)}"]
    for reason, sources in sorted(groups.items(), key=_by_weight(skipped)):
        more = f" and {len(sources) - NAMED} more" if len(sources) > NAMED else ""
        lines.append(f"  {reason}: {', '.join(sources[:NAMED])}{more}")
    if any(one.kind == "type" for one in skipped):
        lines.append(f"  (types that are read: {', '.join(sorted(known))})")
    return "\n".join(lines)


def _by_weight(skipped: Sequence[Skipped]) -> Callable[[tuple[str, list[str]]], tuple[bool, str]]:
    """Losses first, then files that are no documents."""
    kinds = {one.reason: one.kind for one in skipped}
    return lambda group: (kinds[group[0]] in {"type", "alias"}, group[0])
