"""How many tokens a request will cost, estimated without a download.

The provider's own count arrives with the answer and replaces the estimate; the estimate decides what may be sent. It is a weighted sum of
what stands in the text (words, letters by script, digits, marks), calibrated by family of models: on texts it was not fitted to it is 6
to 9 % off on average in English, Turkish, code and JSON (`python -m surefoot_eval tokens` prints it by language and family). Where a
vocabulary is at hand offline, `surefoot.usage.vocabulary` counts exactly. `model` is a target's name ("openai:gpt-5-mini"); unknown ones
count as the mean of many.
"""

from __future__ import annotations

from functools import lru_cache
from operator import mul

from surefoot.facts import families
from surefoot.types import ChatRequest, EmbedRequest, File, Image, Message, Opaque, Usage
from surefoot.usage._token_weights import WEIGHTS, counts, plain

MESSAGE_TOKENS = 4  # role and separators, from the OpenAI cookbook
IMAGE_TOKENS = 800  # between OpenAI's 85 (low detail) and Anthropic's 1,600 for a large picture
FILE_BYTES_PER_TOKEN = 20.0  # a PDF page of 30 kB yields about 1,500 tokens at the vendors that read PDFs
DEFAULT_OUTPUT_TOKENS = 256  # a typical answer; the actual count settles it
SAMPLE = 8_000  # characters of a long text that are looked at, from four places: more would hold the background loop


@lru_cache(maxsize=1024)
def family(model: str) -> str:
    """The family of vocabularies that `model` belongs to, "other" where nobody knows."""
    name = model.lower()
    bare = name.rpartition("/")[2].partition(":")[2] or name
    return next((kind for word, kind in families() if bare.startswith(word) or (word in name and len(word) > 2)), "other")


def estimate_text(text: str, *, model: str = "") -> int:
    """Tokens of `text`, about; at least 1."""
    size = len(text)
    if size > SAMPLE:
        step = SAMPLE // 4
        picked = "".join(text[at : at + step] for at in (0, size // 3, 2 * size // 3, size - step))
        return int(estimate_text(picked, model=model) * size / len(picked))
    weights = WEIGHTS[family(model)]
    tokens: float = plain(text, weights) if text.isascii() else sum(map(mul, weights, counts(text)))
    return max(1, round(tokens))


def estimate_message(message: Message, *, model: str = "") -> int:
    """Tokens of one message with its role, parts and tool calls, about."""
    total = MESSAGE_TOKENS
    for call in message.tool_calls:
        total += MESSAGE_TOKENS + estimate_text(call.name, model=model) + estimate_text(call.arguments, model=model)
    if isinstance(message.content, str):
        return total + (estimate_text(message.content, model=model) if message.content else 0)
    for part in message.content:
        if isinstance(part, Image):
            total += IMAGE_TOKENS
        elif isinstance(part, File):
            total += int(len(part.data) / FILE_BYTES_PER_TOKEN)
        else:
            total += estimate_text(part.data if isinstance(part, Opaque) else part.text, model=model)
    return total


def estimate_input(request: ChatRequest | EmbedRequest, *, model: str = "") -> int:
    """Input tokens of `request`, about. The last one's are remembered: rate and budget ask for the same, one after the other."""
    last = _last[0]
    if last[0] is request and last[1] == model:
        return last[2]
    total = _estimate_input(request, model=model)
    _last[0] = (request, model, total)
    return total


_last: list[tuple[ChatRequest | EmbedRequest | None, str, int]] = [(None, "", 0)]  # one tuple, so that threads see a whole one


def _estimate_input(request: ChatRequest | EmbedRequest, *, model: str) -> int:
    if isinstance(request, EmbedRequest):
        return sum([estimate_text(text, model=model) for text in request.texts])
    total = sum([estimate_message(message, model=model) for message in request.messages])
    for tool in request.tools:
        total += MESSAGE_TOKENS + estimate_text(tool.parameters or tool.raw, model=model) + estimate_text(tool.description, model=model)
    if request.schema is not None:
        total += estimate_text(request.schema.schema, model=model)
    return total


def estimate_window(request: ChatRequest | EmbedRequest, *, model: str = "") -> int:
    """What of a context window `request` takes, about: the prompt, and the answer's room where it was asked for."""
    asked = request.max_tokens if isinstance(request, ChatRequest) else None
    return estimate_input(request, model=model) + (asked or 0)


def estimate(request: ChatRequest | EmbedRequest, *, model: str = "") -> int:
    """Input and likely output tokens of `request`: what a tokens-per-minute limit reserves."""
    total = estimate_input(request, model=model)
    if isinstance(request, ChatRequest):
        total += DEFAULT_OUTPUT_TOKENS if request.max_tokens is None else min(request.max_tokens, DEFAULT_OUTPUT_TOKENS)
    return total


def guess_usage(request: ChatRequest | EmbedRequest, text: str | None, *, model: str = "") -> Usage:
    """Tokens of an answer that nobody counted: the whole input, and the `text` that arrived; None where a provider may have written one."""
    output = 0
    if text:
        output = estimate_text(text, model=model)
    elif text is None and isinstance(request, ChatRequest):
        output = min(request.max_tokens or DEFAULT_OUTPUT_TOKENS, DEFAULT_OUTPUT_TOKENS)
    return Usage(input_tokens=estimate_input(request, model=model), output_tokens=output, estimated=True)
