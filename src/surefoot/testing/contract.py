"""What every layer promises, as one coroutine a promise: run it over chat, stream and embed.

    contract = LayerContract(lambda provider: stack(provider, Retry()), kind="stream")
    for promise in PROMISES:
        await contract.check(promise)

Run it in virtual time (a looptime loop), or waits between retries are real. A broken promise raises AssertionError saying which and where.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeAlias

from surefoot.core.stack import Handler
from surefoot.core.stream import Outcome, Stream, when_finished
from surefoot.errors import BadRequest, ConnectionLost, Interrupted, SurefootError
from surefoot.testing.scripted import STALL, Scripted, make_call
from surefoot.types import Call

Kind: TypeAlias = Literal["chat", "stream", "embed"]
Build: TypeAlias = Callable[[Scripted], Handler]

PROMISES = (
    "transparent_when_idle",
    "settles_once_on_success",
    "settles_once_on_failure",
    "settles_once_on_cancellation",
    "settles_once_when_abandoned",
    "settles_once_when_never_read",
    "gives_everything_back_when_cancelled_anywhere",
    "gives_everything_back_when_cancelled_twice",
    "gives_everything_back_when_cancelled_at_any_time",
    "gives_everything_back_under_contention",
    "never_asks_after_the_first_token",
    "outlives_a_loop_that_died_in_mid_call",
)


class LayerContract:
    """The promises of one layer: `LayerContract(build, kind="chat")`.

    `build(provider)` makes a fresh layer around `provider`; it is called once for each scenario. What it returns may be any Handler; layers
    found in its `layers` that have `idle() -> bool` are asked whether they hold anything. `asks_again` excuses a layer (resume) from asking
    once.
    """

    def __init__(self, build: Build, *, kind: Kind, asks_again: bool = False) -> None:
        self._build = build
        self.kind = kind
        self._asks_again = asks_again

    async def check(self, promise: str) -> None:
        """Run one promise of PROMISES."""
        await getattr(self, promise)()

    # What is asked, and how a caller lives with the answer

    def _call(self, deadline_s: float | None = 600.0) -> Call[Any]:
        asked: Any = ["one", "two"] if self.kind == "embed" else "Merhaba"
        return make_call(asked, stream=self.kind == "stream", deadline_s=deadline_s)

    async def _live(self, ask: Handler, outcomes: list[Outcome]) -> Any:
        """Ask and read to the end; every settlement goes to `outcomes`."""
        answer = await when_finished(ask(self._call()), outcomes.append)
        if isinstance(answer, Stream):
            async for _ in answer:
                pass
        return answer

    async def _failure(self, ask: Handler, outcomes: list[Outcome]) -> SurefootError | None:
        """The error a call ends with; None for a success."""
        try:
            await self._live(ask, outcomes)
        except SurefootError as error:
            return error
        return None

    # The promises

    async def transparent_when_idle(self) -> None:
        """A healthy call goes through once, unchanged, and comes back unchanged."""
        bare, provider = Scripted("three little words"), Scripted("three little words")
        call = self._call()
        ask = self._build(provider)
        plain, through = await bare(call), await ask(call)
        assert provider.calls == 1, f"{provider.calls} calls for one"
        assert provider.requests[0] == call.request, "the request was changed"
        if isinstance(plain, Stream):
            assert isinstance(through, Stream), "a stream did not come back as a stream"
            expected, got = [delta async for delta in plain], [delta async for delta in through]
            assert "".join(d.text for d in got) == "".join(d.text for d in expected), "the text was changed"
            assert got[-1].finish_reason == expected[-1].finish_reason, "the terminal marker was lost"
            assert got[-1].usage == expected[-1].usage, "the usage was lost"
        elif self.kind == "chat":
            assert (through.text, through.finish_reason, through.usage) == (plain.text, plain.finish_reason, plain.usage), "reply changed"
        else:
            assert (through.vectors == plain.vectors).all(), "the vectors were changed"
            assert through.space == plain.space, "the space id was lost"
        await self._nothing_left(ask, provider, "a healthy call")

    async def settles_once_on_success(self) -> None:
        """One settlement, complete."""
        provider = Scripted("fine", latency_s=0.2, delta_gap_s=0.1)
        ask, outcomes = self._build(provider), list[Outcome]()
        await self._live(ask, outcomes)
        assert [outcome.complete for outcome in outcomes] == [True], "not finished exactly once, complete"
        await self._nothing_left(ask, provider, "success")

    async def settles_once_on_failure(self) -> None:
        """One settlement, with the error the caller got."""
        provider = Scripted(BadRequest("no such field"), latency_s=0.2)
        ask, outcomes = self._build(provider), list[Outcome]()
        error = await self._failure(ask, outcomes)
        assert isinstance(error, BadRequest), f"the caller's own mistake came out as {error!r}"
        assert [outcome.error for outcome in outcomes] == [error], "not finished exactly once, with the caller's error"
        await self._nothing_left(ask, provider, "a failure")

    async def settles_once_on_cancellation(self) -> None:
        """One settlement, cancelled; the cancellation comes out as itself."""
        provider = Scripted(STALL)
        ask, outcomes = self._build(provider), list[Outcome]()
        task = asyncio.get_running_loop().create_task(self._live(ask, outcomes))
        await asyncio.sleep(1.0)
        task.cancel()
        await _ended(task)
        assert task.cancelled(), "the cancellation was swallowed"
        assert [outcome.cancelled for outcome in outcomes] == [True], "not finished exactly once, cancelled"
        await self._nothing_left(ask, provider, "a cancellation")

    async def settles_once_when_abandoned(self) -> None:
        """A reader who leaves after one delta closes the connection, once."""
        await self._leave_after(1)

    async def settles_once_when_never_read(self) -> None:
        """A stream opened, never read and closed, and one that is only let go of."""
        await self._leave_after(0)
        if self.kind != "stream":
            return
        provider = Scripted("one two three four", delta_gap_s=0.1)
        ask, outcomes = self._build(provider), list[Outcome]()
        stream = await when_finished(ask(self._call()), outcomes.append)
        stream.abandon()
        assert [outcome.abandoned for outcome in outcomes] == [True], "not finished exactly once when let go of"
        await self._nothing_left(ask, provider, "a stream let go of")

    async def _leave_after(self, deltas: int) -> None:
        if self.kind != "stream":
            return
        provider = Scripted("one two three four", delta_gap_s=0.1, close_s=0.1)
        ask, outcomes = self._build(provider), list[Outcome]()
        stream = await when_finished(ask(self._call()), outcomes.append)
        for _ in range(deltas):
            await stream.__anext__()
        await stream.aclose()
        await stream.aclose()
        assert [outcome.abandoned for outcome in outcomes] == [True], "not finished exactly once, abandoned"
        await self._nothing_left(ask, provider, f"leaving after {deltas} deltas")
        assert provider.closed == 1, f"the connection was closed {provider.closed} times"

    async def gives_everything_back_when_cancelled_anywhere(self) -> None:
        """Cancelled at its k-th await, for every k: nothing held, and the cancellation comes out as itself."""
        await self._cancel_everywhere(twice=False)

    async def gives_everything_back_when_cancelled_twice(self) -> None:
        """The same, with a second cancel while the first is being cleaned up after."""
        await self._cancel_everywhere(twice=True)

    async def gives_everything_back_when_cancelled_at_any_time(self) -> None:
        """Cancelled after every 40 ms: also what runs in tasks of the layer's own is caught at each of its awaits."""
        for script in self._scripts():
            step, is_over = 0, False
            while not is_over:
                step += 1
                provider = Scripted(*script, latency_s=0.2, delta_gap_s=0.1, close_s=0.1)
                ask, outcomes = self._build(provider), list[Outcome]()
                task = asyncio.get_running_loop().create_task(self._live(ask, outcomes))
                await asyncio.wait([task], timeout=0.04 * step)
                is_over = task.done()
                task.cancel()
                await _ended(task)
                where = f"script {script}: cancelled after {40 * step} ms"
                assert task.cancelled() or (is_over and isinstance(task.exception(), SurefootError | None)), f"{where}: it was swallowed"
                assert len(outcomes) == 1, f"{where}: finished {len(outcomes)} times"
                await self._nothing_left(ask, provider, where)

    async def gives_everything_back_under_contention(self) -> None:
        """Three calls at once, the middle one cancelled at its k-th await, for every k; the other two end well."""
        for k in range(1, 500):
            provider = Scripted("one two", latency_s=0.2, delta_gap_s=0.1)
            ask = self._build(provider)
            loop = asyncio.get_running_loop()
            others = [loop.create_task(self._live(ask, []))]
            stepper = Stepper(self._live(ask, []), cancel_at=(k,))
            middle = loop.create_task(stepper.run())
            others.append(loop.create_task(self._live(ask, [])))
            await _ended(middle, *others)
            for other in others:
                other.result()
            if stepper.cancels:
                assert middle.cancelled(), f"cancelled at await {k} of a contended call: the cancellation was swallowed"
            await self._nothing_left(ask, provider, f"a contended call cancelled at await {k}")
            if not stepper.cancels:
                return
        raise AssertionError("a call of more than 500 awaits")

    async def _cancel_everywhere(self, *, twice: bool) -> None:
        for script in self._scripts():
            for k in range(1, 500):
                provider = Scripted(*script, latency_s=0.2, delta_gap_s=0.1, close_s=0.1)
                ask, outcomes = self._build(provider), list[Outcome]()
                stepper = Stepper(self._live(ask, outcomes), cancel_at=(k, k + 1) if twice else (k,))
                task = asyncio.get_running_loop().create_task(stepper.run())
                await _ended(task)
                where = f"script {script}: cancelled at await {k}{' and again' if twice else ''}"
                if stepper.cancels:
                    assert task.cancelled(), f"{where}: the cancellation was swallowed"
                elif not isinstance(task.exception(), SurefootError | None):
                    raise AssertionError(f"{where}: an error that is none of ours") from task.exception()
                assert len(outcomes) == 1, f"{where}: finished {len(outcomes)} times"
                await self._nothing_left(ask, provider, where)
                if not stepper.cancels:
                    break
            else:
                raise AssertionError("a call of more than 500 awaits")

    def _scripts(self) -> list[Sequence[Any]]:
        """What the provider does while it is cancelled."""
        scripts: list[Sequence[Any]] = [("one two three",), (ConnectionLost("reset"), "one two"), (BadRequest("no such field"),)]
        if self.kind == "stream":
            scripts.append((["one ", "two ", ConnectionLost("reset")],))
        return scripts

    async def never_asks_after_the_first_token(self) -> None:
        """A stream that breaks after its first token is Interrupted, once, with what arrived."""
        if self.kind != "stream" or self._asks_again:
            return
        provider = Scripted(["Hel", "lo", ConnectionLost("reset")], "another answer", delta_gap_s=0.1)
        ask, outcomes = self._build(provider), list[Outcome]()
        error = await self._failure(ask, outcomes)
        assert isinstance(error, Interrupted), f"a stream that broke after its first token ended with {error!r}"
        assert error.partial == "Hello", f"partial is {error.partial!r}"
        assert provider.calls == 1, "asked again after the first token"
        await self._nothing_left(ask, provider, "a broken stream")

    async def outlives_a_loop_that_died_in_mid_call(self) -> None:
        """Three loops one after the other, each closed with a call in flight: the next one finds the layer free."""
        provider = Scripted("fine", latency_s=0.001)
        ask = self._build(provider)

        outcomes: list[Outcome] = []

        async def one_life() -> None:
            for _ in range(3):
                await self._live(ask, outcomes)
            abandoned = asyncio.get_running_loop().create_task(self._live(ask, []))
            await asyncio.sleep(0)
            del abandoned  # asyncio.run cancels it when the loop ends

        for _ in range(3):
            await asyncio.to_thread(asyncio.run, one_life())
        assert sum(outcome.complete for outcome in outcomes) == 9, "a call of a later life failed"  # 3 lives of 3 calls
        await self._nothing_left(ask, provider, "three loops")

    def serves_threads(self, run: Callable[[Coroutine[Any, Any, Any]], Any], *, threads: int = 8, calls: int = 20) -> None:
        """Sync, in real time: `threads` threads ask `calls` times each through `run` (surefoot.runtime.run), which all share one loop."""
        provider = Scripted("fine")
        ask = self._build(provider)
        outcomes: list[Outcome] = []

        def work(_: int) -> None:
            for _ in range(calls):
                run(self._live(ask, outcomes))

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
        assert sum(outcome.complete for outcome in outcomes) == threads * calls, "a call from a thread got lost"
        run(self._nothing_left(ask, provider, f"{threads} threads"))

    # Nothing is left behind

    async def _nothing_left(self, ask: Handler, provider: Scripted, after: str) -> None:
        await drained()
        assert provider.in_flight == 0, f"{provider.in_flight} calls still in flight after {after}"
        assert provider.open_streams == 0, f"{provider.open_streams} streams still open after {after}"
        for layer in _stack(ask):
            idle = getattr(layer, "idle", None)
            assert idle is None or idle(), f"{type(layer).__name__} still holds something after {after}"


async def drained(*, within_s: float = 5.0) -> None:
    """Wait (on the loop's clock) until no other task is left; raises AssertionError naming those that are."""
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    while others := [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
        assert loop.time() < until, f"tasks left behind: {others}"
        await asyncio.sleep(0.05)
    await asyncio.sleep(0)  # their callbacks


async def _ended(*tasks: asyncio.Task[Any]) -> None:
    """Wait until `tasks` are over; a layer that swallowed a cancellation could go on for ever."""
    _, late = await asyncio.wait(tasks, timeout=1000.0)
    for task in late:
        task.cancel()
    assert not late, "a call went on for 1000 s after it was cancelled, or waited for a place it never got"


def _stack(ask: Any) -> list[Any]:
    """Every layer inside `ask`, and `ask` itself."""
    layers = [ask, *getattr(ask, "layers", ())]
    for inner in (getattr(ask, "provider", None), *getattr(ask, "handlers", ())):
        if inner is not None:
            layers.extend(_stack(inner))
    return layers


class Stepper:
    """Runs a coroutine and cancels its task at its n-th awaits, counted from 1: `Stepper(coro, cancel_at=(3, 4))`.

    `awaits` counts the times it really suspended, `cancels` the cancels sent.
    """

    def __init__(self, coro: Coroutine[Any, Any, Any], *, cancel_at: tuple[int, ...] = ()) -> None:
        self._coro = coro
        self._cancel_at = cancel_at
        self.awaits = 0
        self.cancels = 0

    async def run(self) -> Any:
        """The coroutine's result; to be run as a task of its own."""
        return await _Stepping(self._drive)

    def _drive(self) -> Generator[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                suspended_on = self._coro.send(value) if error is None else self._coro.throw(error)
            except StopIteration as stop:
                return stop.value
            self.awaits += 1
            if self.awaits in self._cancel_at:
                self.cancels += 1
                asyncio.get_running_loop().call_soon(task.cancel)
            value = error = None
            try:
                value = yield suspended_on
            except BaseException as thrown:  # noqa: BLE001 - handed on to the coroutine
                error = thrown


class _Stepping(Awaitable[Any]):
    def __init__(self, drive: Callable[[], Generator[Any, Any, Any]]) -> None:
        self._drive = drive

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._drive()
