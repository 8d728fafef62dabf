"""The documentation as a site: made without a network, every link followed; a dead one, and a part from elsewhere, would be told."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path

import pytest

SITE = runpy.run_path(str(Path(__file__).resolve().parents[2] / "docs" / "build.py"))


def test_dead_links_and_foreign_parts_are_told(tmp_path):
    """Of files, of places in pages, and of what only the network has; a link that leaves the site is none of ours."""
    first, second = tmp_path / "a.html", tmp_path / "b.html"
    first.write_text(
        '<h1 id="top"></h1><a href="b.html#there">b</a><a href="#top">a</a><a href="https://x.example/">x</a>', encoding="utf-8"
    )
    second.write_text('<h2 id="there"></h2><link href="a.html">', encoding="utf-8")
    assert SITE["broken"](tmp_path) == []
    second.write_text('<a href="a.html#down"></a><a href="c.html"></a><script src="https://x.example/x.js"></script>', encoding="utf-8")
    told = ["a.html: b.html#there", "b.html: a.html#down", "b.html: c.html", "b.html: https://x.example/x.js"]
    assert sorted(SITE["broken"](tmp_path)) == told


@pytest.mark.heavy
@pytest.mark.skipif(importlib.util.find_spec("zensical") is None, reason="needs zensical: `make docs` installs it")
def test_the_site_has_no_broken_link(tmp_path):
    """All pages are on it."""
    site = SITE["build"](tmp_path / "site")
    assert SITE["broken"](site) == []
    assert len(list(site.rglob("*.html"))) > 40
