"""What a hostile or broken server sends without end takes bounded memory and bounded time, on every way it may come."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.torture.scenarios.hostile import KINDS

QUICK = {"body", "length", "nested", "gzip", "deflate", "headers"}  # some seconds a row; the others wait for bounds of up to 90 s
MOST_MB = 300  # of the whole process: Python, the SDK, aiohttp, and one answer
CLIENT = """
import json, sys, threading, time
from surefoot import ChatModel, Policy, Target
from surefoot.errors import SurefootError

def peak_mb():  # not ru_maxrss: a child inherits its parent's, which may have loaded torch
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024

provider, address, lane, mode = sys.argv[1:]
chat = ChatModel(Target(f"{provider}:m", base_url=address, lane=lane, api_key="k"), policy=Policy(attempts=1, deadline_s=90, breaker=False))
chat.traits
before = peak_mb()
began, said = time.monotonic(), "answered"
try:
    if mode == "stream":
        for delta in chat.stream("x"):
            pass
    else:
        chat.invoke("x")
except SurefootError as error:
    said = f"{type(error).__name__}: {error}"
peak = peak_mb()
print(json.dumps([said[:300], round(time.monotonic() - began, 1), round(before), round(peak)]))
"""


@pytest.fixture(scope="module")
def port():
    with subprocess.Popen(
        [sys.executable, "-m", "tests.torture.scenarios.hostile"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield int(server.stdout.readline())
        server.stdin.close()


@pytest.mark.heavy
@pytest.mark.parametrize("lane", ["direct", "sdk"])
@pytest.mark.parametrize("mode", ["plain", "stream", "error"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_without_end_takes_bounded_memory(request, kind, mode, lane):
    """5 GB of body, a gzip bomb, endless streams, endless headers: refused by our own error. Figures are printed."""
    if kind not in QUICK and not request.config.getoption("keyword"):
        pytest.skip("up to 90 s a row: choose some with -k, such as -k one-line")
    port = request.getfixturevalue("port")
    status = {"error": 503}.get(mode, 200)
    command = [sys.executable, "-W", "ignore", "-c", CLIENT, "openai", f"http://127.0.0.1:{port}/{kind}/{status}/v1", lane, mode]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said, seconds, before_mb, peak_mb = json.loads(done.stdout)
    print(f"{kind:13} {mode:6} {lane:6} {before_mb:4} -> {peak_mb:4} MB in {seconds:5.1f} s  {said[:110]}")
    assert peak_mb < MOST_MB
    assert seconds < 95
    assert said != "answered"
