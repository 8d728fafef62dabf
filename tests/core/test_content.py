"""Blocks of content in all dialects: more of them stands in the tests of LangChain, whose users paste them all."""

from __future__ import annotations

import pytest

from surefoot.core.content import marks_cache, parts, placed
from surefoot.errors import BadRequest
from surefoot.types import File, Image, Opaque, Text

MARK = {"type": "ephemeral"}


def test_text_stays_text_and_blocks_become_parts():
    """One block of text is text, so that both spellings have one cache key."""
    assert parts("hi") == parts([{"type": "text", "text": "hi"}]) == parts(["hi"]) == "hi"
    assert parts(["a", {"type": "image", "source": {"type": "url", "url": "https://p"}}]) == (Text("a"), Image(url="https://p"))
    assert parts([{"type": "text", "text": ""}]) == ()


def test_calls_among_the_blocks_have_their_places():
    """Claude speaks and thinks between them."""
    blocks = ["a", {"type": "tool_use", "id": "1"}, "b", {"type": "tool_call", "id": "2"}]
    assert placed(blocks) == ((Text("a"), Text("b")), {"1": 1, "2": 2})


def test_the_usual_mark_at_the_end_is_the_messages():
    """All others stay on their blocks."""
    assert marks_cache([{"type": "text", "text": "a", "cache_control": MARK}])
    assert parts([{"type": "text", "text": "a", "cache_control": MARK}]) == "a"
    hour = {"type": "text", "text": "a", "cache_control": MARK | {"ttl": "1h"}}
    for blocks in ([{"type": "text", "text": "a", "cache_control": MARK}, "b"], [hour]):
        assert not marks_cache(blocks)
        assert parts(blocks)[0].vendor == "anthropic"


def test_a_block_that_nobody_knows_is_the_vendors_that_is_asked():
    """Without one it is refused: nobody could say where it goes."""
    assert parts([{"type": "hologram"}], "google") == (Opaque.of("google", {"type": "hologram"}),)
    with pytest.raises(BadRequest, match="hologram"):
        parts([{"type": "hologram"}])
    with pytest.raises(BadRequest, match="cannot be written as JSON"):
        parts([{"type": "hologram", "x": object()}], "openai")


def test_files_by_address_are_left_to_the_vendor():
    """Fetching them here would be a request nobody asked for."""
    assert parts([{"type": "file", "url": "https://a/b.pdf"}]) == (File(url="https://a/b.pdf"),)
    assert parts([{"type": "input_file", "file_url": "https://a/b.pdf", "filename": "b"}]) == (File(url="https://a/b.pdf", name="b"),)
