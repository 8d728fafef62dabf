"""Where the public data sets lie, if they do."""

from __future__ import annotations

from pathlib import Path

import pytest

PLACE = Path(__file__).resolve().parents[3] / "shared/data"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of public data sets beside the repository; skips where it is absent."""
    if not (PLACE / "published.json").is_file():
        pytest.skip("no public data sets in ../shared/data beside the repository")
    return PLACE
