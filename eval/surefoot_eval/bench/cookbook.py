"""OpenAI's cookbook's parallel processor, as a subject: the same algorithm, written anew, since it is a script that reads files.

Kept from it: one loop that sleeps 1 ms a turn; capacity of requests and tokens that starts with a minute's worth, refills evenly by the
clock and is capped at a minute's worth; a request goes out when one request and its estimated tokens fit; failed ones go to the end of a
retry queue, five attempts each; after a rate limit error no request goes out for 15 seconds. It was made for a provider that saves up a
minute. Where one saves up `Setting.minute_s` instead, that is its minute, and its pause the same part of it: a world run faster.

Changed: prompts come from memory, tokens are estimated at four characters each instead of by tiktoken, whose vocabulary is a download, and
a rate limit error is known by its message (one version of the script looks for the code "429", which OpenAI does not write, and so never
pauses). Its requests name `max_tokens`, of which it reserves the whole: without, it reserves 15, and these answers have 73 to 78.

Source: openai-cookbook, examples/api_request_parallel_processor.py.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from surefoot_eval.bench.subjects import MODEL, Setting, Subject, messages, prompts

ATTEMPTS = 5
PAUSE_S = 15.0
TURN_S = 0.001
CHARS_PER_TOKEN = 4
MESSAGE_TOKENS = 6  # that it adds for a message and the reply's head
ANSWER_TOKENS = 80


@dataclass
class _CookbookRequest:
    body: dict[str, Any]
    tokens: int
    left: int = ATTEMPTS


class _Processor:
    """One run over `calls` requests."""

    def __init__(self, setting: Setting, session: Any, words: Iterator[str], calls: int) -> None:
        self._url = f"{setting.url}/chat/completions"
        self._session = session
        self._todo = (self._request(next(words)) for _ in range(calls))
        self._minute_s = setting.minute_s
        self._pause_s = PAUSE_S * setting.minute_s / 60.0
        self._most_requests, self._most_tokens = ((one or 1e13) * setting.minute_s / 60.0 for one in (setting.rpm, setting.tpm))
        self._requests, self._tokens, self._updated = self._most_requests, self._most_tokens, time.time()  # noqa: TID251 - as the script does
        self._again: deque[_CookbookRequest] = deque()
        self._under_way: set[asyncio.Task[None]] = set()
        self._limited_at = 0.0
        self.answered = 0

    @staticmethod
    def _request(text: str) -> _CookbookRequest:
        body = {"model": MODEL, "messages": messages(text), "max_tokens": ANSWER_TOKENS}
        return _CookbookRequest(body, len(text) // CHARS_PER_TOKEN + MESSAGE_TOKENS + ANSWER_TOKENS)

    async def run(self) -> None:
        """Until everything is answered or given up."""
        following: _CookbookRequest | None = None
        while True:
            if following is None:
                following = self._again.popleft() if self._again else next(self._todo, None)
                if following is None and not self._under_way:
                    return
            self._refill()
            if following is not None and self._requests >= 1 and self._tokens >= following.tokens:
                self._send(following)
                following = None
            await asyncio.sleep(TURN_S)
            since = time.time() - self._limited_at  # noqa: TID251
            if since < self._pause_s:
                await asyncio.sleep(self._pause_s - since)

    def _refill(self) -> None:
        now = time.time()  # noqa: TID251
        share = (now - self._updated) / self._minute_s
        self._requests = min(self._requests + self._most_requests * share, self._most_requests)
        self._tokens = min(self._tokens + self._most_tokens * share, self._most_tokens)
        self._updated = now

    def _send(self, request: _CookbookRequest) -> None:
        self._requests -= 1
        self._tokens -= request.tokens
        request.left -= 1
        task = asyncio.create_task(self._call(request))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _call(self, request: _CookbookRequest) -> None:
        import aiohttp

        error: str | None
        try:
            async with self._session.post(self._url, json=request.body) as answer:
                found = await answer.json()
                error = str(found["error"].get("message", "")) if "error" in found else None
        except (TimeoutError, aiohttp.ClientError, ValueError) as failure:
            error = str(failure)
        if error is None:
            self.answered += 1
            return
        if "rate limit" in error.lower():
            self._limited_at = time.time()  # noqa: TID251
        if request.left:
            self._again.append(request)


def processor(setting: Setting) -> Subject:
    """All requests through the one loop; how many were answered."""
    import aiohttp

    words = prompts(setting)

    async def batch(calls: int) -> int:
        async with aiohttp.ClientSession(headers={"authorization": "Bearer bench"}) as session:
            run = _Processor(setting, session, words, calls)
            await run.run()
        return run.answered

    return Subject(batch=batch)
