"""Which of an answer's tool calls may be run."""

from __future__ import annotations

from msgspec.structs import replace

from surefoot.core._arguments import mended
from surefoot.types import ToolCall

CUT_OFF = "the answer was cut off or withheld (its token limit, a filter, ...) while tools were called: arguments may be incomplete"


def is_runnable(finish: str | None) -> bool:
    """Whether the tool calls of an answer that ended so may be run: only after an end that is known to be a whole one."""
    return finish in {"stop", "tool_calls"}


def checked_tool_call(
    *,
    id: str,  # noqa: A002 - the wire's word
    name: str,
    arguments: str,
    signature: str = "",
    extra: str = "",
    vendor: str = "",
    after: int | None = None,
    is_cut: bool = False,
) -> ToolCall:
    """A tool call whose `error` says why its arguments are no JSON object; broken JSON is never turned into {}, null is.

    `is_cut`: the answer did not come to its own end. Then no call in it may be run, however whole its arguments look.
    """
    call = ToolCall(
        id=id, name=name, arguments=arguments or "{}", error=CUT_OFF if is_cut else "", signature=signature,
        extra=extra, vendor=vendor, after=after,
    )  # fmt: skip
    try:
        call.parsed()
    except (ValueError, RecursionError) as broken:
        meant = mended(arguments)
        if meant is not None:
            return replace(call, arguments=meant)
        return replace(call, arguments=arguments, error=str(broken))
    return call
