"""Paragraphs out of a PDF page's lines: a PDF stores where each line ends, not where each sentence goes on."""

from __future__ import annotations

import re
from itertools import pairwise

__all__ = ["unwrap"]

_ITEM = re.compile(r"\s*(?:[-*\u2022\u2013\u25aa\u25cf]|\d{1,3}[.)]|[a-z]\))\s")
_ENDED = re.compile(r"[.!?:\u2026][\"'\u201d\u2019)\]]*$")
_OPENS = re.compile(r"[\"'\u201c\u2018(\[]*[^\W_a-z\u00e7\u011f\u0131\u00f6\u015f\u00fc]")  # a capital or a digit
_SPACE = 0.85  # proportional fonts make lines of one width differ by about a tenth in characters
_TITLE = 0.6  # a heading seldom fills more of its line


def unwrap(page: str) -> str:
    """Join the lines of a page where the break was only the end of the paper.

    A break was forced when the next line's first word would not have fitted on the line before. Words cut by a hyphen are mended. A
    break that nothing forced becomes a blank line where a sentence had ended or a title stands alone, else it stays as it is.
    """
    lines = [line.rstrip() for line in page.split("\n")]
    lengths = sorted(len(line) for line in lines)
    width = lengths[int(len(lengths) * 0.95)]
    out = lines[0]
    for line, following in pairwise(lines):
        if not _forced(line, following, width):
            out += _break(line, following, width) + following
        elif re.search(r"[^\W\d_]-$", line) and following[:1].islower():
            out = out[:-1] + following
        else:
            out += " " + following.lstrip()
    return re.sub(r"\n{3,}", "\n\n", out).strip()


def _forced(line: str, following: str, width: int) -> bool:
    word = following.lstrip().split(" ", 1)[0]
    full = bool(line) and bool(word) and len(line) + 1 + len(word) > _SPACE * width
    return full and not _ITEM.match(following) and not (_ENDED.search(line) and _is_title(following, width))


def _break(line: str, following: str, width: int) -> str:
    apart = _ENDED.search(line) or _is_title(line, width)
    return "\n\n" if apart and _OPENS.match(following) and not _ITEM.match(following) else "\n"


def _is_title(line: str, width: int) -> bool:
    return bool(line) and len(line) < _TITLE * width and not line.endswith((".", "!", ",", ";")) and _OPENS.match(line) is not None
