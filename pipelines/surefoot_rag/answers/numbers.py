"""Numbers in any notation: "1,5" and "1.5", "1.450" and "1,450" and "1 450", "18.30" and "18:30" are alike.

A notation can be ambiguous ("1.450" is one and a half in English, fourteen hundred in Turkish), so a number has all the values it may mean,
and two are alike if they share one.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

__all__ = ["numbers", "values"]

_NUMBER = re.compile(r"\d{1,3}(?:[ \u00a0\u202f'\u2019]\d{3})+(?:[.,]\d+)?(?!\d)|\d+(?:[.,:]\d+)*")
_GROUPED = re.compile(r"\d{1,3}(?:([.,])\d{3})(?:\1\d{3})*")


def numbers(text: str) -> list[frozenset[Decimal]]:
    """The numbers of a text in order, each as the values it may have."""
    return [_values(match[0]) for match in _NUMBER.finditer(text)]


def values(text: str) -> frozenset[Decimal]:
    """All that the numbers of a text may mean; of one written with spaces, its parts, too."""
    whole = {value for one in numbers(text) for value in one}
    parts = {value for match in re.finditer(r"\d+(?:[.,:]\d+)*", text) for value in _values(match[0])}
    return frozenset(whole | parts)


def _values(written: str) -> frozenset[Decimal]:
    plain = "".join(str(unicodedata.digit(char)) if char.isdigit() else char for char in written)
    plain = re.sub(r"[ \u00a0\u202f'\u2019]", "", plain)
    marks = [char for char in plain if not char.isdigit()]
    if not marks:
        return frozenset({Decimal(plain)})
    found = set()
    if _GROUPED.fullmatch(plain):
        found.add(Decimal(re.sub(r"\D", "", plain)))
    if len(marks) == 1:
        found.add(Decimal(re.sub(r"\D", ".", plain)))
    elif marks[-1] != marks[0] and len(set(marks[:-1])) == 1:  # 1.234,50
        head, tail = plain.rsplit(marks[-1], 1)
        found.add(Decimal(f"{re.sub('[^0-9]', '', head)}.{tail}"))
    if not found:  # a date, a version, an address: alike if its parts are
        found.add(Decimal("0." + "".join(part.zfill(6) for part in re.split(r"\D", plain))))
    return frozenset(one.normalize() for one in found)
