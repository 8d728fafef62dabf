"""The clock of calendars and bills: seconds since 1970."""

from __future__ import annotations

import time


def wall_s() -> float:
    """Seconds since 1970: kept values outlive the loop whose clock everything else goes by."""
    return time.time()  # noqa: TID251 - the one clock that processes and restarts share
