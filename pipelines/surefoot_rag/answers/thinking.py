"""What reasoning models write for themselves (`<think>...</think>`) is taken out before anybody sees, scores or remembers it.

Servers that do not split it off send it as part of the answer: with both tags, cut off before the closing one, or, where the chat template
opens it in the prompt, with the closing one alone.
"""

from __future__ import annotations

import re

__all__ = ["Thinking", "without_thinking"]

_NAMES = r"(?:think|thinking|thought|reasoning|reflection)"
_TAG = re.compile(rf"(?<!`)<(/?){_NAMES}>", re.IGNORECASE)  # in backquotes it is talked about
_BEGUN = re.compile(r"(?:`|`?</?[a-z]*)$", re.IGNORECASE)  # a tag may go on in the next piece
_LONGEST = len("`</reflection")


def without_thinking(text: str) -> str:
    """A whole text without its thinking; what was cut off within it is nothing."""
    taken = Thinking()
    return taken.feed(text) + taken.end()


class Thinking:
    """Takes thinking out of a text that comes in pieces: `feed` gives what is safe to show, `end` the rest.

    Thinking that the prompt opened cannot be told before its closing tag comes: then `restarts` goes up by one, and all that was given
    before was thinking.
    """

    def __init__(self) -> None:
        self._held = ""
        self._inside = False
        self._begun = False  # something was shown: white space before that is thinking's
        self.restarts = 0

    def feed(self, piece: str) -> str:
        """What can be shown now."""
        self._held += piece
        out, at = "", 0
        for tag in _TAG.finditer(self._held):
            if tag[1] and not self._inside:
                out, self._begun = "", False
                self.restarts += 1
            elif not tag[1] and not self._inside:
                out += self._held[at : tag.start()]
            self._inside = not tag[1]
            at = tag.end()
        rest = self._held[at:]
        begun = _BEGUN.search(rest, max(0, len(rest) - _LONGEST))
        keep = begun.start() if begun else len(rest)
        out += "" if self._inside else rest[:keep]
        self._held = rest[keep:]
        return self._trimmed(out)

    def end(self) -> str:
        """What was held back; nothing within thinking."""
        held, self._held = self._held, ""
        return "" if self._inside else self._trimmed(held)

    def _trimmed(self, text: str) -> str:
        text = text if self._begun else text.lstrip()
        self._begun = self._begun or bool(text)
        return text
