"""What the tests of SQLite files share."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager


@contextmanager
def locked(path):
    """Another program that is writing the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
