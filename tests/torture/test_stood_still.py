"""A process that stood still (suspended, a frozen container) reads what has arrived before it judges a silence."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

CLIENT = """
import sys
from surefoot import ChatModel, Policy, Target

policy = Policy(attempts=1, first_token_s=1.0, idle_s=1.0, deadline_s=60)
chat = ChatModel(Target("openai:m", base_url=sys.argv[1], lane=sys.argv[2], api_key="k"), policy=policy)
chat.traits
print("ready", flush=True)
text = ""
for delta in chat.stream("x"):
    text += delta.text
    print("delta", flush=True)
print(text, flush=True)
"""
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
FIRST = b'data: {"choices":[{"delta":{"content":"one "}}]}\n\n'
REST = b'data: {"choices":[{"delta":{"content":"two"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP")
@pytest.mark.parametrize("lane", ["direct", "sdk"])
@pytest.mark.parametrize("before", [b"", HEAD + FIRST], ids=["before the first token", "in mid-stream"])
async def test_what_arrived_during_a_suspension_is_read_before_a_silence_is_judged(before, lane):
    """The timer and the data are due in the same turn of the loop; the timer used to win."""
    asked = asyncio.get_running_loop().create_future()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        asked.set_result(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", "-c", CLIENT, url, lane, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert await child.stdout.readline() == b"ready\n"
        writer = await asyncio.wait_for(asked, 60)
        if before:
            writer.write(before)
            assert await child.stdout.readline() == b"delta\n"
        os.kill(child.pid, signal.SIGSTOP)
        writer.write((b"" if before else HEAD + FIRST) + REST)
        await asyncio.sleep(2.5)
        os.kill(child.pid, signal.SIGCONT)
        out, errors = await asyncio.wait_for(child.communicate(), 60)
    finally:
        if child.returncode is None:
            os.kill(child.pid, signal.SIGCONT)
            child.kill()
        server.close()
    assert out.decode().splitlines()[-1:] == ["one two"], errors.decode()[-1500:]
