"""What the suites share: a check may not be overridden without a reason, and events are listened to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.rate_limiter import BaseRateLimiter
from llama_index_instrumentation import get_dispatcher


class FrameworkSuite:
    """The base of both suites."""

    secrets: Sequence[str] = ()  # keys given to the object; they must show nowhere

    def test_no_check_is_overridden(self) -> None:
        """A check that was changed proves nothing: only xfail with a reason may stand in its place."""
        suite = next(base for base in type(self).__mro__ if base.__module__.startswith("llama_index_suite"))
        names = [name for name in dir(suite) if name.startswith("test_")]
        changed = [name for name in names if getattr(type(self), name, None) is not getattr(suite, name)]
        unexcused = [name for name in changed if not _excused(getattr(type(self), name, None))]
        assert not unexcused, f"overridden or removed without xfail(reason=...): {unexcused}"

    def holds_no_secret(self, *shown: Any) -> None:
        """Fail if a secret stands in any of `shown`."""
        for secret in self.secrets:
            assert not any(secret in str(one) for one in shown), "a key is shown"


def _excused(check: Any) -> bool:
    marks = getattr(check, "pytestmark", ())
    return any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)


def needs(flag: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence at every call
    """Skip the check if the class says it cannot do `what`."""
    if not flag:
        pytest.skip(f"the class under test has no {what}, it says")


class CountingHandler(BaseCallbackHandler):
    """A legacy callback handler that counts what began and what ended."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.started: list[CBEventType] = []
        self.ended: list[CBEventType] = []

    def on_event_start(self, event_type: CBEventType, *_: Any, event_id: str = "", **__: Any) -> str:
        """Count a beginning."""
        self.started.append(event_type)
        return event_id

    def on_event_end(self, event_type: CBEventType, *_: Any, **__: Any) -> None:
        """Count an end."""
        self.ended.append(event_type)

    def start_trace(self, trace_id: str | None = None) -> None:
        """Nothing to do."""

    def end_trace(self, trace_id: str | None = None, trace_map: Any = None) -> None:
        """Nothing to do."""

    @property
    def manager(self) -> CallbackManager:
        """A manager with this handler alone."""
        return CallbackManager([self])


class HeardEvents(BaseEventHandler):
    """An instrumentation handler that keeps what it hears."""

    heard: list[Any] = []  # noqa: RUF012 - a pydantic field

    @classmethod
    def class_name(cls) -> str:
        """LlamaIndex's name of the class."""
        return "HeardEvents"

    def handle(self, event: Any, **_: Any) -> None:
        """Keep `event`."""
        self.heard.append(event)

    @property
    def names(self) -> list[str]:
        """The class names of what was heard, in order."""
        return [type(event).__name__ for event in self.heard]


@contextmanager
def listening() -> Iterator[HeardEvents]:
    """Hear every instrumentation event inside."""
    handler = HeardEvents(heard=[])
    dispatcher = get_dispatcher()
    dispatcher.add_event_handler(handler)
    try:
        yield handler
    finally:
        dispatcher.event_handlers.remove(handler)


class CountingLimiter(BaseRateLimiter):
    """A rate limiter that lets all through and counts."""

    def __init__(self) -> None:
        self.asked = 0

    def acquire(self, num_tokens: int = 0) -> None:
        """Count."""
        del num_tokens
        self.asked += 1

    async def async_acquire(self, num_tokens: int = 0) -> None:
        """Count."""
        self.acquire(num_tokens)
