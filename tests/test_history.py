"""Conversations: whole on disk, within the window in the prompt."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.errors import ContextTooLong, Misconfigured
from surefoot.history import History, count_tokens, trim
from surefoot.types import Message, ToolCall
from tests.postgres import cut_connections, fresh_url
from tests.redis_proxy import closed_port

SYSTEM = Message.system("Be brief.")
DAY_S = 86_400


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """Where nothing was said yet."""
    return str(tmp_path / "h.db") if request.param == "sqlite" else fresh_url()


def turn(number: int, words: int = 10) -> list[Message]:
    return [Message.user(f"question {number} " * words), Message.assistant(f"answer {number} " * words)]


def test_oldest_turns_leave_first_and_instructions_stay():
    """What was said last matters most."""
    messages = [SYSTEM, *turn(1), *turn(2), *turn(3)]
    kept = trim(messages, window_tokens=sum(map(count_tokens, [SYSTEM, *turn(2), *turn(3)])))
    assert kept == [SYSTEM, *turn(2), *turn(3)]


def test_a_tools_result_never_stands_without_its_call():
    """Every vendor refuses that."""
    tools = [
        Message.user("weather?"),
        Message.assistant(tool_calls=[ToolCall(id="1", name="weather")]),
        Message.tool("sunny " * 50, tool_call_id="1"),
        Message.assistant("Sunny."),
    ]
    kept = trim([*tools, *turn(2)], window_tokens=sum(map(count_tokens, turn(2))) + count_tokens(tools[-1]) + 5)
    assert kept == turn(2)


def test_a_newest_turn_that_does_not_fit_is_refused_not_cut():
    """A cut in mid-sentence answers another question."""
    with pytest.raises(ContextTooLong, match="window 20"):
        trim([SYSTEM, Message.user("long " * 500)], window_tokens=20)


def test_what_leaves_can_come_back_as_a_summary():
    """A named strategy, chosen, never silent."""
    said = []
    messages = [SYSTEM, *turn(1), *turn(2), *turn(3)]
    window = sum(map(count_tokens, [SYSTEM, *turn(3)])) + 30
    kept = trim(messages, window_tokens=window, summarise=lambda left: said.append(left) or "two questions")
    assert "two questions" in kept[1].text
    assert kept[2:] == turn(3)
    assert said[0] == [*turn(1), *turn(2)]


@given(st.lists(st.integers(1, 60), max_size=12), st.integers(10, 600))
@settings(deadline=None)
def test_a_trimmed_conversation_fits_and_is_a_suffix(sizes, window):
    """Whatever was said."""
    messages = [message for number, words in enumerate(sizes) for message in turn(number, words)]
    try:
        kept = trim(messages, window_tokens=window)
    except ContextTooLong:
        assert sum(map(count_tokens, messages[-2:])) > window
        return
    assert sum(map(count_tokens, kept)) <= window
    assert kept == messages[len(messages) - len(kept) :]


def test_a_cut_connection_costs_no_turn_and_an_away_server_is_told():
    """A restarted Postgres is asked over a new connection; one that is not there is said to be so, without its password."""
    url = fresh_url()
    history = History(url)
    history.add("c", *turn(1))
    cut_connections(url)
    history.add("c", *turn(2))
    assert history.window("c") == [*turn(1), *turn(2)]
    history.close()
    assert history.all("c") == [*turn(1), *turn(2)]
    with pytest.raises(Misconfigured, match=r"Postgres at 127\.0\.0\.1:\d+/none cannot be used") as told:
        History(f"postgresql://me:hunter2@127.0.0.1:{closed_port()}/none")
    assert "hunter2" not in str(told.value)


def test_processes_that_speak_at_once_miss_no_turn_of_each_other():
    """Rows get their numbers before they are committed: whoever reads in between must not pass over one."""
    url = fresh_url()
    code = (
        "import sys; from surefoot.history import History; from surefoot.types import Message; h = History(sys.argv[1]);"
        "[(h.add('c', Message.user(sys.argv[2] + str(n))), h.window('c')) for n in range(60)]; print(flush=True); input();"
        "print(len(h.window('c')))"
    )
    History(url).close()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    asked = [subprocess.Popen([sys.executable, "-c", code, url, name], **pipes) for name in "abc"]
    for one in asked:
        one.stdout.readline()  # it has said all it says
    assert [one.communicate("\n", timeout=120)[0] for one in asked] == ["180\n"] * 3


async def day_of_talk(history, virtual, said):
    """24 hours: 40 people, each says something every two minutes to five hours, tools and long answers among it."""
    draw = random.Random(24)

    async def person(name):
        number = 0
        while virtual.time() < DAY_S:
            await asyncio.sleep(draw.uniform(120, 18_000))
            number += 1
            spoken = turn(number, draw.choice([1, 3, 30]))
            if number % 5 == 0:
                call = ToolCall(id=f"{name}{number}", name="weather", arguments='{"city": "İzmir"}')
                spoken[1:1] = [Message.assistant(tool_calls=[call]), Message.tool("güneşli " * 20, tool_call_id=call.id)]
            history.add(name, *spoken)
            said.setdefault(name, []).extend(spoken)
            window = history.window(name, Message.user("And now?"))
            assert sum(map(count_tokens, window)) <= history.window_tokens
            assert {m.tool_call_id for m in window if m.role == "tool"} == {c.id for m in window for c in m.tool_calls}
            assert len(history._recent) <= 8

    await asyncio.gather(*(person(f"p{n}") for n in range(40)))


@pytest.mark.looptime
async def test_a_day_of_talk_stays_bounded_in_memory_and_whole_on_disk(tmp_path):
    """24 h of virtual time: at most 8 conversations in memory, each within its window, and every word of the day in the file."""
    history = History(tmp_path / "h.db", window_tokens=500, max_conversations=8)
    said: dict[str, list[Message]] = {}
    await day_of_talk(history, asyncio.get_running_loop(), said)
    held = sum(count_tokens(message) for kept in history._recent.values() for message in kept)
    print(f"{sum(map(len, said.values())):,} messages in 24 h; in memory {len(history._recent)} conversations, about {held:,} tokens")
    assert held <= 8 * 500
    assert sum(map(len, said.values())) > 800
    again = History(tmp_path / "h.db", window_tokens=500)
    assert {name: again.all(name) for name in said} == said
    assert again.window("p7") == history.window("p7")


def test_threads_share_one_history(place):
    """Every message arrives once."""
    history = History(place)
    workers = [threading.Thread(target=lambda n=n: [history.add("c", Message.user(f"{n}-{i}")) for i in range(20)]) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len({message.text for message in history.all("c")}) == 80


def test_forgetting_forgets(place):
    """Also on disk."""
    history = History(place)
    history.add("c", *turn(1))
    history.forget("c")
    assert history.all("c") == History(place).window("c") == []


def test_bad_settings_are_told(tmp_path):
    """Before anything is remembered in vain."""
    with pytest.raises(Misconfigured, match="window_tokens"):
        History(window_tokens=1)
    with pytest.raises(Misconfigured, match="cannot be opened"):
        History(tmp_path / "no" / "such" / "h.db")


def test_a_conversation_is_readable_by_its_owner_alone(tmp_path):
    """Also in a file that others could read until now, and in the files SQLite puts beside it."""
    new, old = tmp_path / "new.db", tmp_path / "old.db"
    umask = os.umask(0o022)
    try:
        before = sqlite3.connect(old)
        before.execute("PRAGMA journal_mode=WAL")
        before.execute("CREATE TABLE other (x)")  # kept open: its -wal and -shm stay
        before.commit()
        assert old.stat().st_mode & 0o044
        for path in (new, old):
            history = History(path)
            with history._turns._database() as held:
                held.execute("SELECT * FROM turns").fetchall()
                history.add("c", Message.user("my salary is 5,000"))
                seen = {one.name: one.stat().st_mode & 0o077 for one in tmp_path.glob(f"{path.name}*")}
            assert set(seen) == {path.name, f"{path.name}-wal", f"{path.name}-shm"}
            assert set(seen.values()) == {0}
        before.close()
    finally:
        os.umask(umask)


def test_a_history_that_cannot_be_used_is_told_in_our_words(tmp_path):
    """A caller who catches SurefootError must not meet sqlite3's own."""
    (tmp_path / "notes.txt").write_text("no database at all " * 100)
    with pytest.raises(Misconfigured, match=r"notes\.txt.*not a database"):
        History(tmp_path / "notes.txt")
    history = History(tmp_path / "h.db")
    (tmp_path / "h.db").write_text("no database any more " * 100)
    with pytest.raises(Misconfigured, match=r"h\.db"):
        history.all("c")


def test_two_histories_of_one_file_see_each_others_turns(place):
    """Two workers of a service answer one conversation in turns; each kept to its own half of it."""
    one, other = History(place), History(place)
    one.add("c", *turn(1))
    assert other.window("c") == turn(1)
    other.add("c", *turn(2))
    one.add("c", *turn(3))
    both = [*turn(1), *turn(2), *turn(3)]
    assert one.window("c") == other.window("c") == one.all("c") == both
    one.add("d", *turn(9))
    assert other.window("d") == turn(9)
    other.forget("c")
    assert one.window("c") == []
    one.add("c", *turn(4))
    assert one.window("c") == other.window("c") == turn(4)
    other.forget("c")
    other.add("c", *turn(5))
    assert one.window("c") == turn(5)


def test_others_turns_are_seen_also_where_the_window_is_small_and_few_conversations_are_held(place):
    """What was left out of memory is not read again as if it were new."""
    window = sum(map(count_tokens, [*turn(1), *turn(2)])) + 5
    one, other = (History(place, window_tokens=window, max_conversations=2) for _ in range(2))
    for number in range(1, 8):
        (one if number % 2 else other).add("c", *turn(number))
        one.add(f"filler {number}", *turn(number))
        assert one.window("c")[-2:] == other.window("c")[-2:] == turn(number)
    assert one.window("c") == other.window("c") == [*turn(6), *turn(7)]
    assert len(one._recent) == len(one._read) == 2


def test_processes_see_each_others_turns(place):
    """Not only objects of one process."""
    mine = History(place)
    mine.add("c", Message.user("one"))
    code = (
        "import sys; from surefoot.history import History; from surefoot.types import Message; h = History(sys.argv[1]);"
        "assert [m.text for m in h.window('c')] == ['one']; h.add('c', Message.assistant('two'))"
    )
    subprocess.run([sys.executable, "-c", code, place], check=True, timeout=60)
    assert [message.text for message in mine.window("c")] == ["one", "two"]
