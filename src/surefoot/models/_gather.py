"""Many calls at once, their results in order: what `batch` and `abatch` run on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from surefoot import runtime
from surefoot.errors import SurefootError


async def gather(calls: list[Any], ask: Callable[[Any], Awaitable[Any]], *, max_in_flight: int, progress: bool) -> list[Any]:
    """Ask every call, `max_in_flight` at once; in each one's place its result or its error. Cancelling cancels all.

    A call that is an error already stands for itself. A cancellation that came from inside one call is that call's error (ConnectionLost):
    a TaskGroup would take it for the worker's own end, and the calls that were left to the worker would never be asked.
    """
    results: list[Any] = [None] * len(calls)
    todo = iter(enumerate(calls))
    bar = _bar(len(calls)) if progress else None
    parent = asyncio.current_task()
    assert parent is not None
    cancels = parent.cancelling()

    is_over = False

    def is_ending() -> bool:
        return is_over or parent.cancelling() > cancels

    async def work() -> None:
        nonlocal is_over
        for index, call in todo:
            try:
                results[index] = await _result(ask, call, is_ending)
            except BaseException:  # Ctrl-C, or we are cancelled: then the group cancels the other workers
                is_over = True
                raise
            if bar is not None:
                bar.update()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(max(1, max_in_flight), len(calls))):
                group.create_task(work())
    finally:
        if bar is not None:
            bar.close()
    return results


async def _result(ask: Callable[[Any], Awaitable[Any]], call: Any, is_ending: Callable[[], bool]) -> Any:
    """What came of one call: its result or its error."""
    if isinstance(call, SurefootError):
        return call
    try:
        return await ask(call)
    except asyncio.CancelledError as cancelled:
        task = asyncio.current_task()
        if is_ending() or task is None:
            raise
        while task.uncancel():  # by whoever meant the call and hit the worker
            pass
        return runtime.stray(cancelled)
    except Exception as error:  # noqa: BLE001 - the caller gets it, in its place
        return error


def _bar(total: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, unit="call", dynamic_ncols=True)
