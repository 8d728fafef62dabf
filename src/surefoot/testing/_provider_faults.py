"""Promises of every provider when things go wrong: faults named, cut streams told, connections closed, one request a call."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

from msgspec.structs import replace

from surefoot import errors
from surefoot.core.stack import stack
from surefoot.core.stream import Stream, collect
from surefoot.errors import ConnectionLost, Fault, Interrupted, MalformedReply, SurefootError
from surefoot.layers.watch.timeout import Timeout
from surefoot.testing._provider import WEATHER, Promises, ProviderUnderTest, asking, needing
from surefoot.testing.wire import OK, PlainAnswer, WireFault, fault, faults_for
from surefoot.testing.wire import PlainToolCall as Called
from surefoot.testing.wire.faults import Surface
from surefoot.types import ChatReply, EmbedRequest

FAULTS: Promises = {}
PRIVATE = "xyzzy-plugh"  # stands in every prompt, and may stand in no error
TIMERS_S = (0.05, 1.0, 20.0)  # for faults that never end by themselves (30 s of silence): when it fires does not matter, only that it does
DEADLINE_S = 60.0  # of each call: later than every timer, since an embedding without a deadline is not timed
STEP = 97  # bytes between the places where streams are cut: coprime to everything, so that cuts fall anywhere in an event


def fault_rows(it: ProviderUnderTest) -> list[tuple[WireFault, Surface]]:
    """Every row of the fault catalogue that concerns this provider, with the surface it is played on."""
    if it.sim is None:
        return []
    surfaces: list[Surface] = [*(("chat", "stream") if "chat" not in it.cannot else ()), *(("embed",) if "embed" not in it.cannot else ())]
    return [(row, surface) for surface in surfaces for row in faults_for(it.sim.vendor, surface)]  # type: ignore[arg-type]


async def tells_fault(it: ProviderUnderTest, row: WireFault, surface: Surface) -> None:
    """The row's class, truthful about asking again; one request; neither a key nor the prompt in what is shown."""
    it.script(row)
    request: Any = EmbedRequest(texts=("a", "b", f"My secret is {PRIVATE}."))
    if surface != "embed":
        request = it.request(f"My secret is {PRIVATE}.", tools=(WEATHER,) if "tool" in row.name else ())
    caught = await _outcome(it, row, request, stream=surface == "stream")
    where = f"{row.name} ({row.note or row.kind}) on {surface}"
    assert it.server.request_count == 1, f"{where}: {it.server.request_count} requests"
    if not row.means:
        assert caught is None, f"{where}: {caught!r}, though nothing is wrong"
        return
    assert isinstance(caught, SurefootError), f"{where}: {caught!r} where {row.means} belongs"
    right = tuple(getattr(errors, name) for name in (row.means, row.also) if name)
    assert isinstance(caught, right), f"{where}: {caught!r} where {row.means} belongs"
    assert caught.retryable == row.retryable, f"{where}: retryable is {caught.retryable}"
    shown = "".join(traceback.TracebackException.from_exception(caught, capture_locals=True).format())
    for secret in it.secrets:
        assert secret not in shown, f"{where}: the traceback shows the key"
    assert PRIVATE not in str(caught), f"{where}: the message repeats the prompt"
    if isinstance(caught, Fault) and row.status >= 400:
        assert caught.status == row.status, f"{where}: status {caught.status}"
    del caught
    await it.idle()


async def _outcome(it: ProviderUnderTest, row: WireFault, request: Any, *, stream: bool) -> BaseException | None:
    """What the call ended with. Faults that would never end meet a timer; one that fired before anything was sent is set again, longer."""
    for timer_s in TIMERS_S if row.delay_s or row.stall_s or row.spoil == "ping_flood" else (None,):
        first_s = timer_s if row.means == "AttemptTimedOut" else TIMERS_S[-1]
        provider = it.provider.embed if isinstance(request, EmbedRequest) else it.provider.chat
        ask = provider if timer_s is None else stack(provider, Timeout(first_token_s=first_s, idle_s=timer_s, whole_s=first_s))
        try:
            call = replace(asking(request, stream=stream), deadline=asyncio.get_running_loop().time() + DEADLINE_S)
            answer = await ask(call)
            if isinstance(answer, Stream):
                await collect(answer)
        except BaseException as error:  # noqa: BLE001 - looked at by the caller, whatever it is
            if it.server.request_count:
                return error
        else:
            return None
    return None


@needing(FAULTS, "chat", "server", "tools")
async def never_takes_a_cut_stream_for_whole(it: ProviderUnderTest) -> None:
    """Cut by FIN, by RST, or framed as if it were whole, at offsets all over: an error, or the whole answer if its end mark was in."""
    for said in (
        PlainAnswer(text="The cooldown lasts 30 seconds. 🫖"),
        PlainAnswer(calls=(Called("weather", '{"city":"İzmir"}'),) * 2, finish="tools"),
    ):
        it.server.clear_script()
        it.saying = said
        request = it.request(tools=(WEATHER,))
        whole = _gist(await it.ask(request, stream=True))
        total = it.last_size_bytes()
        broken = 0
        for cut in ("close", "reset", "end"):
            for at in range(0, total, STEP):
                it.script(OK.but(cut_at=at, cut=cut))
                try:
                    reply = await it.ask(request, stream=True)
                except (ConnectionLost, Interrupted, MalformedReply):
                    broken += 1
                else:
                    assert _gist(reply) == whole, f"cut ({cut}) after {at} of {total} bytes, {_gist(reply)} passes for the whole answer"
        assert broken > total // STEP, "hardly any cut was noticed"
    await it.idle()


def _gist(reply: ChatReply) -> Any:
    return reply.text, [(call.name, call.arguments, call.error) for call in reply.tool_calls], reply.finish_reason


@needing(FAULTS, "chat", "server")
async def closes_a_stream_that_is_left(it: ProviderUnderTest) -> None:
    """A provider bills until its stream is dropped: read in part or not at all, closing it closes the connection."""
    it.saying = PlainAnswer(text="word " * 200)
    for pieces in (0, 1, 3):
        it.script(OK.but(stall_at=0.7, stall_s=600.0))
        stream = await it.open(it.request())
        for _ in range(pieces):
            await stream.__anext__()
        await stream.aclose()
        await it.idle()
    it.script(OK)
    assert (await it.ask(it.request(), stream=False)).text


@needing(FAULTS, "chat", "server")
async def closes_when_cancelled(it: ProviderUnderTest) -> None:
    """Cancelled before the head, in a body, in an error's body or in mid-stream: the connection is closed, the next call is well."""
    silence = {"stall_s": 600.0}
    moments: list[tuple[str, WireFault, bool]] = [
        ("before the head", OK.but(delay_s=600.0), False),
        ("before a stream's head", OK.but(delay_s=600.0), True),
        ("in the body", OK.but(stall_at=5, **silence), False),
        ("in an error's body", fault("status_503").but(stall_at=5, **silence), False),
        ("in mid-stream", OK.but(stall_at=0.5, **silence), True),
    ]
    for when, row, stream in moments:
        it.script([row])
        before = it.server.request_count
        task = asyncio.ensure_future(it.ask(it.request(), stream=stream))
        while not it.server.concurrency:
            assert not task.done(), f"{when}: ended before it was cancelled: {task}"
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), f"{when}: the cancellation was swallowed: {task}"
        await it.idle()
        assert it.server.request_count == before + 1, f"{when}: {it.server.request_count - before} requests for a cancelled call"
        assert (await it.ask(it.request(), stream=stream)).text, f"{when}: the next call came to nothing"


@needing(FAULTS, "chat", "server")
async def follows_no_redirect(it: ProviderUnderTest) -> None:
    """A key that stands in a header of its own, or a prompt, would follow to any host: told as a Fault, and nobody else is asked."""
    with type(it.server)() as elsewhere:
        for status in (302, 307, 308):
            for stream in (False, True):
                it.script([WireFault(name="moved", status=status, headers=(("location", f"{elsewhere.url}/v1/moved"),), body=b"")])
                await it.failure(f"HTTP {status}", it.ask(it.request(), stream=stream), errors.Fault)
        assert not elsewhere.requests, "a redirect was followed"


@needing(FAULTS, "chat", "server")
async def keeps_what_limits_are_told(it: ProviderUnderTest) -> None:
    """A refusal for haste carries the provider's hint, in seconds, wherever the vendor writes it."""
    for name, hint_s in (("retry_after_hint", 1.0), ("retry_after_long", 121.0)):
        row = fault(name).but(retry_in_s=hint_s)
        for stream in (False, True):
            it.script(row)
            told = (await it.failure(name, it.ask(it.request(), stream=stream), errors.RateLimited)).retry_after_s
            assert told == hint_s, f"{name}: the hint is {told} s, {hint_s} s were told"
