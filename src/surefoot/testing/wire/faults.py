"""What can go wrong on the wire: one frozen record per fault, and the catalogue of all that we know.

A `WireFault` says how an answer is spoiled: a status with the vendor's own error body, other bytes, a cut, a stall, or a named change
to the good answer (`spoil`). Simulators turn it into each vendor's native form. `means` names the kind of error a caller should be told
and `retryable` whether asking again can help; None means that the answer is still good. Sources: public issue threads of the vendors'
SDKs and gateways, and measurements of the SDKs themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Literal

import msgspec

from surefoot._documented import Documented
from surefoot.testing.wire._server._http import Ending

Vendor = Literal["openai", "anthropic", "google"]
Surface = Literal["chat", "stream", "embed"]

ALL_VENDORS: tuple[Vendor, ...] = ("openai", "anthropic", "google")
EMBEDDERS: tuple[Vendor, ...] = ("openai", "google")
HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1><hr>proxy</body></html>\n"


class WireFault(msgspec.Struct, Documented, frozen=True, kw_only=True):
    """One way for an answer to go wrong.

    `vendors` and `surfaces` say where it makes sense. `status` and `kind` make the vendor's native error; `retry_in_s` its native hint
    (header, or RetryInfo in the body); `headers` are sent as given. `body` replaces the answer's bytes. `spoil` names a change to the
    good answer. Offsets `cut_at` and `stall_at` count body bytes; a float in [0, 1) is a share of the body. Times in seconds.

    `also` names a second right kind, where it depends on the HTTP client which of two faults it sees first.

    With a `marker` the fault strikes only requests whose body holds it, and of a batch of embeddings only the texts that do.
    """

    name: str
    """What it is called by: `fault(NAME)`."""
    note: str = ""
    """What happens, as a phrase."""
    means: str = ""
    """The class name of the error it must become in surefoot; empty: an answer that is right."""
    also: str = ""
    """A second right class, where the HTTP client decides which of two faults it sees first; empty: there is none."""
    retryable: bool | None = None
    """Whether the same request may be asked again; None: not laid down."""
    vendors: tuple[Vendor, ...] = ALL_VENDORS
    """The vendors that may answer so."""
    surfaces: tuple[Surface, ...] = ("chat", "stream", "embed")
    """Where it can happen: "chat", "stream", "embed"."""
    status: int = 200
    """HTTP status."""
    kind: str = ""
    """The vendor's own word for the error; empty: no error body."""
    message: str = ""
    """What the error says; empty: the vendor's usual sentence."""
    retry_in_s: float | None = None
    """The vendor's hint when to ask again, in seconds (a header, or RetryInfo in the body). None: no hint."""
    headers: tuple[tuple[str, str], ...] = ()
    """Further headers, as pairs of name and value, sent as they are."""
    body: bytes | None = None
    """Bytes in place of the answer's body. None: the answer's own."""
    content_type: str = ""
    """In place of the answer's content type; empty: its own."""
    spoil: str = ""
    """The name of a change to a good answer; empty: none."""
    length_off: int = 0
    """Bytes by which Content-Length is wrong."""
    drop: Literal["", "close", "reset"] = ""
    """Ends the connection before any answer: "close" or "reset"; empty: it is answered."""
    raw: bytes | None = None
    """Bytes in place of the whole HTTP answer. None: a proper one."""
    cut_at: int | float | None = None
    """Body bytes after which the answer ends; a float in [0, 1) is a share of the body. None: it is whole."""
    cut: Ending = "close"
    """How it ends there."""
    stall_at: int | float | None = None
    """Body bytes after which it falls silent; a float in [0, 1) is a share of the body. None: it does not."""
    stall_s: float = 0.0
    """Seconds of that silence."""
    delay_s: float = 0.0
    """Seconds before the answer's first byte."""
    gap_s: float | None = None
    """Seconds between events of a stream. None: the server's usual."""
    marker: str = ""
    """Strikes only requests whose body holds this text, and of a batch only the texts that do; empty: every request."""

    def but(self, **changes: object) -> WireFault:
        """The same fault with some fields changed: `fault("stream_cut").but(cut_at=17)`."""
        return msgspec.structs.replace(self, **changes)


OK = WireFault(name="ok", note="no fault: the scripted place of a good answer")


def _status(status: int, kind: str, means: str, *, retryable: bool, note: str = "") -> WireFault:
    return WireFault(name=f"status_{status}", status=status, kind=kind, means=means, retryable=retryable, note=note)


STATUSES: tuple[WireFault, ...] = (
    _status(400, "bad_request", "BadRequest", retryable=False),
    _status(401, "auth", "AuthFailed", retryable=False),
    _status(402, "billing", "QuotaExhausted", retryable=False),
    _status(403, "permission", "AuthFailed", retryable=False),
    _status(404, "not_found", "NotFound", retryable=False),
    _status(408, "timeout", "Transient", retryable=True),
    _status(409, "conflict", "Transient", retryable=True),
    _status(413, "too_large", "BadRequest", retryable=False),
    _status(422, "unprocessable", "BadRequest", retryable=False),
    _status(429, "rate_limit", "RateLimited", retryable=True, note="no hint at all: openai-python#1102"),
    _status(500, "server", "Overloaded", retryable=True),
    _status(502, "bad_gateway", "Overloaded", retryable=True),
    _status(503, "unavailable", "Overloaded", retryable=True),
    _status(504, "gateway_timeout", "Overloaded", retryable=True),
    _status(529, "overloaded", "Overloaded", retryable=True, note="tailcallhq/forgecode#2595"),
)


def _limited(name: str, note: str, *headers: tuple[str, str], retry_in_s: float | None = None) -> WireFault:
    return WireFault(
        name=name, note=note, means="RateLimited", retryable=True, status=429, kind="rate_limit", headers=headers, retry_in_s=retry_in_s
    )


LIMITS: tuple[WireFault, ...] = (
    _limited("retry_after_hint", "the vendor's own hint, 0.05 s", retry_in_s=0.05),
    _limited("retry_after_long", "a minute or two: openai-python#3555", retry_in_s=121.0),
    _limited("retry_after_zero", "0 is no permission to hammer", ("retry-after", "0")),
    _limited("retry_after_fraction", "not an integer", ("retry-after", "0.3")),
    _limited("retry_after_ms", "milliseconds come first", ("retry-after-ms", "40"), ("retry-after", "9")),
    _limited("retry_after_date", "an HTTP date in the past", ("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")),
    _limited("retry_after_junk", "not a number, not a date", ("retry-after", "soon")),
    _limited("retry_after_negative", "below zero", ("retry-after", "-5")),
    _limited("retry_after_huge", "beyond a float", ("retry-after", "1e400")),
    _limited("should_retry_false", "the vendors' SDKs obey it", ("x-should-retry", "false"), retry_in_s=0.05).but(retryable=False),
    WireFault(
        name="insufficient_quota",
        status=429,
        kind="quota",
        means="QuotaExhausted",
        retryable=False,
        vendors=("openai",),
        note="the SDK retries it all the same: openai-python#3507",
    ),
    WireFault(
        name="daily_quota",
        status=429,
        kind="daily_quota",
        means="QuotaExhausted",
        retryable=False,
        vendors=("google",),
        note="a per-day metric: google-gemini/gemini-cli#10925",
    ),
    WireFault(
        name="credit_too_low",
        status=400,
        kind="credit",
        means="QuotaExhausted",
        retryable=False,
        vendors=("anthropic",),
        note="quota as a 400: bespokelabsai/curator#296",
    ),
    WireFault(
        name="context_too_long",
        status=400,
        kind="context",
        means="ContextTooLong",
        retryable=False,
        note="wording differs: BerriAI/litellm#10793",
    ),
    WireFault(
        name="content_refused",
        status=400,
        kind="content",
        means="ContentRefused",
        retryable=False,
        vendors=("openai",),
        surfaces=("chat", "stream"),
    ),
    WireFault(
        name="bad_key",
        status=400,
        kind="bad_key",
        means="AuthFailed",
        retryable=False,
        vendors=("google",),
        note="Gemini says 400, not 401",
    ),
    WireFault(
        name="status_503_html", status=503, body=HTML, content_type="text/html", means="Overloaded", retryable=True, note="a proxy's page"
    ),
    WireFault(name="status_500_empty", status=500, body=b"", means="Overloaded", retryable=True),
)


def _malformed(name: str, note: str, **fields: object) -> WireFault:
    base = WireFault(name=name, note=note, means="MalformedReply", retryable=True, surfaces=("chat", "embed"))
    return base.but(**fields)


def _line(name: str, note: str, **fields: object) -> WireFault:
    return WireFault(name=name, note=note, means="ConnectionLost", retryable=True).but(**fields)


BODIES: tuple[WireFault, ...] = (
    _malformed("html_200", "a proxy's page with status 200: AutoGPT#944", body=HTML, content_type="text/html"),
    _malformed("html_200_as_json", "the same under application/json", body=HTML),
    _malformed("empty_200", "no body at all", body=b""),
    _malformed("truncated_json", "half of the answer, framed as whole", cut_at=0.5, cut="end"),
    _malformed("empty_object", "{}", body=b"{}"),
    _malformed("json_null", "null", body=b"null"),
    _malformed("json_list", "a list where an object belongs", body=b"[]"),
    _malformed("not_utf8", "bytes that are no UTF-8", body=b'{"id": "\xff\xfe\xfd"}'),
    _malformed("answer_null", "choices, content or candidates: null", spoil="answer_null", surfaces=("chat",)),
    _malformed("answer_empty", "choices or candidates: []", spoil="answer_empty", surfaces=("chat",), vendors=("openai", "google")),
    _malformed(
        "error_in_200", "an error object in a 200: langchain#32252", spoil="error_in_200", means="Overloaded", surfaces=("chat", "embed")
    ),
    WireFault(
        name="empty_completion",
        note="no text, no tool, a normal end: an answer, since asked again they say the same. BerriAI/litellm#24462, anthropic: end_turn",
        spoil="empty_completion",
        surfaces=("chat", "stream"),
    ),
    _malformed(
        "malformed_function_call", "pydantic-ai#631", spoil="malformed_function_call", vendors=("google",), surfaces=("chat", "stream")
    ),
    WireFault(
        name="malformed_tool_json",
        note="arguments that are no JSON: camel-ai/camel#4338",
        spoil="malformed_tool_json",
        surfaces=("chat",),
        vendors=("openai",),
    ),
    WireFault(
        name="malformed_tool_stream",
        note="the same in pieces; Gemini's arguments are objects and cannot break so",
        spoil="malformed_tool_json",
        surfaces=("stream",),
        vendors=("openai", "anthropic"),
    ),
    WireFault(
        name="refusal", note="the model declines", means="ContentRefused", retryable=False, spoil="refusal", surfaces=("chat", "stream")
    ),
    WireFault(
        name="prompt_blocked",
        note="promptFeedback instead of candidates",
        means="ContentRefused",
        retryable=False,
        spoil="prompt_blocked",
        surfaces=("chat", "stream"),
        vendors=("google",),
    ),
    _line("content_length_long", "fewer bytes than promised", length_off=7, surfaces=("chat", "embed")),
    _malformed(
        "content_length_short", "more bytes than promised: cut-off JSON, or a broken connection", length_off=-7, also="ConnectionLost"
    ),
)

CONNECTIONS: tuple[WireFault, ...] = (
    _line("reset_before_answer", "RST instead of an answer", drop="reset"),
    _line("closed_before_answer", "FIN instead of an answer", drop="close"),
    _line("not_http", "junk where a status line belongs", raw=b"\x16\x03\x01\x02 this is not HTTP\r\n\r\n"),
    _line("slow_answer", "no byte for long; client timeouts end it", delay_s=30.0, means="AttemptTimedOut"),
)


def _stream(name: str, note: str, **fields: object) -> WireFault:
    return WireFault(name=name, note=note, means="Interrupted", retryable=False, surfaces=("stream",)).but(**fields)


_PATIENT: tuple[Vendor, ...] = ("openai", "anthropic")  # their streams may carry comments

STREAMS: tuple[WireFault, ...] = (
    _stream("stream_cut", "FIN halfway", cut_at=0.5, cut="close"),
    _stream("stream_reset", "RST halfway", cut_at=0.5, cut="reset"),
    _stream("stream_ended_early", "framed as whole, but half is missing; the SDKs call it a success", cut_at=0.5, cut="end"),
    _stream("stream_cut_before_token", "FIN before the first byte", cut_at=0, means="ConnectionLost", retryable=True),
    _stream("no_terminal", "all text, but no terminal marker: the SDKs call it a success", spoil="no_terminal"),
    _stream("stream_stall", "silence halfway", stall_at=0.5, stall_s=30.0),
    _stream("stall_before_token", "a head, then silence", stall_at=0, stall_s=30.0, means="AttemptTimedOut", retryable=True),
    _stream("pings", "comments between events; nothing is wrong", spoil="pings", vendors=_PATIENT, means="", retryable=None),
    _stream(
        "pings_with_id",
        "`id:` then `: ping` breaks the openai SDK: openai-python#2722",
        spoil="pings_with_id",
        vendors=_PATIENT,
        means="",
        retryable=None,
    ),
    _stream(
        "pings_google",
        "the same; google-genai 3.4's own parser takes a comment for data and fails",
        spoil="pings",
        vendors=("google",),
        means="",
        retryable=None,
    ),
    _stream("ping_flood", "only pings, for 40 beats: heartbeats are no tokens", spoil="ping_flood", gap_s=0.03),
    _stream("junk_data", "an event whose data is no JSON", spoil="junk_data"),
    _stream(
        "html_stream", "a page as text/event-stream; the SDKs call it an empty success", body=HTML, means="MalformedReply", retryable=True
    ),
    _stream(
        "json_to_stream",
        "a JSON body where a stream was asked for",
        body=b"{}",
        content_type="application/json",
        means="MalformedReply",
        retryable=True,
    ),
    _stream("empty_stream", "a stream without any event", body=b"", means="MalformedReply", retryable=True),
    _stream("error_event", "an error event after the first tokens: anthropic-sdk-python#1258", spoil="error_event"),
    _stream("error_event_first", "an error event before any token", spoil="error_event_first", means="Overloaded", retryable=True),
    _stream("duplicate_usage", "usage sent twice: langchain#30429", spoil="duplicate_usage", means="", retryable=None),
    _stream(
        "empty_first_chunk",
        "Azure's first chunk without choices: pydantic-ai#164",
        spoil="empty_first_chunk",
        vendors=("openai",),
        means="",
        retryable=None,
    ),
    _stream("crlf_lines", "CRLF line ends; Google's always have them", spoil="crlf_lines", vendors=_PATIENT, means="", retryable=None),
)


def _vectors(name: str, note: str, **fields: object) -> WireFault:
    return _malformed(name, note, spoil=name, vendors=EMBEDDERS, surfaces=("embed",)).but(**fields)


EMBEDDINGS: tuple[WireFault, ...] = (
    _vectors("embed_dropped", "one item is missing: DeepSeek-Reasonix#732"),
    _vectors("embed_reordered", "items out of order; OpenAI's `index` still tells", vendors=("openai",), means="", retryable=None),
    _vectors("embed_index_lies", "an item carries the index of no text", vendors=("openai",)),
    _vectors("embed_nan", "NaN in a vector: ollama#9639"),
    _vectors("embed_zero", "a zero vector: LightRAG#3553"),
    _vectors("embed_wrong_dim", "one number too few: chroma#4368"),
    _vectors("embed_merged", "all texts in one vector"),
)

CATALOGUE: tuple[WireFault, ...] = (*STATUSES, *LIMITS, *BODIES, *CONNECTIONS, *STREAMS, *EMBEDDINGS)
"""Every fault we know, in groups: statuses, limits, bodies, connections, streams, embeddings."""

_BY_NAME = {fault.name: fault for fault in (OK, *CATALOGUE)}


def fault(name: str) -> WireFault:
    """The catalogue's fault of that name. Raises KeyError naming what there is."""
    if name not in _BY_NAME:
        raise KeyError(f"no fault {name!r}; there are: {', '.join(sorted(_BY_NAME))}")
    return _BY_NAME[name]


def faults_for(vendor: Vendor, surface: Surface | None = None) -> tuple[WireFault, ...]:
    """The faults that make sense for a vendor, and for one surface of it."""
    return tuple(f for f in CATALOGUE if vendor in f.vendors and (surface is None or surface in f.surfaces))


def mixture(shares: Mapping[WireFault, float], *, seed: int) -> Iterator[WireFault]:
    """An endless script: each request draws a fault with its share (0..1), else `OK`. The same seed gives the same script."""
    luck = Random(seed)  # noqa: S311 - a repeatable experiment, not a secret
    while True:
        draw = luck.random()
        for spoiled, share in shares.items():
            draw -= share
            if draw < 0:
                yield spoiled
                break
        else:
            yield OK
