"""A conversation kept within a token window: whole in SQLite, short in memory and in the prompt.

Nothing is ever lost from the file; what leaves the window is only left out of what is asked next. Turns leave whole and oldest first: a
tool's result never stands without its call, and no message is cut in its middle.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from surefoot.errors import ContextTooLong, Misconfigured
from surefoot.storage._sqlite import create_private, make_private
from surefoot.types import Message
from surefoot.usage.tokens import MESSAGE_TOKENS, estimate_message
from surefoot.usage.trim import Count, part

WINDOW_TOKENS = 4000  # a third of the smallest window in use today, leaving room for passages and the answer
MAX_CONVERSATIONS = 1000  # kept in memory; others are read again from the file
SCHEMA = "CREATE TABLE IF NOT EXISTS turns (conversation TEXT NOT NULL, at INTEGER PRIMARY KEY AUTOINCREMENT, message BLOB NOT NULL)"
INDEX = "CREATE INDEX IF NOT EXISTS turns_by_conversation ON turns (conversation, at)"

Summarise = Callable[[Sequence[Message]], str]


def count_tokens(message: Message) -> int:
    """Tokens of one message, estimated without a download; calls and their arguments included."""
    return estimate_message(message)


def trim(
    messages: Sequence[Message], *, window_tokens: int, count: Count = count_tokens, summarise: Summarise | None = None
) -> list[Message]:
    """The newest turns of `messages` that fit `window_tokens`, standing instructions always among them.

    With `summarise`, what was left out comes back as one system message made of it (its tokens count as well). Raises ContextTooLong,
    naming both numbers, if the instructions and the newest turn alone do not fit.
    """
    parted = part(messages, window_tokens=window_tokens, count=count)
    if summarise is None or not parted.left_out:
        return [*parted.standing, *parted.kept]
    told = Message.system(f"Earlier in this conversation: {summarise(parted.left_out)}")
    try:
        again = part([*parted.standing, told, *parted.kept], window_tokens=window_tokens, count=count)
    except ContextTooLong:
        return [*parted.standing, *parted.kept]  # a summary longer than what is left helps nobody
    return [*again.standing, *again.kept]


class History:
    """Conversations by name: `History("chat.db")`, or without a path in memory alone.

    `add()` remembers, `window()` gives what to ask with. Safe from several threads and processes, which see each other's turns: what others
    added or forgot is read from the file each time. In memory at most `max_conversations` conversations are held, and of each only its
    window; the file holds everything (`all()`) and is readable by its owner alone. Raises Misconfigured for a file that is no database,
    cannot be opened, read or written.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        window_tokens: int = WINDOW_TOKENS,
        max_conversations: int = MAX_CONVERSATIONS,
        summarise: Summarise | None = None,
    ) -> None:
        if window_tokens <= MESSAGE_TOKENS:
            raise Misconfigured(f"window_tokens = {window_tokens} holds no message at all")
        self.window_tokens = window_tokens
        """How much of a conversation is asked with, in tokens; more than one message's overhead."""
        self._path = None if path is None else Path(path)
        self._max = max_conversations
        self._summarise = summarise
        self._recent: OrderedDict[str, list[Message]] = OrderedDict()
        self._read: dict[str, int] = {}  # of each conversation in memory: the file's row up to which it was read
        self._lock = threading.RLock()
        if self._path is not None:
            with self._database() as database, database:
                database.execute(SCHEMA)
                database.execute(INDEX)
                make_private(self._path)

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        assert self._path is not None
        try:
            create_private(self._path)
            database = sqlite3.connect(str(self._path), timeout=5.0)
        except (OSError, sqlite3.Error) as error:
            raise Misconfigured(f"the history {self._path} cannot be opened: {error}") from error
        try:
            with closing(database):
                database.execute("PRAGMA journal_mode=WAL")
                yield database
        except sqlite3.Error as error:
            raise Misconfigured(f"the history {self._path} cannot be used: {error}") from error

    def add(self, conversation: str, *messages: Message) -> None:
        """Remember `messages` as said now; on disk before this returns."""
        with self._lock:
            if self._path is None:
                self._shorten(conversation, [*self._recent.get(conversation, ()), *messages])
                return
            with self._database() as database, database:
                rows = [(conversation, msgspec.msgpack.encode(message)) for message in messages]
                database.executemany("INSERT INTO turns (conversation, message) VALUES (?, ?)", rows)
                self._catch_up(conversation, database)

    def _shorten(self, conversation: str, recent: list[Message]) -> None:
        try:
            kept = trim(recent, window_tokens=self.window_tokens)
        except ContextTooLong:
            kept = recent  # window() says so when it is asked
        if self._path is not None:
            recent = kept
        self._recent[conversation] = recent
        self._recent.move_to_end(conversation)
        while self._path is not None and len(self._recent) > self._max:
            gone, _ = self._recent.popitem(last=False)
            self._read.pop(gone, None)

    def window(self, conversation: str, *new: Message) -> list[Message]:
        """What to ask with: the conversation and `new` (not remembered yet), trimmed to the window. Raises ContextTooLong as `trim`."""
        with self._lock:
            whole = self.all(conversation) if self._summarise is not None else self._load(conversation)
        return trim([*whole, *new], window_tokens=self.window_tokens, summarise=self._summarise)

    def all(self, conversation: str) -> list[Message]:
        """Everything ever said in the conversation, in order."""
        if self._path is None:
            return list(self._recent.get(conversation, ()))
        with self._database() as database:
            rows = database.execute("SELECT message FROM turns WHERE conversation = ? ORDER BY at", (conversation,)).fetchall()
        return [msgspec.msgpack.decode(row[0], type=Message) for row in rows]

    def forget(self, conversation: str) -> None:
        """Delete the conversation from memory and file."""
        with self._lock:
            self._recent.pop(conversation, None)
            self._read.pop(conversation, None)
            if self._path is not None:
                with self._database() as database, database:
                    database.execute("DELETE FROM turns WHERE conversation = ?", (conversation,))

    def _load(self, conversation: str) -> list[Message]:
        if self._path is None:
            return self._recent.get(conversation, [])
        with self._database() as database:
            return self._catch_up(conversation, database)

    def _catch_up(self, conversation: str, database: sqlite3.Connection) -> list[Message]:
        """The conversation's window with what others have added to the file since; begun anew where they have forgotten it."""
        read = self._read.get(conversation, 0)
        if read and database.execute("SELECT 1 FROM turns WHERE at = ? AND conversation = ?", (read, conversation)).fetchone() is None:
            read = 0
        said = "SELECT at, message FROM turns WHERE conversation = ? AND at > ? ORDER BY at"
        rows = database.execute(said, (conversation, read)).fetchall()
        recent = self._recent.get(conversation, []) if read else []
        if rows or not read:
            recent = [*recent, *(msgspec.msgpack.decode(row[1], type=Message) for row in rows)]
            self._read[conversation] = rows[-1][0] if rows else 0
        self._shorten(conversation, recent)
        return self._recent.get(conversation, recent)
