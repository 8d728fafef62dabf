"""The table of errors in docs/migrating.md: each is provoked by a simulated vendor, and caught with the vendor's SDK and with ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from surefoot import ChatModel, Policy, Target, errors
from surefoot.testing.wire import AnthropicSim, GeminiSim, OpenAISim, fault

KEY, ASKED = "sk-simulated-0123456789", "Count to five"
TABLE = (Path(__file__).resolve().parents[2] / "docs/migrating.md").read_text(encoding="utf-8").partition("## Errors")[2]
ROWS = {row[1].strip(): row[2:5] + row[-2:-1] for line in TABLE.splitlines() if len(row := line.split("|")) == 9}
PROVOKED = {  # the row, by its beginning: faults that mean it
    "rate limit": ("status_429",),
    "no credit": ("insufficient_quota", "daily_quota", "credit_too_low"),
    "the server failed": ("status_500", "status_502", "status_503", "status_504", "status_529", "status_503_html"),
    "no connection": ("reset_before_answer", "closed_before_answer", "not_http"),
    "one attempt": ("slow_answer",),
    "key wrong": ("status_401", "status_403", "bad_key"),
    "no such model": ("status_404",),
    "the request is wrong": ("status_400", "status_413", "status_422"),
    "the prompt is too long": ("context_too_long",),
    "filtered": ("content_refused", "refusal"),
    "an answer that is none": ("truncated_json", "empty_object", "json_null", "answer_null"),
    "a stream broke": ("stream_cut", "stream_reset", "stream_ended_early"),
    "a stream's server": ("error_event",),
}
NO_ERROR = re.compile(r"message|given as")
PATIENCE_S = {"slow_answer": 1.0}


def openai_sdk(url: str, timeout_s: float) -> Callable[[bool], object]:
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=timeout_s)
    said: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": ASKED}]}
    return lambda streamed: (
        list(client.chat.completions.create(**said, stream=True)) if streamed else client.chat.completions.create(**said)
    )


def anthropic_sdk(url: str, timeout_s: float) -> Callable[[bool], object]:
    import anthropic

    client = anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0, timeout=timeout_s)
    said: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 99, "messages": [{"role": "user", "content": ASKED}]}
    return lambda streamed: list(client.messages.create(**said, stream=True)) if streamed else client.messages.create(**said)


def google_sdk(url: str, timeout_s: float) -> Callable[[bool], object]:
    from google import genai

    options = {"base_url": url, "timeout": round(timeout_s * 1000), "retry_options": {"attempts": 1}}
    client = genai.Client(api_key=KEY, http_options=options)  # closed when it is collected
    said: dict[str, Any] = {"model": "gemini-2.5-flash", "contents": ASKED}
    return lambda streamed: list(client.models.generate_content_stream(**said)) if streamed else client.models.generate_content(**said)


VENDORS = {
    "openai": (OpenAISim, openai_sdk, "openai:gpt-4o-mini", "/v1"),
    "anthropic": (AnthropicSim, anthropic_sdk, "anthropic:claude-haiku-4-5", ""),
    "google": (GeminiSim, google_sdk, "google:gemini-2.5-flash", ""),
}
CASES = [
    pytest.param(vendor, row, name, id=f"{vendor}-{name}")
    for vendor in VENDORS
    for row, names in PROVOKED.items()
    for name in names
    if vendor in fault(name).vendors
]


@pytest.mark.parametrize(("vendor", "row", "name"), CASES)
def test_what_the_table_says_is_raised(vendor, row, name):
    """A table from memory was wrong in seven places."""
    where = list(VENDORS).index(vendor)
    cells = next(cells for meaning, cells in ROWS.items() if meaning.startswith(row))
    cell = cells[0] if cells[where].strip() == "the same" else cells[where]
    kind, sdk, target, path = VENDORS[vendor]
    streamed, timeout_s = "stream" in row, PATIENCE_S.get(name, 60.0)
    with kind() as sim:
        sim.script(fault(name))
        theirs = caught(lambda: sdk(sim.url, timeout_s)(streamed))
        if theirs is None:
            assert NO_ERROR.search(cell), cell
        else:
            assert {one.__name__ for one in type(theirs).__mro__} & {*re.findall(r"`(\w+)`", cell)}, f"{type(theirs).__mro__}: {cell}"
        policy = Policy(attempts=1, first_token_s=timeout_s, resume=False)
        with ChatModel(Target(target, base_url=f"{sim.url}{path}", api_key=KEY), policy=policy) as chat:
            in_pieces = streamed or name in PATIENCE_S  # a plain answer may take half of the deadline
            ours = caught(lambda: list(chat.stream(ASKED)) if in_pieces else chat.invoke(ASKED))
    assert isinstance(ours, getattr(errors, re.findall(r"`(\w+)`", cells[3])[0])), f"{ours!r}: {cells[3]}"


def caught(ask: Callable[[], object]) -> Exception | None:
    """What `ask` raises, if it does."""
    try:
        ask()
    except Exception as error:
        return error
    return None
