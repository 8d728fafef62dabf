"""Pairs of questions: paraphrases, which should hit, and attacks, which must not. Made from templates, or written out one by one."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from msgspec import Struct, convert

Kind = Literal["paraphrase", "reversal", "number", "negation", "entity"]
FOLDER = Path(__file__).parent
OTHER_FORMS = 3  # wordings of another entity's question that each question meets


class Template(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question with its variants; `fills` are the values of `slots` (a, b, n and m, the other number), one row a version."""

    id: str
    language: Literal["en", "tr"]
    question: str
    paraphrases: tuple[str, ...]
    negations: tuple[str, ...]
    fills: tuple[tuple[str, ...], ...]
    reversal: bool = False
    number: bool = False
    slots: tuple[str, ...] = ()

    @property
    def versions(self) -> list[dict[str, str]]:
        """Each fill as slot -> value."""
        named = self.slots or tuple(slot for slot in "ab" if f"{{{slot}}}" in self.question) + (("n", "m") if self.number else ())
        return [dict(zip(named, fill, strict=True)) for fill in self.fills]


class Pair(Struct, frozen=True, kw_only=True):
    """What was asked before, and what is asked now; `cluster` are the pairs that stand and fall together."""

    cluster: str
    language: str
    kind: str
    known: str
    asked: str

    @property
    def is_attack(self) -> bool:
        """True if `asked` is another question than `known`."""
        return self.kind != "paraphrase"


def templated(half: Literal["tuning", "test"]) -> list[Pair]:
    """All pairs of the templates of one half, each once."""
    with (FOLDER / f"{half}.toml").open("rb") as file:
        templates = convert(tomllib.load(file)["template"], list[Template])
    found: dict[tuple[str, str], Pair] = {}
    for template in templates:
        for kind, known, asked in _of(template):
            if known != asked:
                pair = Pair(cluster=template.id, language=template.language, kind=kind, known=known, asked=asked)
                found.setdefault((known, asked), pair)
    return list(found.values())


def near() -> list[Pair]:
    """Different questions a letter, a sign or a syllable apart, both ways."""
    pairs = []
    for number, line in enumerate(_lines("near.txt")):
        kind, one, other = (part.strip() for part in line.split(" | "))
        pairs += [Pair(cluster=f"near-{number}", language="", kind=kind, known=a, asked=b) for a, b in ((one, other), (other, one))]
    return pairs


def written() -> list[Pair]:
    """Paraphrases written freely, one by one."""
    pairs, language = [], ""
    for number, line in enumerate(_lines("paraphrases.txt")):
        if " | " not in line:
            language = line
            continue
        known, asked = (part.strip() for part in line.split(" | "))
        pairs.append(Pair(cluster=f"written-{number}", language=language, kind="paraphrase", known=known, asked=asked))
    return pairs


def _lines(name: str) -> list[str]:
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _of(template: Template) -> Iterator[tuple[Kind, str, str]]:
    """A paraphrase meets the question it is one of; an attack, in every wording, meets every wording of the question."""
    versions = template.versions
    forms = (template.question, *template.paraphrases)
    for i, version in enumerate(versions):
        known = [form.format(**version) for form in forms]
        for asked in known[1:]:
            yield "paraphrase", known[0], asked
        changed: list[tuple[Kind, list[str]]] = [("negation", [negation.format(**version) for negation in template.negations])]
        if template.reversal:
            swapped = version | {"a": version["b"], "b": version["a"]}
            changed.append(("reversal", [form.format(**swapped) for form in forms]))
        if template.number:
            changed.append(("number", [form.format(**version | {"n": version["m"]}) for form in forms]))
        other = versions[(i + 1) % len(versions)]
        changed += [
            ("entity", [form.format(**version | {slot: other[slot]}) for form in forms[:OTHER_FORMS]]) for slot in "ab" if slot in version
        ]
        for kind, attacks in changed:
            yield from ((kind, one, asked) for one, asked in itertools.product(known, attacks) if asked not in known)
