"""What can be asked for: how to search, how to answer, how to generate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from surefoot import Message
from surefoot.errors import BadRequest
from surefoot.history import History
from surefoot_rag.records import Passage
from surefoot_rag.retrieval.filters import Where
from surefoot_rag.retrieval.fusion import Fusion

__all__ = ["TOP_K", "AnswerOptions", "AskOptions", "Reranker", "Rewriter", "Search", "options_for"]

TOP_K = 5  # passages shown to the model: hit@5 on XQuAD is .98 and more in both languages; more only dilutes
CONTEXT_TOKENS = 4000  # for passages: three times what five usually have; half the model's window, where that is smaller
TOOLS = frozenset({"tools", "tool_choice", "functions", "function_call", "parallel_tool_calls"})

Rewriter = Callable[[str, Sequence[Message]], str]
"""From a question and the turns before it to what is searched for."""
Reranker = Callable[[str, Sequence[Passage]], Sequence[float]]
"""A score for each passage, higher is better; only their order counts."""


class Search(TypedDict, total=False):
    """How to search: `k` passages, whose (`tenant`), which (`where`), mixed how (`fusion`; left out: as the embedding space was tuned).

    `rerank` puts the best candidates in another order before `k` of them are taken (`reranking` has two).
    """

    k: int
    tenant: str
    where: Where
    fusion: Fusion
    rerank: Reranker


class AnswerOptions(Search, total=False):
    """How to answer: with which earlier turns, within how many tokens of passages, which hosts' links may stand; and how to generate.

    `rewrite` makes of a question what is searched for (left out: a follow-up is searched together with the question it follows). `prompt`
    is the path of a file with `# System` and `# User` like those in `prompts/`. `refuse_unsupported` makes a refusal of an answer in which
    a sentence cites nothing, or holds a number that its passages do not.
    """

    history: History
    conversation: str
    context_tokens: int
    allowed_hosts: Sequence[str]
    rewrite: Rewriter
    prompt: str | Path
    refuse_unsupported: bool
    temperature: float
    max_tokens: int
    seed: int


class AskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`Search` and `AnswerOptions` with their defaults; `tenant` None is the library's own."""

    k: int = TOP_K
    tenant: str | None = None
    where: Any = None
    fusion: Fusion | None = None
    rerank: Any = None
    history: History | None = None
    conversation: str = "default"
    context_tokens: int = CONTEXT_TOKENS
    allowed_hosts: Sequence[str] = ()
    rewrite: Any = None
    prompt: str | Path = "answer"
    refuse_unsupported: bool = False
    options: Mapping[str, Any] = {}


def options_for(asked: Mapping[str, Any]) -> AskOptions:
    """Sort what was asked for. Raises BadRequest for tools: what a passage says could then choose one."""
    if offered := TOOLS & asked.keys():
        raise BadRequest(f"{', '.join(sorted(offered))}: no tools are offered here, lest a passage chooses one; nothing was sent")
    ours = {name: value for name, value in asked.items() if name in AskOptions.__struct_fields__ and name != "options"}
    options = AskOptions(**ours, options={name: value for name, value in asked.items() if name not in ours})
    for name in ("k", "context_tokens"):
        value = getattr(options, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise BadRequest(f"{name} = {value!r}: want a whole number of at least 1; nothing was searched")
    for name in ("rerank", "rewrite"):
        if getattr(options, name) is not None and not callable(getattr(options, name)):
            raise BadRequest(f"{name} = {getattr(options, name)!r}: want a function, such as those of surefoot_rag.answers.reranking")
    return options
