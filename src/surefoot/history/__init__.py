"""A conversation kept within a token window: whole in SQLite or Postgres, short in memory and in the prompt.

Nothing is ever lost from there; what leaves the window is only left out of what is asked next. Turns leave whole and oldest first: a
tool's result never stands without its call, and no message is cut in its middle.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from surefoot.errors import ContextTooLong, Misconfigured
from surefoot.history.turns import ConversationStore, PostgresTurns, SqliteTurns
from surefoot.secret import Secret
from surefoot.storage.sql import is_postgres_url
from surefoot.types import Message
from surefoot.usage.tokens import MESSAGE_TOKENS, estimate_message
from surefoot.usage.trim import Count, part

WINDOW_TOKENS = 4000  # a third of the smallest window in use today, leaving room for passages and the answer
MAX_CONVERSATIONS = 1000  # kept in memory; others are read again from the file

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
    """Conversations by name: `History("chat.db")`, `History("postgresql://USER@HOST/NAME")` (`surefoot[postgres]`), or in memory alone.

    `add()` remembers, `window()` gives what to ask with. Safe from several threads and processes, which see each other's turns: what others
    added or forgot is read each time. The file or database holds everything (`all()`), in memory at most `max_conversations` conversations
    are held, and of each only its window; a file is readable by its owner alone. Without a path nothing is kept elsewhere, so that all
    conversations stay in memory whole until `forget()`. Raises Misconfigured for what is no database, cannot be
    opened, read or written.
    """

    def __init__(
        self,
        path: str | Path | Secret | None = None,
        *,
        window_tokens: int = WINDOW_TOKENS,
        max_conversations: int = MAX_CONVERSATIONS,
        summarise: Summarise | None = None,
    ) -> None:
        if window_tokens <= MESSAGE_TOKENS:
            raise Misconfigured(f"window_tokens = {window_tokens} holds no message at all")
        self.window_tokens = window_tokens
        """How much of a conversation is asked with, in tokens; more than one message's overhead."""
        self._turns = None if path is None else _open(path)
        self._max = max_conversations
        self._summarise = summarise
        self._recent: OrderedDict[str, list[Message]] = OrderedDict()
        self._read: dict[str, int] = {}  # of each conversation in memory: the place up to which it was read
        self._lock = threading.RLock()

    def add(self, conversation: str, *messages: Message) -> None:
        """Remember `messages` as said now; kept, where a file or database is named, before this returns."""
        with self._lock:
            if self._turns is None:
                self._shorten(conversation, [*self._recent.get(conversation, ()), *messages])
            else:
                self._catch_up(conversation, self._turns, [msgspec.msgpack.encode(message) for message in messages])

    def _shorten(self, conversation: str, recent: list[Message]) -> None:
        try:
            kept = trim(recent, window_tokens=self.window_tokens)
        except ContextTooLong:
            kept = recent  # window() says so when it is asked
        if self._turns is not None:
            recent = kept
        self._recent[conversation] = recent
        self._recent.move_to_end(conversation)
        while self._turns is not None and len(self._recent) > self._max:
            gone, _ = self._recent.popitem(last=False)
            self._read.pop(gone, None)

    def window(self, conversation: str, *new: Message) -> list[Message]:
        """What to ask with: the conversation and `new` (not remembered yet), trimmed to the window. Raises ContextTooLong as `trim`."""
        with self._lock:
            whole = self.all(conversation) if self._summarise is not None else self._load(conversation)
        return trim([*whole, *new], window_tokens=self.window_tokens, summarise=self._summarise)

    def all(self, conversation: str) -> list[Message]:
        """Everything ever said in the conversation, in order."""
        if self._turns is None:
            return list(self._recent.get(conversation, ()))
        return [_message(body) for body in self._turns.all(conversation)]

    def forget(self, conversation: str) -> None:
        """Delete the conversation from memory and from where it is kept."""
        with self._lock:
            self._recent.pop(conversation, None)
            self._read.pop(conversation, None)
            if self._turns is not None:
                self._turns.forget(conversation)

    def close(self) -> None:
        """Let go of a database's connection; the next use opens another."""
        if self._turns is not None:
            self._turns.close()

    def _load(self, conversation: str) -> list[Message]:
        if self._turns is None:
            return self._recent.get(conversation, [])
        return self._catch_up(conversation, self._turns)

    def _catch_up(self, conversation: str, turns: ConversationStore, new: Sequence[bytes] = ()) -> list[Message]:
        """The conversation's window with `new` and what others have added since; begun anew where they have forgotten it."""
        goes_on, rows = turns.add(conversation, new, self._read.get(conversation, 0))
        recent = self._recent.get(conversation, []) if goes_on else []
        if rows or not goes_on:
            recent = [*recent, *(_message(body) for _, body in rows)]
            self._read[conversation] = rows[-1][0] if rows else 0
        self._shorten(conversation, recent)
        return self._recent.get(conversation, recent)


def _open(path: str | Path | Secret) -> ConversationStore:
    said = path.reveal() if isinstance(path, Secret) else str(path)
    return PostgresTurns(Secret(said)) if is_postgres_url(said) else SqliteTurns(Path(said.removeprefix("sqlite:")))


def _message(body: bytes) -> Message:
    return msgspec.msgpack.decode(body, type=Message)
