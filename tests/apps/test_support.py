"""The support bot: cited answers, moods, tickets; and its page over HTTP and in Chromium."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import stat
import sys
import threading
from contextlib import contextmanager

import pytest

from apps.answerer import Answerer
from apps.support import SupportBot, feeling, open_library, wants_a_person
from surefoot import ChatModel, Target
from surefoot.errors import BadRequest, Misconfigured
from surefoot.history import History
from surefoot.testing.wire import fault
from tests.pipelines.conftest import scripted_embed

SHOP = "# Shop\n\nThe tea house in Rize closes at 22.00. A parcel arrives within three days.\n"


@pytest.fixture
def library(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/shop.md").write_text(SHOP)
    return open_library(tmp_path / "docs", tmp_path / "index", scripted_embed()[1])


@pytest.fixture
def bot(library, offline, tmp_path):
    return SupportBot(library, offline, tickets=tmp_path / "tickets.jsonl")


def tickets(folder):
    path = folder / "tickets.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize(
    ("text", "mood"),
    [
        ("When does the tea house close?", "neutral"),
        ("Thank you, that was great!", "positive"),
        ("My parcel is broken.", "negative"),
        ("MY PARCEL IS BROKEN AGAIN!!", "angry"),
        ("This is unacceptable.", "angry"),
        ("Çay evi kaçta kapanıyor?", "neutral"),
        ("Çok teşekkürler, harika!", "positive"),
        ("Kargom çok yavaş.", "negative"),
        ("Bu tam bir rezalet, dolandırıcısınız!", "angry"),
        ("ŞİKÂYET EDECEĞİM", "angry"),
        ("Is anything about slots noted?", "neutral"),
        ("Another thing, please: the latest badge?", "neutral"),
    ],
)
def test_moods_in_both_languages(text, mood):
    """Words, and how loud they are said; words that only begin alike do not count."""
    assert feeling(text) == mood


def test_who_asks_for_a_person_is_heard():
    """In both languages; who only mentions one is not."""
    english = ("I want to talk to a human", "Can I speak with a real person?")
    turkish = ("Bir temsilciye bağlanmak istiyorum", "İnsanla konuşmak istiyorum", "Müşteri hizmetlerine bağlayın")
    for text in english + turkish:
        assert wants_a_person(text), text
    for text in ("How many persons fit in a room?", "Kaç kişi sığar?", "Is the agent fee included?"):
        assert not wants_a_person(text), text


def test_answers_are_cited_and_follow_ups_understood(bot, tmp_path):
    """Offline, from the document; no ticket."""
    reply = bot.reply("c1", "When does the tea house in Rize close?")
    assert ("22.00" in reply.text, reply.sources, reply.ticket) == (True, ("shop.md",), "")
    assert "22.00" in bot.reply("c1", "And when does it close?").text
    assert tickets(tmp_path) == []


def test_a_person_takes_over_with_the_whole_conversation(bot, tmp_path):
    """Asked for, angry, or two questions in a row without an answer; a ticket a time, readable by its owner alone."""
    bot.reply("c1", "When does the tea house in Rize close?")
    asked = bot.reply("c1", "I want to talk to a human")
    assert asked.ticket in asked.text
    angry = bot.reply("c2", "Bu tam bir rezalet!")
    assert (angry.reason, "kayıt numaranız" in angry.text) == ("angry", True)
    assert bot.reply("c3", "Who won the chess championship of 1972?").ticket == ""
    assert bot.reply("c3", "Which volcano is the highest in Ecuador?").reason == "two questions without an answer"
    first, second, third = tickets(tmp_path)
    assert (first["id"], first["reason"], first["conversation"]) == (asked.ticket, "asked for a person", "c1")
    assert [role for role, _ in first["messages"]] == ["user", "assistant", "user"]
    assert (second["language"], second["mood"]) == ("tr", "angry")
    assert len(third["messages"]) == 4
    if sys.platform != "win32":
        assert stat.S_IMODE((tmp_path / "tickets.jsonl").stat().st_mode) == 0o600
    for wrong in ("", "   ", "x" * 4001):
        with pytest.raises(BadRequest, match="1 to 4000"):
            bot.reply("c1", wrong)


def test_a_model_tells_the_mood_and_answers(library, sim, online, tmp_path):
    """What the rule would call neutral is angry by the model; where it fails, the rule decides."""
    bot = SupportBot(library, online, tickets=tmp_path / "tickets.jsonl", history=History(tmp_path / "chats.db"))
    sim.script(['{"feeling": "neutral"}', "It closes at 22.00. [1]", '{"feeling": "angry"}', "no JSON", "Within three days. [1]"])
    assert bot.reply("c", "When does the tea house close?").sources == ("shop.md",)
    assert bot.reply("c", "Well, well.").reason == "angry"
    assert bot.reply("c", "My parcel is slow: when does it come?").mood == "negative"


def test_without_an_answer_from_the_vendor_the_documents_still_answer(library, sim, tmp_path):
    """The offline reader stands behind the model."""
    sim.script(fault("status_503"))
    chat = ChatModel(Target("openai:gpt-5-mini", base_url=f"{sim.url}/v1", api_key="sk-test"), "local:extractive")
    bot = SupportBot(library, Answerer(chat, "both", can_write=True), tickets=tmp_path / "t.jsonl")
    assert "22.00" in bot.reply("c", "When does the tea house in Rize close?").text


def events(text):
    """The server-sent events of a body, as pairs of kind and data."""
    return [(one.split("\n")[0][7:], json.loads(one.split("\n")[1][6:])) for one in text.split("\n\n") if one]


def test_the_page_over_http(bot, tmp_path):
    """Streams, keeps the conversation, says what is wrong; a strict policy, and no script from elsewhere."""
    from starlette.testclient import TestClient

    from apps.support_web import PAGE, create_app

    client = TestClient(create_app(bot), base_url="http://127.0.0.1")
    page = client.get("/")
    assert "default-src 'none'; script-src 'sha256-" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert not re.search(r"(?:src|href)=|innerHTML|https?://", PAGE)
    first = events(client.post("/message", json={"text": "When does the tea house in Rize close?"}).text)
    assert [first[0][0], first[-1][0]] == ["conversation", "reply"]
    assert "22.00" in "".join(data for kind, data in first if kind == "text")
    conversation = first[0][1]
    second = events(client.post("/message", json={"text": "I want to talk to a human", "conversation": conversation}).text)
    assert second[-1][1]["ticket"] == tickets(tmp_path)[0]["id"]
    assert len(tickets(tmp_path)[0]["messages"]) == 3
    assert [kind for kind, _ in events(client.post("/message", json={"text": "   "}).text)] == ["conversation", "error"]
    for wrong in ({"text": ""}, {"text": "x" * 4001}, {"text": "x", "conversation": "guess"}, {}):
        assert client.post("/message", json=wrong).status_code == 422
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def test_a_page_that_cannot_be_served_says_so(bot):
    """One sentence for a wrong port and for a taken one."""
    from apps.support_web import serve

    with pytest.raises(Misconfigured, match="from 1 to 65535"):
        serve(bot, 70_000)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Misconfigured, match="cannot be had"):
            serve(bot, taken.getsockname()[1])


@pytest.mark.heavy
async def test_the_page_in_chromium(library, online, sim, tmp_path):
    """Typed, sent, streamed and shown as text: markup of a model stays text, and the policy lets the page's own script run."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs chromium (apt install chromium)")
    from apps.support_web import create_app

    sim.script(['{"feeling": "neutral"}', "It closes at <b>22.00</b>. [1]"])
    app = create_app(SupportBot(library, online, tickets=tmp_path / "tickets.jsonl"))
    with served(app) as url:
        process = await asyncio.create_subprocess_exec(
            chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0",
            f"--user-data-dir={tmp_path / 'profile'}", url, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(240):
                shown = await drive(process, "When does the tea house close?")
        finally:
            process.terminate()
            await process.wait()
    assert "<b>22.00</b>" in shown["text"]
    assert (shown["bold"], "shop.md" in shown["text"], shown["mine"]) == (0, True, "When does the tea house close?")


@contextmanager
def served(app):
    """The application on a port of its own, in a thread."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            threading.Event().wait(0.05)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()


READ = """
new Promise(done => {
  document.getElementById("text").value = QUESTION;
  document.getElementById("send").click();
  const timer = setInterval(() => {
    const last = document.querySelector("#log p.theirs[data-done], #log p.failed");
    if (!last) return;
    clearInterval(timer);
    const mine = document.querySelector("#log p.mine").textContent;
    done({text: last.textContent, bold: document.querySelectorAll("b").length, mine});
  }, 50);
})
"""


async def drive(process, question):
    """Ask on the page by Chromium's own protocol, and give what then stands there."""
    import aiohttp

    address = ""
    while "ws://" not in address:
        line = await process.stderr.readline()
        assert line, "chromium ended before it listened"
        address = line.decode()
    port = re.search(r"ws://[^:]+:(\d+)", address)[1]
    async with aiohttp.ClientSession() as session:
        target = None
        while target is None:
            pages = await (await session.get(f"http://127.0.0.1:{port}/json")).json()
            target = next((one for one in pages if one["type"] == "page" and one["url"].startswith("http://127.0.0.1")), None)
            await asyncio.sleep(0.2)
        async with session.ws_connect(target["webSocketDebuggerUrl"]) as page:
            while await evaluate(page, "document.readyState === 'complete' && !!document.getElementById('text')") is not True:
                await asyncio.sleep(0.2)  # before the page has replaced the empty one that Chromium begins with
            return await evaluate(page, READ.replace("QUESTION", json.dumps(question)))


async def evaluate(page, expression):
    """What an expression, awaited, gives on the page; None where it is replaced meanwhile."""
    parameters = {"expression": expression, "awaitPromise": True, "returnByValue": True}
    await page.send_json({"id": 1, "method": "Runtime.evaluate", "params": parameters})
    while (said := await page.receive_json()).get("id") != 1:
        pass
    return said.get("result", {}).get("result", {}).get("value")
