"""Tokens as a weighted sum of what is counted in a text, one row of weights a family of vocabularies.

The weights are least squares without negative ones, over pieces of 60 to 4,000 characters in eight languages, code and JSON;
`python -m surefoot_eval tokens --fit` makes them anew and `python -m surefoot_eval tokens` prints their error on texts that were left out.
Of `claude` only the vocabulary of Claude 2 was ever published; `other` is the mean of the five newest open ones and stands for every model
nobody knows.
"""

from __future__ import annotations

# What is counted, in the order of the weights; see `counts`.
FEATURES = (
    "words", "lower", "upper", "digits", "punct", "pairs", "lines", "spare_spaces", "latin1", "latin_a", "symbols", "cyrillic", "two_byte",
    "indic", "kana", "han", "hangul", "emoji", "foreign_words", "foreign_lower", "cyrillic_words", "each",
)  # fmt: skip

WEIGHTS: dict[str, tuple[float, ...]] = {
    "o200k": (
        0.483, 0.108, 0.241, 1.1, 0.871, 1.3, 1.18, 0.0481, 0.529, 0.982, 1.2, 0.113, 0.8, 1, 0.635, 0.79, 0.9, 2.5, 0.458, 0.141,
        0.934, 0,
    ),
    "cl100k": (
        0.435, 0.119, 0.238, 1.16, 0.824, 1.3, 1.29, 0.0461, 0.973, 2.02, 1.4, 0.313, 1.2, 1.7, 0.891, 1.15, 1.3, 2.8, 0.371, 0.185,
        0.895, 0.0476,
    ),
    "llama3": (
        0.423, 0.123, 0.251, 1.12, 0.799, 1.24, 1.31, 0.0468, 0.625, 0.497, 1.2, 0.175, 0.8, 1, 0.563, 0.785, 0.9, 2.5, 0.45, 0.175,
        0.86, 0.0421,
    ),
    "qwen": (
        0.497, 0.109, 0.253, 1.65, 0.811, 1.21, 1.12, 0.0544, 0.726, 1.14, 1.2, 0.187, 0.8, 1, 0.556, 0.687, 0.9, 2.5, 0.427, 0.179,
        0.915, 0.0683,
    ),
    "mistral": (
        0.461, 0.113, 0.341, 1.63, 0.818, 1.16, 1.19, 0.0666, 0.567, 1.01, 1.2, 0.149, 0.8, 1, 0.557, 0.973, 0.9, 2.5, 0.451, 0.15,
        0.99, 0.077,
    ),
    "deepseek": (
        0.504, 0.101, 0.319, 1.06, 0.996, 1.51, 1.07, 0.0638, 0.919, 2.25, 1.2, 0.15, 0.8, 1, 0.589, 0.604, 0.9, 2.5, 0.351, 0.189,
        0.94, 0.107,
    ),
    "claude": (
        0.372, 0.13, 0.3, 0.982, 1.06, 1.87, 1.43, 0, 1.19, 2.52, 1.4, 0.402, 1.2, 1.7, 0.905, 0.994, 1.3, 2.8, 0.395, 0.208, 0.921,
        0.0523,
    ),
    "other": (
        0.474, 0.11, 0.285, 1.31, 0.859, 1.29, 1.17, 0.0558, 0.691, 1.18, 1.2, 0.156, 0.8, 1, 0.58, 0.769, 0.9, 2.5, 0.417, 0.169,
        0.926, 0.0853,
    ),
}  # fmt: skip

_LEADS = {0xC2: b"o", 0xC3: b"x", 0xC4: b"y", 0xC5: b"y", 0xD0: b"r", 0xD1: b"r", 0xE0: b"i", 0xE1: b"i"}
_LEADS |= {0xE2: b"o", 0xE3: b"k", 0xEF: b"o"}
_CONTINUATION = bytes(range(0x80, 0xC0))
ENGLISH = (" the ", " of ", " and ", " to ")
ACCENTS = 200  # letters for one accented one, beyond which a text without English words is taken for another Latin language
STOP_SHARE = 24  # words for one of ENGLISH


def _classes() -> bytes:
    """A class a byte, so that counting runs in C: one byte a character, whatever its script."""
    table = bytearray(b"e" * 256)
    for byte in range(128):
        letter = chr(byte)
        table[byte] = ord(
            "l" if letter.islower() else "u" if letter.isupper() else "d" if letter.isdigit() else
            "n" if letter in "\n\r" else "s" if letter in " \t" else "p"
        )  # fmt: skip
    for first, last, name in ((0xC6, 0xDF, b"g"), (0xE4, 0xE9, b"h"), (0xEA, 0xED, b"w")):
        table[first : last + 1] = name * (last + 1 - first)
    for byte, name in _LEADS.items():
        table[byte] = name[0]
    return bytes(table)


_CLASSES = _classes()


def counts(text: str) -> tuple[float, ...]:
    """How often each of FEATURES stands in `text`; `pairs` is negative, for a run of marks is often one token. Some ns a character.

    The commonest class, small letters, is what the others leave: counting what is rare is quick.
    """
    marks = text.encode("utf-8", "replace").translate(_CLASSES, _CONTINUATION)
    count = marks.count
    words = len(text.split())
    upper, digits, punct, spaces, lines = count(b"u"), count(b"d"), count(b"p"), count(b"s"), count(b"n")
    lower = len(marks) - upper - digits - punct - spaces - lines
    rest = (upper, digits, punct, -count(b"pp"), lines, max(0, spaces + lines - words))
    if text.isascii():
        return (words, lower, *rest, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
    latin1, latin_a, cyrillic = count(b"x"), count(b"y"), count(b"r")
    others = (count(b"o"), cyrillic, count(b"g"), count(b"i"), count(b"k"), count(b"h"), count(b"w"), count(b"e"))
    lower -= latin1 + latin_a + sum(others)
    if cyrillic * 2 > lower + cyrillic:
        return (0, lower, *rest, latin1, latin_a, *others, 0, 0, words, 1)
    if (latin1 + latin_a) * ACCENTS > lower + upper and sum(map(text.count, ENGLISH)) * STOP_SHARE < words:
        return (0, 0, *rest, latin1, latin_a, *others, words, lower, 0, 1)
    return (words, lower, *rest, latin1, latin_a, *others, 0, 0, 0, 1)


def plain(text: str, weights: tuple[float, ...]) -> float:
    """The weighted sum of `counts` for a text of ASCII alone: most prompts are, and most features are not in them."""
    marks = text.encode().translate(_CLASSES)
    count = marks.count
    words = len(text.split())
    upper, digits, punct, spaces, lines = count(b"u"), count(b"d"), count(b"p"), count(b"s"), count(b"n")
    tokens = weights[0] * words + weights[1] * (len(marks) - upper - digits - punct - spaces - lines) + weights[6] * lines + weights[-1]
    if punct:
        tokens += weights[4] * punct - weights[5] * count(b"pp")
    return tokens + weights[2] * upper + weights[3] * digits + weights[7] * max(0, spaces + lines - words)
