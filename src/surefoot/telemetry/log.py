"""One readable log of what a model does: `Log().watch(chat)`, or `log = true` in its table of surefoot.toml.

A line at INFO for each retry, fallback, second request, opened or closed breaker and resumed stream, in the logger
"surefoot.telemetry.log". Prompts, answers, keys, tenants and tags stand in none. A target that refuses for good is warned of by the attempt
layer, once and without this.
"""

from __future__ import annotations

import logging
from typing import Any

from surefoot.events import BreakerClosed, BreakerOpened, Event, FellBack, Hedged, Resumed, Retried
from surefoot.text import one_line

logger = logging.getLogger(__name__)


class Log:
    """A subscriber that writes one line for each thing a reader of logs wants to know. `watch(*models)` listens from now on."""

    def watch(self, *models: Any) -> Log:
        """Listen to `models`; returns itself."""
        for model in models:
            model.subscribe(self, inline=True)
        return self

    def __call__(self, event: Event) -> None:
        """Write the line of one event, if it has one."""
        line = _line(event)
        if line:
            logger.info("%s [call %s]", one_line(line), event.call_id)


def _line(event: Event) -> str:  # noqa: PLR0911 - one line an event
    match event:
        case Retried():
            return f"{event.target}: attempt {event.attempt} after {event.wait_s:.2f} s, because of {event.cause}"
        case FellBack():
            return f"{event.target} failed ({event.cause}): {event.next_target} is asked"
        case Hedged():
            return f"{event.target}: a second request after {event.delay_s:.2f} s without an answer"
        case BreakerOpened():
            return f"{event.target} is left alone for {event.wait_s:.1f} s: {event.failures} of the last {event.calls} calls failed"
        case BreakerClosed():
            return f"{event.target} answers again and is used"
        case Resumed():
            return f"the stream broke after {event.characters} characters: {event.target} begins anew"
        case _:
            return ""
