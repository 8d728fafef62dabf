"""How an answer ended: the words that servers have for it, as ours.

One table for all: gateways pass other vendors' words on, and compatible servers bring their own. Sources: the API references of OpenAI,
Anthropic, Gemini, Mistral (`model_length`), Cohere (`COMPLETE`, `MAX_TOKENS`), DeepSeek (`insufficient_system_resource`), Zhipu
(`sensitive`, `network_error`); vLLM and SGLang (`abort`), TGI (`eos_token`), Bedrock (`guardrail_intervened`), as of 2026-11.
"""

from __future__ import annotations

from surefoot.errors import ContentRefused, Overloaded, SurefootError
from surefoot.providers.http.faults import malformed
from surefoot.providers.http.redact import shown
from surefoot.types import ChatReply, ChatRequest, FinishReason, Usage

FINISHES: dict[str, FinishReason] = {
    **dict.fromkeys(
        ("stop", "eos", "eos_token", "end", "end_turn", "stop_sequence", "stop_token", "complete", "completed", "done", "finished"), "stop"
    ),
    **dict.fromkeys(
        ("length", "max_tokens", "max_length", "max_output_tokens", "max_new_tokens", "model_length", "token_limit",
         "model_context_window_exceeded", "incomplete", "continuation"),
        "length",
    ),
    **dict.fromkeys(("tool_calls", "tool_call", "tool_use", "function_call", "function_calls"), "tool_calls"),
    **dict.fromkeys(
        ("content_filter", "content_filtered", "safety", "sensitive", "recitation", "blocklist", "prohibited_content", "spii",
         "model_armor", "image_safety", "image_prohibited_content", "image_recitation", "language", "escalation", "pup_limited_disabled",
         "guardrail_intervened", "error_toxic"),
        "content_filter",
    ),
    "refusal": "refusal",
    "pause_turn": "paused",
    **dict.fromkeys(("malformed_function_call", "unexpected_tool_call", "malformed_response"), "malformed_tool_call"),
}  # fmt: skip
GAVE_UP = frozenset({
    "abort", "aborted", "cancel", "cancelled", "canceled", "interrupted", "insufficient_system_resource", "network_error", "server_error",
    "timeout",
})  # fmt: skip


def finish_of(word: str | None, target: str, *, request_id: str = "") -> FinishReason:
    """Our word for a server's finish reason; "other" for one that nobody knows, or none.

    Raises Overloaded where the server says that it gave up in mid-answer: what there is of it is not the answer.
    """
    plain = (word or "").lower().replace("-", "_")
    if plain in GAVE_UP:
        why = f"the server gave up in mid-answer (finish reason {plain})"
        raise Overloaded(f"{target}: {why}", code=plain, request_id=request_id, target=target)
    return FINISHES.get(plain, "other")


def check_not_empty(
    finish: FinishReason,
    request: ChatRequest,
    *,
    why: str,
    target: str,
    request_id: str,
    usage: Usage | None = None,
    model: str = "",
    body: bytes = b"",
) -> SurefootError | None:
    """The error that an answer without text and tool calls is, or None where it is the answer.

    A normal end with nothing to say is one: Claude and Gemini end so after a tool's result, and asked again they say the same and bill it
    again. So is an answer cut at its token limit while the model thought. It is none where JSON was asked for (nothing is no JSON), where
    the server names no end that we know, and where a filter or the model withheld it (ContentRefused, with the reason `why`, and what the
    answer cost).
    """
    if finish in {"content_filter", "refusal"}:
        told = shown(why, limit=120) or "the provider's content filter withheld the answer"
        refused = ContentRefused(f"{target}: refused: {told}", status=200, code=finish, request_id=request_id, target=target)
        refused.refusal = why
        refused.reply = ChatReply(
            finish_reason=finish, usage=usage or Usage(), model=model, target=target, request_id=request_id, raw_json=body
        )
        return refused
    if finish in {"length", "paused"} or request.stop or (finish == "stop" and request.schema is None):
        return None
    return malformed(target, f"an empty answer: neither text nor tool calls (finish reason {finish})", request_id=request_id)
