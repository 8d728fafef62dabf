"""How many tokens a request will cost, estimated without a download.

The provider's own count arrives with the answer and replaces the estimate; the estimate decides what may be sent.
"""

from __future__ import annotations

from surefoot.types import ChatRequest, EmbedRequest, File, Image, Usage

ASCII_CHARS_PER_TOKEN = 4.0  # English prose in the o200k and cl100k vocabularies: 4.0 to 4.7 characters a token
OTHER_CHARS_PER_TOKEN = 1.5  # a letter outside ASCII often costs a token of its own or half of one (Turkish: ç, ğ, ı, ö, ş, ü)
MESSAGE_TOKENS = 4  # role and separators, from the OpenAI cookbook
IMAGE_TOKENS = 800  # between OpenAI's 85 (low detail) and Anthropic's 1,600 for a large picture
FILE_BYTES_PER_TOKEN = 20.0  # a PDF page of 30 kB yields about 1,500 tokens at the vendors that read PDFs
DEFAULT_OUTPUT_TOKENS = 256  # a typical answer; the actual count settles it


def estimate_text(text: str) -> int:
    """Tokens of `text`, about."""
    size = len(text)
    if text.isascii():
        return int(size / ASCII_CHARS_PER_TOKEN) + 1
    other = (len(text.encode("utf-8", "replace")) - size) // 1
    other = min(other, size)
    return int((size - other) / ASCII_CHARS_PER_TOKEN + other / OTHER_CHARS_PER_TOKEN) + 1


def estimate_input(request: ChatRequest | EmbedRequest) -> int:
    """Input tokens of `request`, about."""
    if isinstance(request, EmbedRequest):
        return sum(estimate_text(text) for text in request.texts)
    total = 0
    for message in request.messages:
        total += MESSAGE_TOKENS
        if isinstance(message.content, str):
            total += estimate_text(message.content)
            continue
        for part in message.content:
            if isinstance(part, Image):
                total += IMAGE_TOKENS
            elif isinstance(part, File):
                total += int(len(part.data) / FILE_BYTES_PER_TOKEN)
            else:
                total += estimate_text(part.text)
    for tool in request.tools:
        total += estimate_text(tool.parameters) + estimate_text(tool.description) + MESSAGE_TOKENS
    return total


def estimate(request: ChatRequest | EmbedRequest) -> int:
    """Input and likely output tokens of `request`: what a tokens-per-minute limit reserves."""
    total = estimate_input(request)
    if isinstance(request, ChatRequest):
        total += DEFAULT_OUTPUT_TOKENS if request.max_tokens is None else min(request.max_tokens, DEFAULT_OUTPUT_TOKENS)
    return total


def guess_usage(request: ChatRequest | EmbedRequest, text: str) -> Usage:
    """Tokens of an answer that was cut or left before the provider counted: the whole input, and the text that arrived."""
    return Usage(input_tokens=estimate_input(request), output_tokens=estimate_text(text) if text else 0, estimated=True)
