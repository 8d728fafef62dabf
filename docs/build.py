"""Makes a site of the documentation that needs no network, and follows every link of it: `make docs`, or `python docs/build.py FOLDER`.

The pages are copied as they stand in the repository, so that what they say of each other holds; Zensical renders them.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = """
[project]
site_name = "surefoot"
site_description = "LLM and embedding calls that stay on their feet"
docs_dir = "pages"
site_dir = "site"
use_directory_urls = false

[project.theme]
font = false
features = ["content.code.copy", "navigation.indexes", "search.highlight"]
"""


class Page(HTMLParser):
    """What a page leads to, and the places in it that may be led to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.parts: list[str] = []  # what it is shown by: styles, scripts, pictures
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for each element."""
        for name, value in attrs:
            if name == "id" and value:
                self.places.add(value)
            if value and name in {"href", "src"}:
                (self.links if tag == "a" else self.parts).append(value)


def build(site: Path) -> Path:
    """Render into the folder `site`, which is made anew."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name).resolve()
        pages = work / "pages"
        shutil.copytree(ROOT / "docs", pages / "docs", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        shutil.copytree(ROOT / "docs" / "examples", pages / "docs" / "examples", dirs_exist_ok=True)
        shutil.copytree(ROOT / "deploy", pages / "deploy", ignore=shutil.ignore_patterns("secrets"))
        for page in ROOT.glob("*.md"):
            shutil.copy(page, pages)
        (work / "zensical.toml").write_text(SETTINGS, encoding="utf-8")
        subprocess.run([sys.executable, "-m", "zensical", "build", "--clean"], cwd=work, check=True)
        shutil.rmtree(site, ignore_errors=True)
        shutil.copytree(work / "site", site)
    return site


def broken(site: Path) -> list[str]:
    """The links of the site that lead to no file, to no place in a page, or to what only the network has."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    found = []
    for path, page in pages.items():
        for link in [*page.links, *page.parts]:
            where = urlsplit(link)
            if where.scheme or where.netloc:
                if link in page.parts and where.scheme != "data":
                    found.append(f"{path.relative_to(site)}: {link}")
                continue
            target = (site / where.path.lstrip("/") if where.path.startswith("/") else path.parent / unquote(where.path)).resolve()
            target = path if not where.path else target / "index.html" if target.is_dir() else target
            if not target.exists() or (where.fragment and target in pages and unquote(where.fragment) not in pages[target].places):
                found.append(f"{path.relative_to(site)}: {link}")
    return found


def main() -> int:
    """Exit code 1 where a link is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path, help="the folder to make")
    site = build(parser.parse_args().site.resolve())
    dead = broken(site)
    print("\n".join([*dead, f"{len(list(site.rglob('*.html')))} pages in {site}, {len(dead)} broken links"]))
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main())
