"""Where sentences begin and end, in prose and in Markdown, English and Turkish.

A rule, not a model: it is quick, has no data to install, and citations need spans that are the same every time.
"""

from __future__ import annotations

import re
from itertools import pairwise

__all__ = ["sentence_spans"]

_MARK = r"(?:\s*\[\d+(?:\s*[,\u2013-]\s*\d+)*\])"  # a citation after the full stop belongs to the sentence before it
_END = re.compile(
    rf"[.!?\u2026]+[\"'\u201d\u2019\u00bb)\]]*{_MARK}*(?=\s+[\"'\u201c\u2018\u00ab(\[]*[A-Z\u00c0-\u00dd\u011e\u0130\u015e0-9]|\s*\Z)"
)
_BLOCK = re.compile(
    r"\n[ \t]*\n"  # a blank line
    r"|\n(?=[ \t]*(?:[-*+\u2022]|\d{1,3}[.)]|#{1,6}|>|\||```)\s)"  # before a list item, heading, quotation or table row
    r"|(?<=\|)\n"  # after a table row
    r"|\n(?=\|)"
)
_HEADING_LINE = re.compile(r"^[ \t]*#{1,6}[ \t][^\n]*\n", re.MULTILINE)
_LEAD = re.compile(r"\s*(?:(?:[-*+\u2022>]|#{1,6}|\d{1,3}[.)])[ \t]+)*")  # what stands before the words of a list item or heading
_ABBREVIATION = re.compile(
    r"\b(?:e\.g|i\.e|etc|vs|cf|approx|nr|dr|mr|mrs|ms|prof|inc|ltd|fig|\u00f6rn|vb|vd|bkz|yy|\u015fti|a\.\u015f)\.$", re.IGNORECASE
)
_INITIAL = re.compile(r"(?<![\w'\u2019.])[A-Z\u00c7\u011e\u0130\u00d6\u015e\u00dc]\.$")  # "J. Dean"
_ORDINAL = re.compile(r"(?<![\d.,:])\b\d{1,2}\.$")  # Turkish: "3. madde"; in English a sentence may well end in 80.
_TURKISH = re.compile(r"[\u011f\u0131\u015f\u0130\u011e\u015e]")  # 7 % of Turkish prose; a name or two in other texts


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """List `[start, end)` of each sentence, in order, without surrounding white space or list marks.

    A heading, a list item and a table row each end where their line ends. Every letter lies in exactly one span.
    """
    turkish = len(_TURKISH.findall(text)) * 50 > len(text)
    runs_on = [_ABBREVIATION, _INITIAL, *([_ORDINAL] if turkish else [])]
    found: list[tuple[int, int]] = []
    for start, end in _blocks(text):
        at = start
        for match in _END.finditer(text, start, end):
            stop = match.start() + 1
            if not any(rule.search(text, max(at, stop - 12), stop) for rule in runs_on):
                found.append((at, match.end()))
                at = match.end()
        found.append((at, end))
    trimmed = (_trim(text, start, end) for start, end in found)
    return [(start, end) for start, end in trimmed if start < end]


def _blocks(text: str) -> list[tuple[int, int]]:
    cuts = {0, len(text)}
    cuts.update(match.end() for match in _BLOCK.finditer(text))
    cuts.update(match.end() for match in _HEADING_LINE.finditer(text))
    ordered = sorted(cuts)
    return list(pairwise(ordered))


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    lead = _LEAD.match(text, start, end)
    start = lead.end() if lead else start
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
