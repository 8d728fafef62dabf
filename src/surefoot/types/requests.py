"""WHAT is asked: of a chat model, of an embedding model."""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

from surefoot._documented import Documented
from surefoot.secret import shown_fields
from surefoot.text import TextRecord, clean, clean_fields
from surefoot.types.messages import Message, Schema, Tool

EmbedRole = Literal["document", "query"]


class ChatRequest(TextRecord, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """WHAT is asked of a chat model: hashable, digested. None means: the provider's own default."""

    messages: tuple[Message, ...]
    """The conversation, oldest first; at least one."""
    temperature: float | None = None
    """Randomness, at least 0 (most vendors allow 2, Anthropic 1). None: the provider's default, which differs."""
    top_p: float | None = None
    """Share of the probability mass that is sampled from, above 0 and at most 1. None: the provider's default."""
    max_tokens: int | None = None
    """Most tokens of the answer, at least 1, reasoning included where the vendor counts it so. None: the provider's limit."""
    stop: tuple[str, ...] = ()
    """Texts at which the answer ends, left out of it. Empty: none."""
    seed: int | None = None
    """Makes sampling repeatable where the vendor offers it, which none promises. None: not sent."""
    reasoning_effort: str = ""
    """How much to think: "none", "minimal", "low", "medium", "high", or the vendor's own word. Empty: its default."""
    tools: tuple[Tool, ...] = ()
    """The tools the model may call. Empty: none."""
    tool_choice: str = ""
    """Which tool to call: "auto", "none", "required" (some tool), or the name of the tool to call. Empty: the provider's default, usually
    "auto".
    """
    parallel_tool_calls: bool | None = None
    """Whether several tools may be called in one answer. None: the provider's default."""
    schema: Schema | None = None
    """The shape the answer must have. None: free text."""
    prompt_cache: str = ""
    """Whether what stays the same from call to call (tools, system text, the conversation so far) is marked to be kept in the vendor's
    prompt cache: "auto" for its usual lifetime, or "5m" or "1h". Anthropic's models take marks; all others are sent nothing and cache by
    themselves. Empty: nothing is marked, because Anthropic charges a quarter more for what is written, and double for an hour.
    """
    model: str = ""
    """Another model of the same provider for this request alone; it is billed at that model's price. Empty: the target's own."""
    extra: str = ""
    """Fields of the provider's own API as JSON object text, merged into the body as they are. Empty: none."""

    def __repr__(self) -> str:
        """What was said, without the keys that `extra` may hold in its headers: crash reports print it."""
        return shown_fields(self)

    def __post_init__(self) -> None:
        """Convert the text; hot, since each change of a request builds another."""
        if self.stop:
            msgspec.structs.force_setattr(self, "stop", tuple(clean(word) if isinstance(word, str) else word for word in self.stop))
        if not (
            type(self.model) is type(self.tool_choice) is type(self.reasoning_effort) is type(self.extra) is type(self.prompt_cache) is str
        ):
            clean_fields(self)


class EmbedRequest(Struct, Documented, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """WHAT is asked of an embedding model: the texts, and whether they are documents or a query."""

    texts: tuple[str, ...]
    """What to embed, in order; at least one, none of them empty."""
    role: EmbedRole = "document"
    """What the texts are: "document" or "query": models trained with prefixes or task types treat the two differently."""
    dimensions: int | None = None
    """Length of the vectors, at least 1, where the model offers shorter ones. None: the target's, else the model's own."""
    unit_length: bool = True
    """Rows are scaled to length 1 (L2), so that a dot product is the cosine; that is what vector stores expect."""
    extra: str = ""
    """Fields of the provider's own API as JSON object text, merged into the body as they are. Empty: none."""

    def __repr__(self) -> str:
        """As for ChatRequest."""
        return shown_fields(self)


Q = TypeVar("Q", ChatRequest, EmbedRequest)
