"""Every test of jobs on both stores."""

from __future__ import annotations

import pytest

from tests.loops import own_home  # noqa: F401 - autouse: no task may be left on the background loop
from tests.postgres import fresh_url

STORES = ("sqlite", "postgresql")


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    """The address of an empty store."""
    return f"sqlite:{tmp_path / 'jobs.db'}" if request.param == "sqlite" else fresh_url()


@pytest.fixture
def lite(tmp_path):
    """The same where the store makes no difference."""
    return f"sqlite:{tmp_path / 'jobs.db'}"
