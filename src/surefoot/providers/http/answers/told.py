"""What a provider says about a failure: the error object of any vendor, wherever it stands, in fields of our own.

Seen: `{"error": {...}}` and `{"error": "..."}` (OpenAI, Anthropic, Gemini, most servers), the same in a list (Gemini), `{"detail": ...}`
(FastAPI: vLLM, TGI), `{"message": ..., "code": ...}` (Azure, Mistral, DashScope, AWS), `{"code": ..., "msg": ...}` (New API, Zhipu's
gateways), `{"base_resp": {"status_code": ...}}` (MiniMax), `{"error_code": ..., "error_msg": ...}` (Baidu), `{"errors": [...]}`
(Cloudflare, Cohere), a text. OpenRouter and LiteLLM put another server's error inside theirs, as JSON text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from surefoot.providers.http.answers import lenient
from surefoot.rules.hints import duration_s

READ_CHARS = 4000  # of an error's wording; longer ones repeat the request or are a page
MAX_ERROR_BYTES = 1_000_000  # an error body beyond this is not read as JSON
MESSAGES = ("message", "detail", "msg", "error_msg", "error_message", "errorMessage", "status_msg", "Message", "error_description", "title")
CODES = ("code", "type", "status", "error_code", "errorCode", "error_type", "status_code", "reason", "Code", "__type")
HINTS_S = ("retry_after", "retryAfter", "retry_after_seconds", "retryDelay", "estimated_time")
HINTS_MS = ("retry_after_ms", "retryAfterMs")
OWN_NUMBERS = 1000  # from here on a number is no HTTP status, but a vendor's own word
FINE = frozenset({"success", "ok", "succeeded", "0", "200"})  # what servers call an error that is none
_WAIT = re.compile(
    r"(?:try again|retry|wait|resets?)(?: again)?(?: in| after| for| at least)?:? "
    r"(\d[\d.]{0,18}\s?[a-z]{0,12}\.?(?: ?\d[\d.]{0,9}\s?[a-z]{1,12}){0,3})",
    re.IGNORECASE,
)


class Told(Struct, frozen=True, kw_only=True):
    """What a provider says about a failure, in our fields.

    `code` is its own word for it, `words` that and its others without case and marks, `number` the HTTP status it means, if it says one.
    """

    message: str = ""
    code: str = ""
    words: tuple[str, ...] = ()
    number: int | None = None
    hint_s: float | None = None

    @property
    def is_error(self) -> bool:
        """Whether anything was said at all."""
        return bool(self.message or self.words)


NOTHING = Told()


def told(body: bytes) -> Told:
    """What an error body says; NOTHING where it is none that we know."""
    if len(body) > MAX_ERROR_BYTES:
        return NOTHING
    try:
        value = lenient.cleaned(body)
    except (ValueError, RecursionError):  # RecursionError: brackets nested beyond reason
        return NOTHING
    return _told(value)


def told_instead(body: bytes) -> Told:
    """What a body says that should have been an answer; NOTHING unless it is plainly an error.

    Answers have a type, an id and a status of their own; an error without the word needs a message, and a code or a detail beside it.
    """
    if len(body) > MAX_ERROR_BYTES:
        return NOTHING
    try:
        value = lenient.cleaned(body)
    except (ValueError, RecursionError):
        return NOTHING
    return _told(value) if is_error(value) else NOTHING


def is_error(value: Any) -> bool:
    """Whether a JSON value is plainly an error object, or holds one that says something."""
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return False
    inner = value.get("error") or value.get("errors")
    if inner:
        return says_something(inner)
    base = value.get("base_resp")
    if isinstance(base, dict):
        return base.get("status_code") not in (None, 0, "0")
    if value.get("detail") or value.get("type") == "error" or value.get("object") == "error" or value.get("success") is False:
        return True
    message = any(isinstance(value.get(name), str) and value[name] for name in MESSAGES)
    return message and any(value.get(name) and str(value[name]).lower() not in FINE for name in CODES)


def says_something(error: Any) -> bool:
    """Whether the value of a field `error` says that there was one: gateways send the empty object of their own type along."""
    if isinstance(error, dict):
        return any(map(says_something, error.values()))
    if isinstance(error, list):
        return any(map(says_something, error))
    return bool(error) and str(error).lower() not in FINE


def _told(value: Any) -> Told:
    outer, error = _error_of(value)
    if error is None:
        return NOTHING
    message, inner = _message(error), _inner(error)
    said = [*_codes(error), *_codes(outer), *(_codes(inner) if inner is not None else ())]
    if inner is not None and (more := _message(inner)) and more not in message:
        message = f"{message}: {more}" if message else more
    words = tuple(dict.fromkeys(found for one in said if (isinstance(one, str) or one >= OWN_NUMBERS) and (found := plain(str(one)))))
    number = next((number for one in said if (number := _status(one)) is not None), None)
    code = next((one for one in said if isinstance(one, str) and one), None) or next((str(one) for one in said if one), "")
    details = str(error.get("details") or "")[:READ_CHARS]
    if "resourceexhausted" in words:  # Gemini says "check your plan and billing" for every limit: only a per-day metric is a quota
        words += ("quotaexceeded",) if "perday" in details.lower() else ("ratelimit",)
    return Told(message=message[:READ_CHARS], code=code, words=words, number=number, hint_s=_hint_s(outer, error, message, details))


def _error_of(value: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The object around the error, and the error."""
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, str):
        return {}, {"message": value}
    if not isinstance(value, dict):
        return {}, None
    error = next((value[name] for name in ("error", "errors", "base_resp") if value.get(name)), None)
    if isinstance(error, list):
        error = error[0] if error else None
    if error is None:
        return {}, value
    if isinstance(error, dict):
        return value, error
    beside = _message(value)
    said = "" if isinstance(error, bool) else lenient.text_of(error)
    return value, {"message": beside, "code": said} if beside and said.count(" ") < 2 else {"message": said or beside}


def _message(error: dict[str, Any]) -> str:
    """The wording; of FastAPI's list the places and the words about them, for its `input` repeats the prompt."""
    for name in MESSAGES:
        said = error.get(name)
        if isinstance(said, list):
            rows = [row for row in said if isinstance(row, dict)]
            if found := "; ".join(filter(None, map(_row, rows))):
                return found
        elif isinstance(said, dict):
            if found := _message(said):
                return found
        elif said:
            return str(said)
    return ""


def _row(row: dict[str, Any]) -> str:
    where = row.get("loc")
    place = ".".join(map(str, where)) if isinstance(where, list) else str(where or row.get("param") or row.get("field") or "")
    said = str(row.get("msg") or row.get("message") or "")
    return f"{place}: {said}" if place and said else said


def _inner(error: dict[str, Any]) -> dict[str, Any] | None:
    """The error of the server behind a gateway, where that passes it on as JSON text, or Azure's own second one."""
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if isinstance(raw, str) and raw.lstrip()[:1] in {"{", "["}:
        try:
            return _error_of(lenient.cleaned(raw.encode()))[1]
        except (ValueError, RecursionError):
            return {"message": raw}
    if isinstance(raw, str) and raw:
        return {"message": raw}
    inner = error.get("innererror") or error.get("inner_error")
    return inner if isinstance(inner, dict) else None


def _codes(error: dict[str, Any]) -> Iterator[Any]:
    for name in CODES:
        found = error.get(name)
        if isinstance(found, str | int) and not isinstance(found, bool) and found != "error":
            yield found


def plain(word: str) -> str:
    """A vendor's word without case, marks and the endings that say only that it is an error: "ratelimit" for "RateLimitError"."""
    found = re.sub(r"[^a-z0-9]", "", word[:100].lower())
    for ending in ("exception", "error"):
        if found.endswith(ending) and len(found) > len(ending):
            found = found.removesuffix(ending)
    return found


def _status(word: Any) -> int | None:
    """An HTTP status, also as text."""
    if isinstance(word, str) and word.isdecimal() and len(word) == 3:
        word = int(word)
    return word if isinstance(word, int) and 100 <= word < 600 else None


def _hint_s(outer: dict[str, Any], error: dict[str, Any], message: str, details: str) -> float | None:
    """Seconds until asking again may help: a field of its own, Gemini's RetryInfo, or the wording."""
    for where in (error, outer, error.get("metadata") if isinstance(error.get("metadata"), dict) else {}):
        for names, unit_s in ((HINTS_S, 1.0), (HINTS_MS, 0.001)):
            for name in names:
                found = duration_s(str(where.get(name) or ""), unit_s=unit_s) if isinstance(where, dict) else None
                if found is not None:
                    return found
    said = re.search(r"retryDelay': '([\d.]{1,20}(?:ms|[dhms])[\dhms.]{0,20})'", details)
    found = duration_s(said[1]) if said else None
    if found is not None:
        return found
    waits = _WAIT.search(message)
    return duration_s(waits[1]) if waits else None
