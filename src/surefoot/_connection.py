"""What a target says of its connection, made into what it can be told apart by: addresses, headers, options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec.structs import force_setattr

from surefoot.errors import Misconfigured
from surefoot.secret import masked_address
from surefoot.text import exact

CONNECTION = ("proxy", "verify", "cert")  # options of every provider that are fields of a target, too


def options_of(target: Any) -> tuple[tuple[str, Any], ...]:
    """The options as pairs, those that are fields of their own among them. Raises Misconfigured for what is no pair, or said twice."""
    given: Any = target.options
    options: dict[str, Any] = {}
    for pair in given.items() if isinstance(given, Mapping) else given:
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise Misconfigured(f"target {target.name}: options are pairs of name and value: options=(('api_version', '2026-01-01'),)")
        options[exact(pair[0])] = _hashable(pair[1])
    for name in CONNECTION:
        value = _hashable(getattr(target, name))
        force_setattr(target, name, value)
        if value is not None and options.setdefault(name, value) != value:
            raise Misconfigured(f"target {target.name}: {name} is said twice, by itself and among the options")
    return tuple(options.items())


def _hashable(value: Any) -> Any:
    """A value as a target can be told apart by it: lists as tuples."""
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def headers_of(name: str, given: Any) -> tuple[tuple[str, str], ...]:
    """The headers as pairs of exact text. Raises Misconfigured, naming no value, for what no request can carry."""
    pairs = given.items() if isinstance(given, Mapping) else given
    found: list[tuple[str, str]] = []
    wrong = ""
    for pair in pairs:
        header, value = pair if isinstance(pair, tuple | list) and len(pair) == 2 else (None, None)
        if not (isinstance(header, str) and isinstance(value, str)):
            wrong = "headers are pairs of text: headers=(('x-team', 'blue'),)"
        elif not header.isascii() or not header.strip() or any(mark in header + value for mark in "\r\n\0"):
            wrong = f"the header {header[:80]!r} holds characters that no header carries"
        else:
            found.append((exact(header), exact(value)))
    if wrong:
        del pairs, pair, header, value, given, found  # what a crash report would print
        raise Misconfigured(f"target {name}: {wrong}")
    return tuple(found)


def check_address(name: str, address: str) -> None:
    """Raise Misconfigured for a base_url that no request could be sent to."""
    if not address:
        return
    parts = None
    try:
        parts = urlsplit(address)
        is_fine = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and not any(map(str.isspace, address))
        is_whole = not (parts.query or parts.fragment)
    except ValueError:  # a port that is no number, a bracket left open
        is_fine = is_whole = False
    if is_fine and not is_whole:
        address = masked_address(address)
        parts = None
        raise Misconfigured(
            f"target {name}: base_url = {address!r} holds a query or a fragment, which would stand before the path; a header goes "
            "into headers=, a parameter into extra={'extra_query': {...}} of a call"
        )
    if not is_fine:
        parts = None
        address = shown = repr(masked_address(address)) if "@" not in address else "(not shown: it holds credentials)"
        raise Misconfigured(f"target {name}: base_url = {shown} is no address; write it as 'http://HOST:PORT/v1' or 'https://HOST/v1'")
