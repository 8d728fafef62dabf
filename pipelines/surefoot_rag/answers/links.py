"""No link leaves in an answer unless its host is allowed.

A poisoned document can make a model write one, and a click, or a picture that a chat window loads by itself, carries the conversation away.

Found as people hide them: Markdown and HTML, bare addresses, `hxxp`, `[.]` and "(dot)", letters that only look like ASCII, invisible
characters, HTML entities, spelled out with spaces. What is found is replaced by a note; the words around it stay.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection
from html import unescape

__all__ = ["Links", "plain"]

NOTES = {"en": "[link removed]", "tr": "[bağlantı çıkarıldı]"}
HOLD_CHARS = 2000  # of a line without an end; a stream gives out what it has then

_TLDS = (
    "com|net|org|info|biz|edu|gov|mil|int|io|ai|co|me|tv|cc|xyz|top|site|online|shop|store|club|live|link|click|icu|app|dev|page|cloud|"
    "space|website|tech|pro|eu|uk|de|fr|nl|it|es|pl|se|no|fi|dk|ch|at|be|cz|gr|pt|ie|ru|ua|cn|jp|kr|in|br|tr|us|ca|au|nz|za|ir|il|tk|ml|ga|"
    "su|ws|to|ly|gl|gg|example|onion"
)
_NAMED = r"\s?(?:\.|dot|nokta)\s?"
_HIDDEN_DOT = re.compile(rf"(?<=\w)\s?(?:\[{_NAMED}\]|\({_NAMED}\)|\{{{_NAMED}\}})\s?(?=\w)", re.IGNORECASE)
_DOT = r"(?:\.|\s(?:dot|nokta)\s|\s\.\s?)"
# A capital after a full stop is the next sentence with its space lost, as PDFs lose them; hosts are written small, or shouted.
_LABEL, _MORE, _EIGHT = r"[^\W_](?:[\w-]{0,61}[^\W_])?", r"[\w-]{1,63}", "{0,8}?"
_HOST = rf"{_LABEL}(?:{_DOT}{_MORE}){_EIGHT}{_DOT}(?:(?-i:{_TLDS})|(?-i:{_TLDS.upper()}))"
_PATH = r"(?::\d{1,5})?(?:[/?#][^\s<>\"'`)\]]*)?"
_NAME = r"(?:[\w.+-]{1,64}(?:@|\s?[\[(]\s?at\s?[\])]\s?))?"  # before an @
_BARE = re.compile(rf"(?<![\w@]){_NAME}(?P<host>{_HOST})(?![\w-])(?!\.\w){_PATH}", re.IGNORECASE)
_SCHEME = re.compile(
    r"[a-z][a-z0-9+.-]{1,15}\s?(?:\[:\]|:)\s?(?:/|\\){2}\s?(?P<host>[^\s/\\?#<>\"'`)\]]*(?:\[\.\][^\s/\\?#<>\"'`)\]]*)*)[^\s<>\"'`)\]]*"
    r"|(?<![\w])(?:javascript|vbscript|mailto|tel|sms|blob|intent):(?P<rest>[^\s<>\"'`)\]]+)"
    r"|(?<![\w])data:[a-z]+/[^\s<>\"'`)]+"
    r"|(?<![\w:/\\])(?://(?=[^\s/]*\.)|\\\\(?=[^\s\\]+\\))(?P<bare>[^\W_][\w.-]*)[^\s<>\"'`)\]]*",
    re.IGNORECASE,
)
_MARKDOWN = re.compile(r"!?\[([^\]\n]{0,300})\]\s?\(\s*<?([^()\s<>]*(?:\([^()\s]*\))?[^()\s<>]*)>?(?:\s+[\"'(][^)\n]*)?\s*\)")
_PICTURE_OR_REFERENCE = re.compile(r"!\[([^\]\n]{0,300})\](?:\[[^\]\n]*\])?")
_TAG = re.compile(
    r"</?(?:a|area|audio|base|body|button|embed|form|frame|frameset|head|html|iframe|image|img|input|link|meta|math|object|picture|script|source|"
    r"style|svg|template|track|video)\b[^>]*(?:>|$)",
    re.IGNORECASE,
)
_SPELLED = re.compile(  # e v i l . c o m / x
    r"(?<![\w])(?:[^\W_][ ]){2,}[^\W_]?[ ]?(?:\.|dot|nokta)[ ]?(?:[^\W_][ ]){1,}[^\W_](?![\w])(?:[ ]?/[ ]?(?:[\w?=&%-][ ]?)*)?"
)
_ENTITY = re.compile(  # escaped once, or again and again: a model repeats what it saw, and what it saw was escaped
    r"&(?:(?:amp|#38|#x26);)*(?P<name>#x?[0-9a-f]{1,7}|colon|sol|period|bsol|num|commat|Tab|NewLine|lpar|rpar|lsqb|rsqb);?", re.IGNORECASE
)
_TRACK = re.compile(r"(?<=[.!?\u2026])[\"'\u201d\u2019)\]]*\s+(?=[^\sa-z\u0131\u015f\u011f\u00e7\u00f6\u00fc.])|\n")
_LOOKALIKE = re.compile(
    r"[\uff0e\uff1a\uff0f\uff20\uff3c\uff1c\uff1e\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\ufe52\ufe55\ufe64\ufe65\ufe6b\u2024\u3002\uff61"
    r"\u2460-\u249b\u24b6-\u24ea\U0001d400-\U0001d7ff\U0001f110-\U0001f189\u2044\u2215\u2236\ua789]"
)
_SAME = {"\u3002": ".", "\uff61": ".", "\u2215": "/", "\u2044": "/", "\u2236": ":", "\ua789": ":"}


def plain(text: str) -> str:
    """`text` without what cannot be seen (tags, directions, zero widths) and with letters that only look like ASCII written in ASCII.

    The two joiners stay where they stand between letters that are not Latin: Persian, Indic scripts and emoji need them.
    """
    kept = (char for at, char in enumerate(text) if unicodedata.category(char) != "Cf" or _joins(text, at))
    return _LOOKALIKE.sub(lambda match: _SAME.get(match[0]) or unicodedata.normalize("NFKC", match[0]), "".join(kept))


def _joins(text: str, at: int) -> bool:
    return text[at] in "\u200c\u200d" and 0 < at < len(text) - 1 and min(text[at - 1], text[at + 1]) > "\u02ff"


class Links:
    """Takes links out of a text that comes in pieces: `feed` gives what is safe to show, `end` the rest.

    Works by sentence and line, so pieces and the whole text come out alike. `allowed` are hosts whose links stay, their subdomains
    included; `language` says in what words a removal is noted; `removed` counts them.
    """

    def __init__(self, allowed: Collection[str] = (), *, language: str = "en") -> None:
        self._allowed = tuple(host.lower().strip(".") for host in allowed)
        self._note = NOTES.get(language, NOTES["en"])
        self._held = ""
        self.removed = 0

    def clean(self, text: str) -> str:
        """A whole text at once."""
        return self.feed(text) + self.end()

    def feed(self, piece: str) -> str:
        """What can be shown now."""
        self._held += piece
        out = []
        begin = 0
        while True:
            match = _TRACK.search(self._held, begin, min(len(self._held), begin + HOLD_CHARS))
            if match is not None:
                end = match.end()
            elif len(self._held) - begin > HOLD_CHARS:
                space = self._held.rfind(" ", begin + HOLD_CHARS // 2, begin + HOLD_CHARS)
                end = space if space > 0 else begin + HOLD_CHARS
            else:
                break
            out.append(self._unit(self._held[begin:end]))
            begin = end
        self._held = self._held[begin:]
        return "".join(out)

    def end(self) -> str:
        """What was held back."""
        held, self._held = self._held, ""
        return self._unit(held)

    def _unit(self, text: str) -> str:
        text = _HIDDEN_DOT.sub(".", plain(_ENTITY.sub(_visible, plain(text))))
        for _ in range(3):  # taking one away may join what stood around it
            before = text
            text = _MARKDOWN.sub(self._markdown, text)
            text = _PICTURE_OR_REFERENCE.sub(r"\1", text)
            text = _TAG.sub(self._tag, text)
            text = _SCHEME.sub(self._checked(_host), text)
            text = _BARE.sub(self._checked(lambda match: match["host"]), text)
            text = _SPELLED.sub(self._checked(lambda _: ""), text)
            if text == before:
                break
        return text

    def _markdown(self, match: re.Match[str]) -> str:
        target = match[2]
        found = _SCHEME.match(target)
        host = (found["host"] or "") if found else ""
        if not match[0].startswith("!") and found and self._is_allowed(host):
            return match[0]
        self.removed += 1
        return match[1] or self._note

    def _tag(self, _: re.Match[str]) -> str:
        self.removed += 1
        return ""

    def _checked(self, host: Callable[[re.Match[str]], str]) -> Callable[[re.Match[str]], str]:
        def replaced(match: re.Match[str]) -> str:
            if self._is_allowed(host(match)):
                return match[0]
            self.removed += 1
            tail = match[0][len(match[0].rstrip(".,;:!?")) :]
            return self._note + tail

        return replaced

    def _is_allowed(self, host: str) -> bool:
        name = host.partition(":")[0].lower().strip(".")  # with a user before an @ it is never what it seems
        return "@" not in host and any(name == one or name.endswith(f".{one}") for one in self._allowed)


def _host(match: re.Match[str]) -> str:
    return match["host"] or match["bare"] or (match["rest"] or "").rpartition("@")[2].partition("?")[0]


def _visible(entity: re.Match[str]) -> str:
    """What an entity stands for, unless that would open or close a tag, or is no character."""
    char = unescape(f"&{entity['name']};")
    return entity[0] if char in {"<", ">", "&"} or len(char) != 1 else char
