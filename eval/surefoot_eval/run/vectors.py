"""Vectors of a data set through `EmbedModel`, kept in a folder so that a model encodes each text once; an interrupted run goes on.

A folder of parts, one `.npy` a step, is named by the embedding space, the role and the texts' own digest: other texts or another
model never meet.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from surefoot import EmbedModel
from surefoot.types import EmbedRole

Matrix: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

STEP = 64  # texts encoded and kept at a time: all that an interruption can cost


def vectors(embed: EmbedModel, texts: Sequence[str], *, role: EmbedRole, cache: Path | None, progress: bool = True) -> Matrix:
    """float32 [len(texts), dim], rows of unit length, in order. Long texts are encoded beside long ones, which saves padding."""
    from tqdm import tqdm

    order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))
    folder = cache / _name(embed.space, role, texts) if cache else None
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    parts: list[Matrix] = []
    label = f"{embed.targets[0]} {role}"
    with tqdm(total=len(texts), desc=label, unit="text", disable=not progress or not sys.stderr.isatty(), dynamic_ncols=True) as bar:
        for number, start in enumerate(range(0, len(texts), STEP)):
            part = [texts[at] for at in order[start : start + STEP]]
            kept = folder / f"{number:06}.npy" if folder else None
            if kept and kept.is_file():
                parts.append(np.load(kept))
            else:
                parts.append(np.asarray(embed.embed(part, role=role), dtype=np.float32))
                if kept:
                    _keep(kept, parts[-1])
            bar.update(len(part))
    found = np.empty((len(texts), parts[0].shape[1] if parts else 0), dtype=np.float32)
    if parts:
        found[order] = np.concatenate(parts)
    return found


def _name(space: str, role: str, texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in (space, role, *texts):
        digest.update(len(text.encode()).to_bytes(8, "big") + text.encode())
    return f"{role}-{digest.hexdigest()[:24]}"


def _keep(path: Path, part: Matrix) -> None:
    """Write beside and rename: a half-written part is never read."""
    fresh = path.with_suffix(".tmp.npy")
    np.save(fresh, part)
    fresh.replace(path)
