"""Kept connections that died without a word (a NAT that forgot them, a host that was replaced) cost one wait together."""

from __future__ import annotations

import asyncio
import json

import pytest

from surefoot import ChatModel, Policy, Target

KEPT = 12
WAIT_S = 3.0


class Deaf:
    """A server that can be made deaf on all connections it has; those that are opened later are served."""

    def __init__(self) -> None:
        self.deaf: set[asyncio.StreamWriter] = set()
        self.writers: set[asyncio.StreamWriter] = set()
        self.waiting: list[asyncio.Event] = []
        self.ignored = 0
        self.gate = asyncio.Barrier(KEPT)
        self.opened = 0

    async def serve(self, reader, writer):
        self.writers.add(writer)
        self.opened += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                asked = json.loads(await reader.readexactly(size))
                if writer in self.deaf:
                    self.ignored += 1
                    continue
                if "together" in str(asked["messages"]):
                    await self.gate.wait()  # so that each call has a connection of its own
                choice = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
                body = json.dumps({"id": "x", "model": "m", "choices": [choice], "usage": None}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@pytest.mark.parametrize("lane", ["direct", "sdk"])
async def test_twelve_dead_connections_cost_one_wait(lane):
    """Each retry took the next dead one: six waits, and the call failed."""
    deaf = Deaf()
    server = await asyncio.start_server(deaf.serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    target = Target("openai:m", base_url=address, api_key="k", lane=lane, concurrency=KEPT)
    policy = Policy(first_token_s=0.1, deadline_s=60, attempts=3, breaker=False, backoff_base_s=0.01)
    chat = ChatModel(target, policy=policy)
    try:
        await asyncio.gather(*(chat.ainvoke(f"together {i}") for i in range(KEPT)))
        assert deaf.opened == KEPT
        deaf.deaf |= deaf.writers
        replies = [await chat.ainvoke("after", deadline_s=2 * WAIT_S)]  # an attempt gets half of the time that is left
        assert [reply.attempts for reply in replies] == [2]
        assert deaf.ignored == 1
        assert [(await chat.ainvoke(f"then {i}")).attempts for i in range(3)] == [1, 1, 1]
        assert deaf.ignored == 1
    finally:
        await chat.aclose()
        server.close()
