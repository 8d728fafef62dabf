"""Nothing holds up the background loop: no file is read, nothing imported, no name looked up on its thread."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Python itself tells (audit events) who opens, imports and looks up; what is asked of it is what may take a disk's or a server's time.
SCRIPT = """
import os, sys, tempfile, threading

WATCHED = {
    "open", "import", "socket.getaddrinfo", "socket.gethostbyname", "sqlite3.connect", "subprocess.Popen", "os.listdir", "os.scandir"
}
background, seen = [], []

def watch(event, args):
    if event in WATCHED and threading.get_ident() in background:
        seen.append(f"{event} {args[0]}")

sys.addaudithook(watch)

from contextlib import suppress
from surefoot import ChatModel, EmbedModel, Policy, Target, runtime
from surefoot.errors import SurefootError
from surefoot.testing import wire

name, lane = sys.argv[1:3]
Sim, base, model = {
    "openai": (wire.OpenAISim, "/v1", "gpt-5-mini"),
    "anthropic": (wire.AnthropicSim, "", "claude-haiku-4-5"),
    "google": (wire.GeminiSim, "", "gemini-3.5-flash-lite"),
}[name]
os.chdir(tempfile.mkdtemp())
with open("key", "w") as file:
    file.write("first-key")

async def note_thread():
    background.append(threading.get_ident())

runtime.run(note_thread())
with Sim() as sim:
    url = sim.url.replace("127.0.0.1", "localhost") + base
    own = Target(f"{name}:{model}", base_url=url, api_key="file:key", lane=lane)
    closed = Target(f"{name}:b", base_url="http://127.0.0.1:9", api_key="k", lane=lane)
    policy = Policy(budget_usd=1.0, hedge_after="p95", backoff_base_s=0.001)
    chat = ChatModel(own, closed, cache="sqlite:cache.db", ledger="ledger.db", policy=policy)
    chat.invoke("first")
    list(chat.stream("second"))
    sim.script([wire.fault("status_401"), wire.fault("status_503"), wire.fault("status_400"), wire.fault("status_500")] * 3)
    for i in range(4):
        with suppress(SurefootError):
            chat.invoke(f"failing {i}", model="another")
    if name == "openai":
        target = Target("openai:text-embedding-3-small", base_url=url, api_key="k", lane=lane)
        with suppress(SurefootError):
            EmbedModel(target, cache="sqlite:cache.db").embed(["a", "b"] * 300)
        EmbedModel(target, cache="sqlite:cache.db").embed(["a", "b"] * 300)
    chat.close()
print("\\n".join(sorted(set(seen))))
"""


@pytest.mark.parametrize("lane", ["direct", "sdk"])
@pytest.mark.parametrize("name", ["openai", "anthropic", "google"])
def test_no_file_no_import_and_no_look_up_on_the_background_loop(name, lane):
    """One disk that hangs, one mount that is gone, one slow resolver would hold up every call of the process."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPT, name, lane], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1000:]
    assert done.stdout.split("\n")[:-1] in ([], [""]), done.stdout
