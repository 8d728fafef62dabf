"""Estimates before sending: near enough, for free, in both languages."""

from __future__ import annotations

from surefoot.tokens import estimate, estimate_input, estimate_text
from surefoot.types import ChatRequest, EmbedRequest, Image, Message, Tool


def test_turkish_counts_more_than_english():
    """Letters outside ASCII cost more tokens; a limit that forgets it is overrun."""
    assert estimate_text("Çünkü gökyüzü şimdi ışıl ışıl görünüyor") > estimate_text("Cunku gokyuzu simdi isil isil gorunuyor")


def test_everything_that_is_sent_counts():
    """Roles, pictures, tools."""
    plain = estimate_input(ChatRequest(messages=(Message.user("hi"),)))
    assert estimate_input(ChatRequest(messages=(Message.user(["hi", Image(url="x")]),))) > plain + 500
    assert estimate_input(ChatRequest(messages=(Message.user("hi"),), tools=(Tool.of("t", "d", {"a": 1}),))) > plain


def test_output_is_part_of_what_is_reserved():
    """But never more than asked for."""
    request = ChatRequest(messages=(Message.user("hi"),), max_tokens=5)
    assert estimate(request) == estimate_input(request) + 5
    assert estimate(EmbedRequest(texts=("a", "b"))) == estimate_input(EmbedRequest(texts=("a", "b")))
