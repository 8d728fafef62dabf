"""Small things the tests of layers share."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from surefoot.core.stream import Stream
from surefoot.errors import SurefootError
from surefoot.testing import make_call


async def read(ask, call):
    """The whole text of a plain reply or a stream."""
    answer = await ask(call)
    if isinstance(answer, Stream):
        return "".join([delta.text async for delta in answer])
    return answer.text


async def fails(ask, kind, *, times=1, call=None):
    """Ask `times` times; each must fail with `kind`. The last error."""
    for _ in range(times):
        with pytest.raises(kind) as caught:
            await ask(call or make_call())
    return caught.value


async def together(ask, calls):
    """All at once; results and errors, in order."""
    return await asyncio.gather(*(read(ask, call) for call in calls), return_exceptions=True)


async def offered(ask, per_s, seconds, *, deadline_s=None):
    """`per_s` calls a second for `seconds`, evenly, none waiting for another: how many ended in what ("" is an answer)."""
    ended = Counter()

    async def one():
        try:
            await read(ask, make_call(deadline_s=deadline_s))
        except SurefootError as error:
            ended[type(error).__name__] += 1
        else:
            ended[""] += 1

    async with asyncio.TaskGroup() as group:
        begun = now()
        for n in range(int(per_s * seconds)):
            await asyncio.sleep(begun + n / per_s - now())
            group.create_task(one())
    return ended


def now():
    """The loop's clock, in seconds."""
    return asyncio.get_running_loop().time()


class Heard(list):
    """A listener that keeps what it hears: `Heard()`; `.kinds` are the class names."""

    def __call__(self, event):
        self.append(event)

    @property
    def kinds(self):
        return [type(event).__name__ for event in self]

    def of(self, kind):
        return [event for event in self if isinstance(event, kind)]


class Plain:
    """A store of bytes, the least a user's own may be."""

    def __init__(self):
        self.rows = {}

    async def get(self, key):
        return self.rows.get(key)

    async def set(self, key, value, *, ttl_s=None):
        self.rows[key] = value

    async def delete(self, key):
        self.rows.pop(key, None)

    async def aclose(self):
        pass
