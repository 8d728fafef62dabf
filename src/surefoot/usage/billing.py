"""What an attempt did cost, in tokens, however it ended.

The provider's own count comes first. Where it sent none, or was cut off while it was counting, the text that arrived is counted and the
usage flagged as estimated. An error that the provider answered with costs nothing. What was sent and then cancelled, lost on
the way, garbled or waited for in vain may have been billed: the provider was at work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from msgspec.structs import replace

from surefoot.core.stream import Outcome
from surefoot.errors import AttemptTimedOut, ConnectionLost, ContentRefused, MalformedReply
from surefoot.types import Call, ChatReply, Usage

Guess: TypeAlias = Callable[[Any, str | None], Usage]  # a request and the text that arrived (None: unknown) -> tokens, flagged as estimated

UNANSWERED = (AttemptTimedOut, ConnectionLost, MalformedReply)
NOT_CONNECTED = {  # what aiohttp, httpx and the system say of a connection that never came about: nothing was sent
    "ClientConnectorError", "ConnectionTimeoutError", "ConnectTimeout", "PoolTimeout", "ConnectionRefusedError", "gaierror",
}  # fmt: skip


def used(call: Call[Any], outcome: Outcome, guess: Guess | None) -> Usage | None:
    """The provider's count; ours, flagged, where it sent none or was cut off while counting; None for an error instead of an answer."""
    usage = outcome.usage if not isinstance(outcome.error, ContentRefused) else _of_a_refusal(outcome.error)
    if usage is not None and not usage.estimated and outcome.stream is None:  # as nearly always
        return usage
    is_cut = outcome.stream is not None and not outcome.complete and outcome.stream.finish_reason is None
    counted = usage is not None and (usage.total_tokens > 0 or not usage.estimated)
    if guess is None or (counted and not is_cut) or (usage is None and outcome.stream is None and not outcome.cancelled):
        return usage
    reply = outcome.reply
    guessed = guess(call.request, _said(reply) if isinstance(reply, ChatReply) else "" if outcome.stream is not None else None)
    if usage is None or not counted:
        return guessed
    return replace(usage, output_tokens=max(usage.output_tokens, guessed.output_tokens), estimated=True)


def _of_a_refusal(error: ContentRefused) -> Usage | None:
    """The provider's count for an answer that it withheld: the prompt was read, and is billed."""
    usage: Usage | None = error.reply.usage if error.reply is not None else None
    return usage if usage is not None and usage.total_tokens else None


def may_be_billed(outcome: Outcome) -> bool:
    """Whether an attempt without any answer may be on the bill: it was cancelled, or nothing usable came back."""
    error = outcome.error
    if outcome.cancelled or error is None:
        return True
    return isinstance(error, UNANSWERED) and not _is_unsent(error)


def _is_unsent(error: BaseException) -> bool:
    """Whether the causes of `error` say that there was no connection."""
    causes = [error]
    while (inner := causes[-1].__cause__ or causes[-1].__context__) is not None and inner not in causes:
        causes.append(inner)
    return any(kind.__name__ in NOT_CONNECTED for cause in causes for kind in type(cause).__mro__)


def _said(reply: ChatReply) -> str:
    """Everything the provider wrote."""
    return reply.reasoning + reply.text + "".join(call.name + call.arguments for call in reply.tool_calls)
