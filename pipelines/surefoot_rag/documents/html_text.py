"""A page's own words, without its menus, scripts and banners, as light Markdown: headings, lists, tables and code keep their shape."""

# ruff: noqa: SIM905 - lists of tags read best as words

from __future__ import annotations

from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from surefoot_rag.documents.tables import as_text

__all__ = ["html_to_markdown"]

_SKIP = frozenset("script style noscript template svg math nav footer aside form iframe object canvas button select dialog head".split())
_SKIP_ROLES = frozenset("navigation banner contentinfo search complementary menu".split())
_BLOCK = frozenset(
    "p div section article main header ul ol dl table blockquote pre figure figcaption address details fieldset hr hgroup".split()
)
_LINE = frozenset("li tr dt dd br caption summary".split())
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_BEGINS = frozenset({"li", "blockquote", *_HEADINGS})  # what follows their mark stays on its line


def html_to_markdown(page: str) -> tuple[str, str]:
    """Extract the text and the title of an HTML page.

    The content of `<main>` (else the single `<article>`, else `<body>`) is taken; navigation, footers, asides, forms, scripts and
    hidden elements are left out, and a `<header>` too unless it belongs to the content. Raises ValueError when there is no body.
    """
    tree = LexborHTMLParser(page)
    root = _content(tree)
    text = _Writer(inside=root.tag != "body").write(root)
    heading = root.css_first("h1") or tree.css_first("h1")
    named = heading or tree.css_first("title")
    return text, " ".join(named.text(deep=True).split()) if named else ""


def _content(tree: LexborHTMLParser) -> LexborNode:
    if (main := tree.css_first("main, [role=main]")) and main.text(deep=True).strip():
        return main
    articles = tree.css("article")
    if len(articles) == 1:
        return articles[0]
    body = tree.body
    if body is None:
        raise ValueError("it holds no HTML body")
    return body


def _table(node: LexborNode) -> str:
    """A table of data as Markdown, or a line a row where it is long; "" for one that only lays out a page."""
    rows = node.css("tr")
    cells = [[cell for cell in _children(row) if cell.tag in {"td", "th"}] for row in rows]
    width = max((sum(_span(cell) for cell in row) for row in cells), default=0)
    if len(rows) < 2 or width < 2 or len(node.css("table")) > 1:
        return ""
    texts = [[text for cell in row for text in (_cell(cell), *[""] * (_span(cell) - 1))] for row in cells]
    caption = next((_cell(one) for one in _children(node) if one.tag == "caption"), "")
    return "\n\n".join(part for part in (caption, as_text([*row, *[""] * (width - len(row))] for row in texts)) if part)


def _children(node: LexborNode) -> Iterator[LexborNode]:
    child = node.first_child
    while child is not None:
        if child.is_element_node:
            yield child
        child = child.next


def _span(cell: LexborNode) -> int:
    said = cell.attributes.get("colspan") or "1"
    return min(max(int(said), 1), 100) if said.isdecimal() else 1


def _cell(cell: LexborNode) -> str:
    return " ".join(_Writer(inside=True).write(cell).split())


class _Writer:
    """Walks a tree without recursion (pages nest deeper than Python's stack) and collects its text."""

    def __init__(self, *, inside: bool) -> None:
        self._out: list[str] = []
        self._breaks = 0  # line breaks owed before the next word
        self._space = False  # a space owed before the next word
        self._fresh = False  # a list mark or a cell was just begun: `<li><p>` stays on its line
        self._lists: list[int | None] = []  # per open list: the next number, None for bullets
        self._inside = inside
        self._raw = 0
        self._cells = 0

    def write(self, root: LexborNode) -> str:
        todo: list[tuple[LexborNode, bool]] = [(root, True)]
        while todo:
            node, entering = todo.pop()
            if not entering:
                self._leave(node.tag or "")
            elif node.is_text_node:
                self._text(node.text_content or "")
            elif node.is_element_node and not self._left_out(node):
                self._enter(node.tag or "")
                if node.tag == "table" and (table := _table(node)):
                    self._put(table)
                    self._leave("table")
                    continue
                todo.append((node, False))
                children = []
                child = node.first_child
                while child is not None:
                    children.append((child, True))
                    child = child.next
                todo.extend(reversed(children))
        return "".join(self._out).strip() + "\n"

    def _left_out(self, node: LexborNode) -> bool:
        attributes = node.attributes
        hidden = "hidden" in attributes or attributes.get("aria-hidden") == "true" or attributes.get("role") in _SKIP_ROLES
        style = (attributes.get("style") or "").replace(" ", "").lower()
        banner = node.tag == "header" and not self._inside
        return node.tag in _SKIP or hidden or banner or "display:none" in style

    def _enter(self, tag: str) -> None:
        if tag in {"article", "main"}:
            self._inside = True
        self._break(tag)
        if tag in {"ul", "ol"}:
            self._lists.append(1 if tag == "ol" else None)
        elif tag == "li":
            self._put("  " * max(0, len(self._lists) - 1) + self._bullet())
        elif tag == "tr":
            self._cells = 0
        elif tag in {"td", "th"}:
            if self._cells:
                self._breaks, self._space = 0, False
            self._put(" | " if self._cells else "")
            self._cells += 1
            self._fresh = True
        elif tag == "pre":
            self._put("```\n")
            self._raw += 1
        elif tag == "blockquote":
            self._put("> ")
        elif mark := _HEADINGS.get(tag):
            self._put(mark)
        self._fresh = self._fresh or tag in _BEGINS

    def _leave(self, tag: str) -> None:
        self._fresh = self._fresh and tag not in _BEGINS and tag not in {"td", "th"}  # it stayed empty
        if tag in {"ul", "ol"} and self._lists:
            self._lists.pop()
        elif tag == "pre":
            self._raw -= 1
            self._put("\n```")
        elif tag in {"td", "th"}:
            self._breaks = 0  # a paragraph inside a cell does not end the row
        if tag != "br":
            self._break(tag)

    def _bullet(self) -> str:
        number = self._lists[-1] if self._lists else None
        if number is None:
            return "- "
        self._lists[-1] = number + 1
        return f"{number}. "

    def _break(self, tag: str) -> None:
        if self._fresh:
            return
        nested = tag in {"ul", "ol"} and bool(self._lists)
        if tag in _LINE or nested:
            self._breaks = max(self._breaks, 1)
        elif tag in _BLOCK or tag in _HEADINGS:
            self._breaks = max(self._breaks, 2)

    def _text(self, text: str) -> None:
        if self._raw:
            self._out.append(text)
            return
        words = text.split()
        if not words:
            self._space = self._space or bool(text)
            return
        self._space = self._space or text[0].isspace()
        self._put(" ".join(words))
        self._space = text[-1].isspace()

    def _put(self, text: str) -> None:
        if self._breaks:
            if self._out:
                self._out.append("\n" * self._breaks)
        elif self._space and self._out and not self._fresh:
            self._out.append(" ")
        self._breaks, self._space, self._fresh = 0, False, False
        self._out.append(text)
