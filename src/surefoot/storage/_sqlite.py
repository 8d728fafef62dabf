"""How every SQLite file of ours is opened: WAL, owner-only, marked as ours, never somebody else's."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from weakref import WeakSet

FORK_S = 1.0  # how long a fork waits for statements under way
BUSY_S = 2.0  # how long a statement waits for another process's write
PAUSE_S = 0.01
WAL_BYTES = 64 * 2**20  # the log file is cut back to this after a checkpoint
HEAD_BYTES = 64 * 2**10  # the largest page: the first one holds the layout of the tables
SPARE_PAGES = 256  # kept for the rows to come, a megabyte
PAGES_AT_ONCE = 2_000  # returned in one commit, some milliseconds
PRIVATE = 0o600  # prompts, answers and bills are nobody else's business
SIDE_FILES = ("", "-wal", "-shm", "-journal")  # SQLite gives new ones the database's own permissions; old ones keep theirs

# What SQLite says of a row it cannot hold; anything else is said of the file.
ROW_FAULTS = (
    UnicodeError, OverflowError, TypeError,
    sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.IntegrityError,
)  # fmt: skip

_log = logging.getLogger("surefoot.sqlite")


def create_private(path: Path) -> None:
    """Create the empty file `path`, readable by its owner alone, unless it exists. Raises OSError."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE))


def make_private(path: Path) -> None:
    """Take the permissions of group and others from an existing database and its side files; a log line where that is not ours to do."""
    for suffix in SIDE_FILES:
        one = Path(f"{path}{suffix}")
        try:
            mode = stat.S_IMODE(one.stat().st_mode)
            if mode & 0o077:
                one.chmod(mode & ~0o077)
        except FileNotFoundError:  # no side file, or another process has just checkpointed it away
            continue
        except OSError as error:
            _log.warning("%s can be read by other users and its permissions cannot be changed: %s", one, error.strerror)


def is_database(path: Path) -> bool:
    """False for a file whose bytes are no SQLite database; True also where there is none yet, or it cannot be read now."""
    try:
        # Asked of SQLite: whoever opens and closes a file by himself takes this process's locks from it.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=0)) as database:
            database.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        return not _is(error, sqlite3.SQLITE_NOTADB)
    except (OSError, ValueError):
        return True
    return True


def is_damage(error: BaseException) -> bool:
    """True for an error that says: the file is no sound database."""
    return _is(error, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def passes(error: BaseException) -> bool:
    """True for what may be over the next time: somebody's lock, a full disk."""
    return _is(error, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def is_ours(path: Path, *, application_id: int, table: str) -> bool:
    """Whether a damaged file was ours: by its mark, by the layout of our `table`, or because nothing but zeros is left of its head.

    Where the head is gone, the rest of the first page still tells whose it was.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    is_marked = head.startswith(b"SQLite format 3\0") and head[68:72] == application_id.to_bytes(4)
    return is_marked or f"CREATE TABLE {table}".encode() in head or not any(head[:100])


def identity(path: Path) -> tuple[int, int] | None:
    """Which file `path` leads to now; None if to none. Another one stands there once it was deleted, or put aside."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def put_aside(path: Path) -> Path:
    """Rename a spoilt database and its side files, in place of the last one that was; returns the new name. Raises OSError.

    The side files first: a new database must not find the old one's log beside it.
    """
    for suffix in reversed(SIDE_FILES):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").replace(f"{path}.spoilt{suffix}")
    return Path(f"{path}.spoilt")


def used_bytes(connection: sqlite3.Connection) -> int:
    """What the rows and their indexes take, without the pages that are free."""
    pages, free, size = (_number(connection, what) for what in ("page_count", "freelist_count", "page_size"))
    return (pages - free) * size


def give_back(connection: sqlite3.Connection) -> None:
    """Return free pages to the system, a part at a time, once they are more than a tenth of the file."""
    while (free := _number(connection, "freelist_count")) > max(SPARE_PAGES, _number(connection, "page_count") // 10):
        connection.execute(f"PRAGMA incremental_vacuum({PAGES_AT_ONCE})").fetchall()
        if _number(connection, "freelist_count") >= free:
            return  # a file that was laid out by an older version: its free pages are used again, not returned


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _is(error: BaseException | None, *codes: int) -> bool:
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in codes


def connect(path: Path, *, application_id: int, busy_s: float = BUSY_S) -> sqlite3.Connection:
    """The database in `path`, made (with its folders) if there is none; usable from any thread, one at a time.

    synchronous=NORMAL: what was committed outlives a killed process, a power cut may lose the last commits. Transactions are explicit
    (`Transaction`). Raises sqlite3.Error or OSError, sqlite3.DatabaseError if the file is another program's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    create_private(path)
    connection = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN")  # both looks at one moment: another process may be laying the file out
        mark = connection.execute("PRAGMA application_id").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        connection.execute("COMMIT")
        if mark != application_id:
            if mark != 0 or tables:
                raise sqlite3.DatabaseError("it is another program's database; name another file")  # noqa: TRY301 - closed below
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heeded in a file without tables only
            execute_patiently(connection, "PRAGMA journal_mode = WAL", busy_s)
            connection.execute(f"PRAGMA application_id = {application_id:d}")
        make_private(path)  # only now: another program's file keeps its permissions
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES:d}")
    except BaseException:
        connection.close()
        raise
    return connection


def is_busy(error: BaseException | None) -> bool:
    """True for a lock that somebody else holds: it passes by itself."""
    return _is(error, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def cause_of(error: BaseException | None) -> str:
    """SQLite's own name for what happened, else the class of `error`: the same word for the same cause."""
    return getattr(error, "sqlite_errorname", None) or type(error).__name__


def close(connection: sqlite3.Connection | None) -> None:
    """Close what is open; a file that fails while being closed is closed."""
    if connection is not None:
        with suppress(sqlite3.Error):
            connection.close()


class Transaction:
    """`with Transaction(connection):` BEGIN IMMEDIATE, then COMMIT, or ROLLBACK when something is raised."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        """Take the write lock now: a lock upgraded later can fail at once."""
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        """All or nothing."""
        if kind is None:
            self._connection.execute("COMMIT")
        else:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")


def execute_patiently(connection: sqlite3.Connection, statement: str, busy_s: float) -> None:
    """Execute what SQLite refuses at once, without its own waiting, while another process does the same; at most `busy_s` seconds."""
    until = time.monotonic() + busy_s
    while True:
        try:
            connection.execute(statement)
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(PAUSE_S)
        else:
            return


class AtWork:
    """`with at_work:` around every use of SQLite on a thread of its own: a fork waits until it is over.

    A child forked in the middle would inherit SQLite's own locks, taken by a thread it does not have, and wait for them for ever.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        _at_work.add(self)

    def __enter__(self) -> None:
        """Begin."""
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        """Done."""
        self.lock.release()


_at_work: WeakSet[AtWork] = WeakSet()
_held: list[AtWork] = []


def _before_fork() -> None:
    until = time.monotonic() + FORK_S
    _held.extend(one for one in list(_at_work) if one.lock.acquire(timeout=max(0.0, until - time.monotonic())))


def _after_fork() -> None:
    while _held:
        _held.pop().lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
