"""Values that satisfy a JSON schema, taken out of a text where the text offers them.

`fill(schema, Clues(text))` gives numbers, quoted words and proper names from the text to the properties that ask for them, in order,
and falls back to the smallest plain value the schema allows. It knows the parts of JSON Schema 2020-12 that tools and
structured outputs use: $ref, enum, const, anyOf/oneOf/allOf, types, bounds, multipleOf, lengths, pattern, format, items, required.
"""

from __future__ import annotations

import math
import re
from typing import Any

from surefoot.testing.wire._model._pattern import sample

Json = dict[str, Any]

DEPTH = 12  # a schema that refers to itself ends here: optional parts are left out, arrays stay empty

_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?![\w])")
_QUOTED = re.compile(r"""(?<!\w)(?:'([^'\n]{1,200})'|"([^"\n]{1,200})"|`([^`\n]{1,200})`|“([^”\n]{1,200})”|«([^»\n]{1,200})»)(?!\w)""")
_NAME = re.compile(r"[A-ZÇĞİÖŞÜ][\w'’-]*(?:,?\s+[A-ZÇĞİÖŞÜ][\w'’-]*)*")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w")
_URL = re.compile(r"https?://[^\s'\"<>)]+")
_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
_TIME = re.compile(r"\b\d{2}:\d{2}(?::\d{2})?\b")
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_STARTING_WORDS = (  # they open a sentence with a capital, but name nothing
    "a an and are as at be by can could create do does for from generate get give hello hey hi how i if in is it let make my no of on or "
    "please return say show tell that the then this to use using was what when where which who why will with write would yes you your "
    "bir bu ne ve için"
)
_STARTERS = frozenset(_STARTING_WORDS.split())
_FORMATS = {
    "date": "2026-01-15", "date-time": "2026-01-15T09:30:00Z", "time": "09:30:00Z", "email": "ada@example.com", "uri": "https://example.com/",
    "url": "https://example.com/", "uuid": "00000000-0000-4000-8000-000000000001", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1",
    "hostname": "example.com", "duration": "PT1H", "byte": "c3VyZWZvb3Q=",
}  # fmt: skip
_FOUND = {"email": _EMAIL, "uri": _URL, "url": _URL, "date": _DATE, "time": _TIME}


class Clues:
    """What a text offers: numbers, quoted words, proper names, each given out once, in order."""

    def __init__(self, text: str) -> None:
        """Read `text` once."""
        self.text = text
        self.lower = text.lower()
        bare = _QUOTED.sub(" ", text)
        self.quoted: list[str] = [next(part for part in found if part) for found in _QUOTED.findall(text)]
        self.numbers = [float(n) for n in _NUMBER.findall(_DATE.sub(" ", _URL.sub(" ", text)))]
        if not self.numbers:
            self.numbers = [float(_WORDS.index(w)) for w in re.findall(r"[a-z]+", self.lower) if w in _WORDS]
        found = [(_opens_a_sentence(bare, m.start()), name) for m in _NAME.finditer(bare) if (name := _without_starters(m[0]))]
        self.names: list[str] = [name for opens, name in sorted(found, key=lambda pair: pair[0])]  # a sentence's first word is a weak clue

    def about(self, prop: str) -> str | None:
        """The value written right after the property's name: `a=3`, `unit: celsius`, `count is 4`."""
        if not prop:
            return None
        pattern = rf"(?<![\w]){re.escape(prop)}\s*(?:=|:|\bis\b|\bto\b)\s*(\"[^\"]*\"|'[^']*'|[-+]?[\w.]+)"
        found = re.search(pattern, self.text, re.IGNORECASE)
        return str(found[1]).strip("'\"").rstrip(".") if found else None

    def number(self, prop: str) -> float | None:
        """A number for the property: the one named with it, else the next unused one."""
        named = self.about(prop)
        if named is not None and _NUMBER.fullmatch(named):
            value = float(named)
            if value in self.numbers:
                self.numbers.remove(value)
            return value
        return self.numbers.pop(0) if self.numbers else None

    def phrase(self, prop: str) -> str | None:
        """A word or name for the property: the one named with it, else the next quoted one, else the next proper name."""
        named = self.about(prop)
        if named is not None:
            return named
        if self.quoted:
            return self.quoted.pop(0)
        return self.names.pop(0) if self.names else None


def _opens_a_sentence(text: str, at: int) -> bool:
    before = text[:at].rstrip()
    return not before or before[-1] in ".!?:\n"


def _without_starters(found: str) -> str:
    words = found.split()
    while words and words[0].strip(",'’").lower() in _STARTERS:
        words.pop(0)
    return " ".join(words).rstrip(",")


def fill(schema: Json, clues: Clues, *, optional: bool = True) -> Any:
    """A JSON value that satisfies `schema`.

    `optional` says whether properties that are not required are given too; else only when the text names them.
    """
    return _Filler(schema, clues, optional=optional).value(schema, "", 0)


def resolve(schema: Json, root: Json) -> Json:
    """Follow `$ref`s inside `root`, siblings of the reference win."""
    for _ in range(DEPTH):
        ref = schema.get("$ref")
        if not isinstance(ref, str) or not ref.startswith("#"):
            return schema
        target: Any = root
        for part in ref.lstrip("#/").split("/") if ref != "#" else []:
            target = target.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(target, dict) else {}
        schema = {**(target if isinstance(target, dict) else {}), **{k: v for k, v in schema.items() if k != "$ref"}}
    return schema


class _Filler:
    """One walk through one schema."""

    def __init__(self, root: Json, clues: Clues, *, optional: bool) -> None:
        self.root = root
        self.clues = clues
        self.optional = optional

    def value(self, schema: Json, prop: str, depth: int) -> Any:  # noqa: PLR0911 - one return a kind of schema
        schema = resolve(schema, self.root)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._one_of(schema["enum"], prop)
        for many in ("anyOf", "oneOf"):
            if schema.get(many):
                rest = {k: v for k, v in schema.items() if k != many}
                return self.value({**rest, **self._branch(schema[many], depth)}, prop, depth)
        if schema.get("allOf"):
            return self.value(self._joined(schema), prop, depth)
        kind = self._kind(schema, depth)
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, prop, depth)
        if kind in ("integer", "number"):
            return self._number(schema, prop, whole=kind == "integer")
        if kind == "boolean":
            return self._flag(prop)
        return None if kind == "null" else self._string(schema, prop)

    def _kind(self, schema: Json, depth: int) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            kinds = [str(k).lower() for k in kind]
            kind = "null" if depth >= DEPTH and "null" in kinds else next((k for k in kinds if k != "null"), "null")
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
        return str(kind).lower()  # Gemini writes its types in capitals

    def _branch(self, branches: list[Json], depth: int) -> Json:
        plain = [resolve(b, self.root) for b in branches]
        if depth >= DEPTH:
            return next((b for b in plain if b.get("type") == "null"), plain[-1])
        return next((b for b in plain if b.get("type") != "null"), plain[0])

    def _joined(self, schema: Json) -> Json:
        joined = {k: v for k, v in schema.items() if k != "allOf"}
        for part in (resolve(p, self.root) for p in schema["allOf"]):
            properties = {**joined.get("properties", {}), **part.get("properties", {})}
            required = [*joined.get("required", []), *part.get("required", [])]
            joined = {**joined, **part}
            if properties:
                joined |= {"properties": properties, "required": required}
        return joined

    def _object(self, schema: Json, depth: int) -> Json:
        required = schema.get("required") or []
        out: Json = {}
        for name, sub in (schema.get("properties") or {}).items():
            wanted = name in required or self.clues.about(name) is not None or (self.optional and depth < DEPTH)
            if wanted:
                out[name] = self.value(sub if isinstance(sub, dict) else {}, name, depth + 1)
        extra = schema.get("additionalProperties")
        for number in range(max(0, int(schema.get("minProperties") or 0) - len(out))):
            out[f"key_{number}"] = self.value(extra if isinstance(extra, dict) else {}, "", depth + 1)
        return out

    def _array(self, schema: Json, prop: str, depth: int) -> list[Any]:
        first = [self.value(sub, prop, depth + 1) for sub in schema.get("prefixItems") or []]
        items = schema.get("items")
        item: Json = items if isinstance(items, dict) else {}
        least = int(schema.get("minItems") or 0)
        kind = self._kind(resolve(item, self.root), depth)
        offered = {"integer": len(self.clues.numbers), "number": len(self.clues.numbers), "string": len(self.clues.quoted)}.get(kind, 0)
        count = max(least - len(first), min(offered, 20), 0 if depth >= DEPTH or items is False or first else 1)
        count = min(count, int(schema.get("maxItems", count + len(first))) - len(first))
        rest = [self.value(item, prop, depth + 1) for _ in range(count)]
        return first + (_distinct(rest) if schema.get("uniqueItems") else rest)

    def _number(self, schema: Json, prop: str, *, whole: bool) -> float | int:
        low, high = bounds(schema, whole=whole)
        value = self.clues.number(prop)
        if value is None:
            value = schema["default"] if isinstance(schema.get("default"), int | float) else min(max(1.0, low), high)
        value = min(max(float(value), low), high)
        step = schema.get("multipleOf")
        if step:
            value = math.floor(value / step) * step
            value = value + step if value < low else value
        return round(value) if whole else (int(value) if value.is_integer() else value)

    def _flag(self, prop: str) -> bool:
        named = self.clues.about(prop)
        if named is not None and named.lower() in ("true", "false", "yes", "no", "on", "off"):
            return named.lower() in ("true", "yes", "on")
        return not re.search(rf"\b(?:not|no|without|false)\s+{re.escape(prop.replace('_', ' '))}\b", self.clues.lower) if prop else True

    def _string(self, schema: Json, prop: str) -> str:
        form, pattern = schema.get("format"), schema.get("pattern")
        if form in _FORMATS:
            found = _FOUND[form].search(self.clues.text) if form in _FOUND else None
            return found[0] if found else _FORMATS[form]
        phrase = self.clues.phrase(prop)
        if pattern:
            candidates = [phrase, *re.findall(r"\S+", self.clues.text)] if phrase else re.findall(r"\S+", self.clues.text)
            fit = next((c for c in candidates if c and re.search(pattern, c)), None)
            return fit if fit is not None else sample(pattern)
        text = phrase if phrase is not None else " ".join(self.clues.text.split())[:200] or prop or "text"
        longest, least = int(schema.get("maxLength", len(text))), int(schema.get("minLength") or 0)
        return text[:longest].ljust(least, ".")

    def _one_of(self, values: list[Any], prop: str) -> Any:
        named = self.clues.about(prop)
        for value in values:
            if named is not None and str(value).lower() == named.lower():
                return value
        said = (v for v in values if isinstance(v, str) and v and re.search(rf"(?<!\w){re.escape(v.lower())}(?!\w)", self.clues.lower))
        return next(said, values[0])


def bounds(schema: Json, *, whole: bool) -> tuple[float, float]:
    """The closed interval a number must lie in, exclusive ends (both spellings) moved inwards."""
    low, high = -math.inf, math.inf
    nudge = 1.0 if whole else 1e-6
    for key, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        sign = 1 if key == "minimum" else -1
        ends = [float(schema[key]) + (sign * nudge if schema.get(exclusive) is True else 0.0)] if schema.get(key) is not None else []
        if schema.get(exclusive) is not None and not isinstance(schema[exclusive], bool):
            ends.append(float(schema[exclusive]) + sign * nudge)
        for end in ends:
            low, high = (max(low, end), high) if sign > 0 else (low, min(high, end))
    return (math.ceil(low) if math.isfinite(low) else low, math.floor(high) if math.isfinite(high) else high) if whole else (low, high)


def _distinct(values: list[Any]) -> list[Any]:
    out: list[Any] = []
    for number, value in enumerate(values):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        out.append(value if value not in out else value + number if is_number else f"{value} {number}")
    return out
