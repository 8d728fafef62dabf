"""docs/reference/ says what the code says."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def load_script():
    spec = spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="other versions write signatures and defaults in other words")
def test_the_reference_is_what_the_code_says():
    """After a change of a field, a command or a public name: `python docs/reference.py`."""
    script = load_script()
    for page, make in script.PAGES.items():
        assert (DOCS / "reference" / page).read_text(encoding="utf-8") == make(), f"python docs/reference.py  writes {page} anew"


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="as above")
def test_nothing_public_is_without_a_word():
    """A table with an empty cell helps nobody."""
    for page in load_script().PAGES:
        empty = [line for line in (DOCS / "reference" / page).read_text(encoding="utf-8").splitlines() if line.endswith("|  |")]
        assert not empty, page
