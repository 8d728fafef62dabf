"""What a search engine and a reader look at, as pure functions of a Markdown article: title, headings, keyword, readability, links."""

from __future__ import annotations

import re

import msgspec

TITLE = (30, 60)  # characters: shorter says too little, longer is cut off in a list of results
DENSITY = (0.5, 3.0)  # per cent of all words that belong to the keyword: below it is not the topic, above it reads as spam
SENTENCE_WORDS = 25  # mean words of a sentence above which readers give up
EASE = 40.0  # of 100: at the level of a newspaper; Flesch's scale for English, Ateşman's for Turkish
WORDS_A_HEADING = 300
VOWELS = "aeıioöuüâîû"


class SeoCheck(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    """Which: "title", "headings", "keyword", "readability" or "links"."""
    is_good: bool
    """Whether it is within its bounds."""
    found: str
    """What was measured and, where it is out of bounds, what to do."""


def check(title: str, body: str, keyword: str, *, language: str = "en") -> list[SeoCheck]:
    """All checks of an article; `body` is Markdown, `language` "en" or "tr"."""
    return [
        check_title(title, keyword),
        check_headings(body),
        check_keyword(body, keyword),
        check_readability(body, language),
        check_links(body),
    ]


def check_title(title: str, keyword: str) -> SeoCheck:
    """30 to 60 characters, with the keyword."""
    length, has_keyword = len(title), keyword.casefold() in title.casefold()
    found = f"{length} characters" + ("" if has_keyword else f"; put the keyword {keyword!r} in")
    low, high = TITLE
    if not low <= length <= high:
        found += f"; make it {low} to {high}"
    return SeoCheck("title", low <= length <= high and has_keyword, found)


def check_headings(body: str) -> SeoCheck:
    """A heading for each 300 words, no level skipped; the title is level 1, so the body begins with level 2."""
    levels = [len(mark) for mark in re.findall(r"^(#{1,6}) ", without_code(body), re.MULTILINE)]
    needed = max(1, len(words(body)) // WORDS_A_HEADING)
    if len(levels) < needed:
        return SeoCheck("headings", is_good=False, found=f"{len(levels)}; want at least {needed}")
    skipped = [f"{one} after {before}" for before, one in zip([1, *levels], levels, strict=False) if one > before + 1]
    if 1 in levels or skipped:
        wrong = "level 1 in the body belongs to the title" if 1 in levels else f"level {skipped[0]}: one was skipped"
        return SeoCheck("headings", is_good=False, found=f"{len(levels)}; {wrong}")
    return SeoCheck("headings", is_good=True, found=f"{len(levels)}")


def keyword_density(body: str, keyword: str) -> float:
    """Per cent of the words that belong to the keyword; endings after it count as the keyword, as Turkish has them."""
    said, wanted = words(body), words(keyword)
    if not said or not wanted:
        return 0.0
    spans = (said[at : at + len(wanted)] for at in range(len(said) - len(wanted) + 1))
    hits = sum(span[:-1] == wanted[:-1] and span[-1].startswith(wanted[-1]) for span in spans)
    return 100 * hits * len(wanted) / len(said)


def check_keyword(body: str, keyword: str) -> SeoCheck:
    """0.5 to 3 per cent of the words."""
    share, (low, high) = keyword_density(body, keyword), DENSITY
    advice = "" if low <= share <= high else f"; say {keyword!r} {'more' if share < low else 'less'} often ({low} to {high} %)"
    return SeoCheck("keyword", low <= share <= high, f"{share:.1f} %{advice}")


def syllables(word: str) -> int:
    """Of an English word, near enough: groups of vowels, without a silent e at the end."""
    groups = len(re.findall(r"[aeiouy]+", word))
    return max(1, groups - (word.endswith("e") and not word.endswith("le") and groups > 1))


def reading_ease(body: str, language: str) -> tuple[float, float]:
    """Ease from 0 (hard) to 100, and mean words of a sentence: Flesch (1948) for English, Ateşman (1997) for Turkish."""
    prose = re.sub(r"^#{1,6} .*$", "", without_code(body), flags=re.MULTILINE)
    said = words(prose)
    sentences = max(1, len([one for one in re.split(r"[.!?…]+(?:\s|$)|\n\s*\n", prose) if words(one)]))
    if not said:
        return 100.0, 0.0
    long_s = len(said) / sentences
    if language == "tr":
        spoken = sum(sum(letter in VOWELS for letter in word) for word in said) / len(said)
        return 198.825 - 40.175 * spoken - 2.610 * long_s, long_s
    return 206.835 - 84.6 * sum(map(syllables, said)) / len(said) - 1.015 * long_s, long_s


def check_readability(body: str, language: str) -> SeoCheck:
    """An ease of at least 40, sentences of at most 25 words on average."""
    ease, mean = reading_ease(body, language)
    is_good = ease >= EASE and mean <= SENTENCE_WORDS
    advice = "" if is_good else "; shorter sentences and shorter words"
    return SeoCheck("readability", is_good, f"ease {ease:.0f} of 100, {mean:.0f} words a sentence{advice}")


def check_links(body: str) -> SeoCheck:
    """At least one link, each with words that say where it goes, and none without https."""
    links = re.findall(r"(?<!!)\[([^\]]*)\]\(([^)\s]*)[^)]*\)", without_code(body))
    empty = [url for text, url in links if text.strip().casefold() in {"", "here", "click here", "buraya", "tıklayın"}]
    wrong = [url for _, url in links if not url.startswith(("https://", "/", "#", "mailto:"))]
    if not links:
        return SeoCheck("links", is_good=False, found="none; link to a source or a page of yours")
    if empty or wrong:
        said = f"{empty[0]!r} has no words that say where it goes" if empty else f"{wrong[0]!r} is no https address"
        return SeoCheck("links", is_good=False, found=f"{len(links)}; {said}")
    return SeoCheck("links", is_good=True, found=f"{len(links)}")


def without_code(body: str) -> str:
    """The Markdown without blocks of code."""
    return re.sub(r"^```.*?^```[^\n]*$", "", body, flags=re.DOTALL | re.MULTILINE)


def words(text: str) -> list[str]:
    """Its words in lower case, without links' addresses; I and İ as Turkish writes them do not matter."""
    shown = re.sub(r"\]\([^)]*\)", "]", without_code(text))
    return re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)?", shown.replace("İ", "i").lower())
