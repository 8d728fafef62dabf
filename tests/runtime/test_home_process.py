"""The background loop and its process: forks, Ctrl-C, the interpreter's exit. Each test runs a Python of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap

PRELUDE = """
import asyncio, os, signal, sys, threading
from surefoot import runtime

async def pid():
    return os.getpid()

async def exit_callbacks():
    print("flushed", os.getpid() == parent, flush=True)

parent = os.getpid()
"""

SCRIPT_S = 80.0  # a Python of its own takes long to start on a machine at load 30
SLOW = re.compile(r"Executing <.* took [\d.]+ seconds$")  # asyncio's debug mode on a machine that is busy


def script(body: str, *, wait: bool = True) -> subprocess.Popen[str]:
    """Run `body` in a Python of its own that shows every warning there is, save Python's own about any fork beside any thread."""
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "ignore:This process:DeprecationWarning", "-c", PRELUDE + textwrap.dedent(body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    if wait:
        process.wait(SCRIPT_S)
    return process


def said(process: subprocess.Popen[str]) -> list[str]:
    """What it printed, once it has ended well and without noise."""
    out, noise = process.communicate(timeout=SCRIPT_S)
    assert [line for line in noise.splitlines() if not SLOW.match(line)] == []
    assert process.returncode == 0
    return out.splitlines()


def test_a_forked_child_starts_a_loop_of_its_own():
    """The parent's loop has no thread in the child; and the child must not touch the selector the two share."""
    process = script("""
        runtime.on_exit(exit_callbacks)
        runtime.run(pid())
        before = runtime.generation()
        child = os.fork()
        if child == 0:
            assert runtime.generation() > before
            assert runtime.run(pid()) == os.getpid() != parent
            assert asyncio.run(runtime.arun(pid())) == os.getpid()
            sys.exit()
        assert os.waitpid(child, 0)[1] == 0
        assert runtime.generation() == before
        assert runtime.run(pid()) == parent
    """)
    assert said(process) == ["flushed False", "flushed True"]


def test_a_forked_child_that_never_calls_says_no_exit_callbacks():
    """What its copy of the ledger holds is the parent's to write."""
    process = script("""
        runtime.on_exit(exit_callbacks)
        runtime.run(pid())
        child = os.fork()
        if child == 0:
            sys.exit()
        os.waitpid(child, 0)
    """)
    assert said(process) == ["flushed True"]


def test_a_stream_of_the_parents_breaks_in_the_child():
    """It would wait for a pump that lives in another process; the parent's own reader goes on."""
    process = script("""
        class Endless:
            def __aiter__(self): return self
            async def __anext__(self): return "chunk"
            async def aclose(self): pass

        async def opened(): return Endless()

        stream = runtime.pipe_sync(opened(), depth=1)
        next(stream)
        child = os.fork()
        if child == 0:
            from surefoot.errors import ConnectionLost
            try:
                for _ in stream: pass
            except ConnectionLost:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        print([next(stream) for _ in range(3)])
        stream.close()
    """)
    assert said(process) == ["['chunk', 'chunk', 'chunk']"]


def test_a_multiprocessing_child_says_its_exit_callbacks():
    """multiprocessing leaves by os._exit, past atexit."""
    process = script("""
        import multiprocessing
        def work():
            runtime.run(pid())
        runtime.on_exit(exit_callbacks)
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        child.join()
""")
    assert said(process) == ["flushed False"]


def test_ctrl_c_cancels_the_call_and_waits_for_it():
    """The permit is given back and the connection closed before the prompt is."""
    process = script(
        """
        signal.signal(signal.SIGINT, signal.default_int_handler)

        async def call():
            try:
                print("begun", flush=True)
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                print("cleaned up", flush=True)

        try:
            runtime.run(call())
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        print(runtime.run(pid()) == parent)
        """,
        wait=False,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    assert said(process) == ["cleaned up", "interrupted", "True"]


def test_a_second_ctrl_c_does_not_wait():
    """A clean-up that hangs must not hold the user."""
    process = script(
        """
        signal.signal(signal.SIGINT, signal.default_int_handler)

        async def call():
            while True:
                try:
                    print("here", flush=True)
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    pass

        try:
            runtime.run(call())
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            os._exit(0)
        """,
        wait=False,
    )
    assert process.stdout is not None
    for _ in range(2):
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
    assert "interrupted" in said(process)


def test_a_signal_handler_may_raise_at_any_moment():
    """Also half-way through posting a call: the call ends before the caller goes on, and the background loop is not left deaf."""
    process = script("""
        class Alarm(Exception):
            pass

        def alarm(_number, _frame):
            raise Alarm

        inside = [0]

        async def call():
            inside[0] += 1
            try:
                for _ in range(20):
                    await asyncio.sleep(0)
            finally:
                inside[0] -= 1

        signal.signal(signal.SIGALRM, alarm)
        runtime.run(call())
        alarms = 0
        for microseconds in list(range(1, 600)) * 3:
            coro = call()
            try:
                signal.setitimer(signal.ITIMER_REAL, microseconds / 1e6)
                runtime.run(coro)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Alarm:
                alarms += 1
                runtime.run(asyncio.sleep(0))  # a second start, of a post interrupted half-way, has been thrown away
                assert runtime._process.home.crossings == set(), microseconds
            coro.close()  # in case the alarm came before the call was made
            assert inside == [0], (microseconds, inside)
        assert alarms > 100
        print(runtime.run(pid()) == parent, runtime._process.home.crossings)
    """)
    assert said(process) == ["True set()"]


def test_exit_is_quiet_and_says_the_exit_callbacks():
    """Tasks, an unread stream and a blocked daemon thread are all under way; not a line of noise may come of them."""
    process = script("""
        class Endless:
            def __aiter__(self): return self
            async def __anext__(self): return "chunk"
            async def aclose(self): print("closed", flush=True)

        async def opened():
            return Endless()

        async def stubborn():
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    pass

        async def hang():
            begun.set()
            await asyncio.Event().wait()

        async def background():
            kept.append(asyncio.create_task(hang()))
            kept.append(asyncio.create_task(stubborn()))

        def blocked():
            try:
                runtime.run(hang())
            except BaseException:
                pass

        kept, begun = [], threading.Event()
        runtime.on_exit(exit_callbacks)
        runtime.run(background())
        threading.Thread(target=blocked, daemon=True).start()
        begun.wait()
        stream = runtime.pipe_sync(opened())
        next(stream)
""")
    assert said(process) == ["closed", "flushed True"]


def test_last_words_that_hang_are_cut_off():
    """A process that will not end is worse than a ledger a few entries short; the others have still been said."""
    process = script("""
        import logging
        logging.basicConfig(stream=sys.stdout, format="%(message)s")

        async def hang():
            await asyncio.Event().wait()

        runtime.on_exit(hang)
        runtime.on_exit(exit_callbacks)
        runtime.run(pid())
""")
    assert said(process) == ["flushed True", "1 of 2 exit callbacks did not end within 2.0 s and were cut off"]


def test_blocking_work_is_still_done_at_exit():
    """A SQLite ledger is flushed in a thread, when the interpreter starts no more threads."""
    process = script("""
        async def flush():
            await runtime.in_thread(print, "written", flush=True)

        runtime.on_exit(flush)
        runtime.run(pid())
    """)
    assert said(process) == ["written"]


def test_an_adopted_loop_left_open_still_says_the_exit_callbacks():
    """Neither closing it badly nor not at all may cost the ledger its flush."""
    for ending in ("", "loop.close()"):
        process = script(f"""
            async def serve():
                runtime.adopt()
                runtime.on_exit(exit_callbacks)
                await runtime.arun(pid())

            loop = asyncio.new_event_loop()
            loop.run_until_complete(serve())
            {ending}
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # an unclosed loop is its owner's noise
        """)
        assert said(process) == ["flushed True"], ending


def test_a_call_after_the_end_is_refused():
    """An exit handler that runs after ours would wait for a thread that can no longer be started."""
    process = script("""
        import atexit
        from surefoot.errors import Refused

        def late():
            try:
                runtime.run(pid())
            except Refused as refused:
                print(refused, flush=True)

        atexit._clear()
        atexit.register(late)
        atexit.register(runtime._at_exit)
        runtime.run(pid())
    """)
    assert said(process) == ["the interpreter is exiting and the background loop has closed: no more calls can be made"]
