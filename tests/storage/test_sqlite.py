"""Values in one file: shared, bounded, whole after kill -9, and never in the way of a call."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress

import pytest

from surefoot import ChatModel
from surefoot.cache.envelope import packed, unpacked
from surefoot.core.stack import stack
from surefoot.errors import Misconfigured
from surefoot.events import CacheMiss
from surefoot.layers.reuse.cache import Cache
from surefoot.storage import open_store
from surefoot.storage._sqlite_rows import TOUCH_S
from surefoot.storage.sqlite import MAX_BYTES, SQLiteStore
from surefoot.testing import Scripted, make_call
from tests.layers.helping import Heard


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "cache.db"


@pytest.fixture
async def store(path):
    store = SQLiteStore(path)
    yield store
    await store.aclose()


def table(path, statement, *values):
    """One statement on the file, from outside."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            return connection.execute(statement, values).fetchall()
    finally:
        connection.close()


async def test_what_was_set_is_got_at_once_and_after_a_new_start(store, path):
    """Written behind the caller's back, read as if it were not; another store on the file sees it."""
    assert await store.get("a") is None
    await store.set("a", b"1")
    assert await store.get("a") == b"1"
    await store.set_many([("b", b"2"), ("a", b"3")])
    assert await store.get_many(["b", "x", "a"]) == [b"2", None, b"3"]
    await store.flush()
    assert await store.get_many(["b", "x", "a"]) == [b"2", None, b"3"]
    other = SQLiteStore(path)
    assert await other.get("a") == b"3"
    await other.delete("a")
    assert await other.get("a") is None
    await other.aclose()
    assert await store.get("a") is None


async def test_many_rows_come_back_in_the_order_asked(store):
    """More than one statement holds, some of them not written yet."""
    rows = [(f"k{i}", b"%d" % i) for i in range(2500)]
    await store.set_many(rows)
    await store.flush()
    await store.set_many([("k7", b"new"), ("extra", b"e")])
    keys = [key for key, _ in rows[::-1]] + ["extra", "absent", "k7"]
    expected = [b"%d" % i if i != 7 else b"new" for i in reversed(range(2500))] + [b"e", None, b"new"]
    assert await store.get_many(keys) == expected


async def test_rows_expire_by_the_wall_clock(path):
    """A row outlives the process that wrote it, so its time is everybody's."""
    seconds = [1000.0]
    store = SQLiteStore(path, clock=lambda: seconds[0])
    await store.set("a", b"1", ttl_s=10)
    assert await store.get("a") == b"1"
    await store.flush()
    seconds[0] += 9.9
    assert await store.get("a") == b"1"
    seconds[0] += 0.2
    assert await store.get("a") is None
    await store.set("a", b"2", ttl_s=1)
    seconds[0] += 2
    assert await store.get("a") is None
    await store.aclose()


async def test_the_file_stays_within_its_bound_and_the_longest_unused_leaves_first(path):
    """A row read every day outlives a thousand that were written once."""
    seconds = [1e6]
    store = SQLiteStore(path, max_bytes=2**20, clock=lambda: seconds[0])
    await store.set("loved", b"x" * 1000)
    await store.flush()
    for i in range(60):
        seconds[0] += TOUCH_S + 1
        assert await store.get("loved") is not None, f"gone after {i} rounds"
        await store.set_many([(f"k{i}:{j}", os.urandom(1000)) for j in range(100)])
        await store.flush()
    used = sum(size for (size,) in table(path, "SELECT length(value) FROM kept_1"))
    assert 0.5 * 2**20 < used <= 2**20
    assert path.stat().st_size <= 1.5 * 2**20
    assert await store.get("k0:0") is None
    assert await store.get("k59:99") is not None
    await store.aclose()


async def test_expired_rows_make_room_before_live_ones(path):
    """What nobody may be served any more is the first to go."""
    seconds = [1e6]
    store = SQLiteStore(path, max_bytes=2**20, clock=lambda: seconds[0])
    await store.set_many([(f"old{i}", os.urandom(1000)) for i in range(300)])
    await store.set_many([(f"short{i}", os.urandom(1000)) for i in range(300)], ttl_s=10)
    seconds[0] += 20
    await store.set_many([(f"new{i}", os.urandom(1000)) for i in range(300)])
    await store.flush()
    assert await store.get("old0") is not None
    await store.aclose()


@pytest.mark.parametrize("content", [b"plain text, no database at all, of some length to be sure", b"xy", b"PK\x03\x04" + b"\0" * 9000])
def test_a_file_that_is_no_database_is_told_when_a_model_is_built(tmp_path, content):
    """A document named by mistake: an error in our words, and the document as it was."""
    path = tmp_path / "thesis.docx"
    path.write_bytes(content)
    for build in (lambda: SQLiteStore(path), lambda: ChatModel(Scripted("fine"), cache=f"sqlite:{path}")):
        with pytest.raises(Misconfigured, match=r"thesis\.docx: the file is no database"):
            build()
    assert [(one, one.read_bytes()) for one in tmp_path.iterdir()] == [(path, content)]


async def test_a_file_that_is_not_ours_is_left_alone_and_every_call_is_a_miss(tmp_path, caplog):
    """Somebody else's database is not written to; it costs no call, no hang, and one line."""
    path = tmp_path / "theirs.db"
    table(path, "CREATE TABLE people (name TEXT)")
    before = path.read_bytes()
    store, heard = SQLiteStore(path), Heard()
    provider = Scripted("fine")
    ask = stack(provider, Cache(store))
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            assert (await ask(make_call(listeners=(heard,)))).text == "fine"
    assert provider.calls == 50
    assert {miss.why for miss in heard.of(CacheMiss)} == {"store down"}
    assert len([record for record in caplog.records if "cannot be used" in record.message]) == 1
    await store.aclose()
    assert path.read_bytes() == before


async def test_a_folder_that_cannot_be_written_is_a_miss(tmp_path):
    """The cache is a convenience."""
    (tmp_path / "file").write_text("")
    store = SQLiteStore(tmp_path / "file" / "cache.db")
    await store.set("a", b"1")
    await store.flush()
    assert await store.get("a") is None
    assert store.is_down
    await store.aclose()


@pytest.mark.parametrize("value", [b"", b"garbage", "text", 7, 1.5, b"\x80\x04cos\nsystem\n(S'false'\ntR."])
async def test_a_tampered_row_is_a_miss_and_an_event(store, path, value):
    """Through the whole way: written by the layer, changed in the file, read by the layer."""
    provider, heard = Scripted("right", "right again"), Heard()
    ask = stack(provider, Cache(store))
    await ask(make_call())
    await asyncio.sleep(0)
    await store.flush()
    assert table(path, "UPDATE kept_1 SET value = ? RETURNING 1", value) == [(1,)]
    reply = await ask(make_call(listeners=(heard,)))
    assert (reply.text, reply.cached) == ("right again", False)
    assert [miss.why for miss in heard.of(CacheMiss)] == ["corrupt"]


async def test_the_file_is_its_owners_alone(store, path):
    """Prompts and answers are nobody else's business."""
    await store.set("a", b"1")
    await store.flush()
    assert [one.stat().st_mode & 0o077 for one in path.parent.iterdir()] == [0] * len(list(path.parent.iterdir()))


async def test_an_older_file_becomes_its_owners_alone(path):
    """Also the files SQLite puts beside it; another program's file is left as it is."""
    first = SQLiteStore(path)
    await first.set("a", b"1")
    await first.flush()
    for one in path.parent.iterdir():
        one.chmod(0o644)
    second = SQLiteStore(path)
    assert await second.get("a") == b"1"
    assert {one.name: one.stat().st_mode & 0o077 for one in path.parent.iterdir()} == {"cache.db": 0, "cache.db-wal": 0, "cache.db-shm": 0}
    await first.aclose()
    await second.aclose()
    foreign = path.parent / "foreign.db"
    with closing(sqlite3.connect(foreign)) as database:
        database.execute("CREATE TABLE theirs (x)")
    foreign.chmod(0o644)
    other = SQLiteStore(foreign)
    assert await other.get("a") is None
    await other.aclose()
    assert foreign.stat().st_mode & 0o777 == 0o644


def test_one_store_for_one_file(tmp_path):
    """Two models that name one file share its threads."""
    assert open_store(f"sqlite:{tmp_path}/a.db") is open_store(f"sqlite:{tmp_path}/../{tmp_path.name}/a.db")
    assert SQLiteStore.at("a.db").max_bytes == MAX_BYTES
    with pytest.raises(Misconfigured, match="one mebibyte"):
        SQLiteStore("a.db", max_bytes=5)


def test_three_loops_use_one_store(path):
    """The threads belong to the store, the futures to whoever asks."""
    store = SQLiteStore(path)
    for i in range(3):
        asyncio.run(store.set(f"{i}", b"%d" % i))
        assert asyncio.run(store.get_many(["0", f"{i}"])) == [b"0", b"%d" % i]
    asyncio.run(store.aclose())


async def test_a_cancelled_read_leaves_nothing_behind(store):
    """The answer finds nobody waiting, and the next one works."""
    await store.set("a", b"1")
    await store.flush()
    for _ in range(20):
        task = asyncio.create_task(store.get("a"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    assert await store.get("a") == b"1"


async def test_writing_much_never_holds_up_the_loop(store, monkeypatch):
    """60 MB of vectors go to disk on a thread of the store's own; the loop's longest pause is printed (the bench holds it to a figure)."""
    threads, commit = set(), store._commit

    def noted(*args):
        threads.add(threading.get_ident())
        commit(*args)

    monkeypatch.setattr(store, "_commit", noted)
    rows = [(f"k{i}", os.urandom(6144)) for i in range(10_000)]
    worst, stop = 0.0, False

    async def turn():
        nonlocal worst
        while not stop:
            begun = time.perf_counter()
            await asyncio.sleep(0.001)
            worst = max(worst, time.perf_counter() - begun - 0.001)

    turning = asyncio.create_task(turn())
    for at in range(0, len(rows), 500):
        await store.set_many(rows[at : at + 500])
        await asyncio.sleep(0.005)
    await store.flush()
    stop = True
    await turning
    print(f"longest pause of the loop: {worst * 1000:.1f} ms")
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def in_child(work):
    """Run the coroutine function `work` in a forked child; its process id."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        asyncio.run(work())
        status = 0
    finally:
        os._exit(status)


def ended_well(pids):
    return all(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 for pid in pids)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="forks")


@needs_fork
def test_eight_processes_write_one_file(path):
    """Nobody's rows are lost, nobody waits for ever."""

    def worker(number):
        async def work():
            store = SQLiteStore(path)
            for i in range(100):
                await store.set(f"{number}:{i}", packed(f"{number}:{i}", b"%d" % i))
                if i % 10 == 0:
                    await store.flush()
            await store.aclose()

        return work

    assert ended_well([in_child(worker(number)) for number in range(8)])
    rows = dict(table(path, "SELECT key, value FROM kept_1"))
    assert {key: unpacked(key, value) for key, value in rows.items()} == {f"{n}:{i}": b"%d" % i for n in range(8) for i in range(100)}


@needs_fork
def test_a_forked_child_opens_the_file_anew(path):
    """A connection carried across a fork corrupts; the parent's stays the parent's."""
    store = SQLiteStore(path)

    async def parent_writes():
        await store.set("a", b"1")
        await store.flush()
        assert await store.get("a") == b"1"

    async def child():
        assert await store.get("a") == b"1"
        await store.set("b", b"2")
        await store.flush()

    asyncio.run(parent_writes())
    assert ended_well([in_child(child)])
    assert asyncio.run(store.get("b")) == b"2"
    assert table(path, "PRAGMA integrity_check") == [("ok",)]
    asyncio.run(store.aclose())


@needs_fork
@pytest.mark.figures
@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.heavy)])
def test_kill_9_at_random_moments_leaves_a_sound_file_and_no_wrong_value(path, kills):
    """A cache is written when processes die; what survives is whole, at whatever moment. Prints what it found."""
    draw = random.Random(7)
    awake, wake = os.pipe()

    async def write_for_ever():
        store = SQLiteStore(path, max_bytes=4 * 2**20)
        number = random.randrange(10**9)
        while True:
            number += 1
            key = f"k{number % 2000}"
            await store.set(key, packed(key, key.encode() + os.urandom(200) * (number % 40)))
            if number % 50 == 0:
                await store.flush()
                os.write(wake, b".")

    survivors = wal_left = 0
    for moment in range(kills):
        pid = in_child(write_for_ever)
        if moment % 4:  # else: killed while the file is being opened
            os.read(awake, 1)
        time.sleep(0.06 * draw.random())
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.set_blocking(awake, False)
        with suppress(BlockingIOError):
            os.read(awake, 65536)
        os.set_blocking(awake, True)
        if not path.exists():
            continue
        wal = path.with_name(path.name + "-wal")
        wal_left += wal.exists() and wal.stat().st_size > 0
        assert table(path, "PRAGMA integrity_check") == [("ok",)], f"after kill {moment}"
        tables = [name for (name,) in table(path, "SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = table(path, "SELECT key, value FROM kept_1") if "kept_1" in tables else []
        for key, value in rows:
            payload = unpacked(key, value)
            assert payload is not None, f"after kill {moment}: a torn value under {key}"
            assert payload.startswith(key.encode()), f"after kill {moment}: a wrong value under {key}"
        survivors = max(survivors, len(rows))
    os.close(awake)
    os.close(wake)
    print(f"{kills} kills, {wal_left} with a log to recover: integrity ok each time, up to {survivors} rows, none torn, none wrong")
    assert survivors > 100
    assert wal_left >= kills // 2

    async def read():
        store = SQLiteStore(path)
        values = await store.get_many([f"k{i}" for i in range(2000)])
        await store.aclose()
        return values

    assert any(asyncio.run(read()))


def test_an_answer_is_kept_when_the_program_ends_right_after_it(path):
    """A script asks once and exits; the next run finds the answer."""
    script = (
        "from surefoot import ChatModel; from surefoot.testing import Scripted; "
        f"print(ChatModel(Scripted('hello'), cache='sqlite:{path}').invoke('hi').cached)"
    )
    assert _said_by_two_runs(script) == ["False", "True"]


def test_vectors_are_kept_when_the_program_ends_right_after_them(path):
    """Ten thousand of them, more than are written at once."""
    script = (
        "from surefoot import EmbedModel; from surefoot.testing import Scripted; provider = Scripted('ok', dimensions=24); "
        f"EmbedModel(provider, cache='sqlite:{path}').embed([str(i) for i in range(10_000)]); print(provider.calls)"
    )
    assert _said_by_two_runs(script) == ["5", "0"]


def _said_by_two_runs(script):
    """What a program prints, and prints again."""
    return [subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() for _ in range(2)]
