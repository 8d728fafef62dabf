"""A form with a file, as clients upload one (RFC 7578), and a file of requests, read."""

from __future__ import annotations

from email.message import Message
from typing import Any

import msgspec

from surefoot.gateway.errors import HttpError

MOST_REQUESTS = 50_000  # as OpenAI documents
MOST_ID = 512  # characters of a custom_id


def form_of(content_type: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """The form's parts by name: what the file is called (empty: a field), and its bytes. Raises HttpError (400)."""
    head = Message()
    head["content-type"] = content_type
    boundary = head.get_param("boundary")
    if head.get_content_type() != "multipart/form-data" or not isinstance(boundary, str) or not 0 < len(boundary) <= 70:
        raise HttpError(400, "invalid_request", "a file is uploaded as multipart/form-data, with the fields file and purpose")
    mark = b"\r\n--" + boundary.encode("latin-1", "replace")
    found: dict[str, tuple[str, bytes]] = {}
    pieces = (b"\r\n" + body).split(mark)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise HttpError(400, "invalid_request", "the form does not end as it says it would")
    for piece in pieces[1:-1]:
        lines, separator, content = piece.partition(b"\r\n\r\n")
        disposition = next((line for line in lines.split(b"\r\n") if line.lower().startswith(b"content-disposition:")), b"")
        part = Message()
        part["content-disposition"] = disposition.partition(b":")[2].decode("utf-8", "replace").strip()
        name = part.get_param("name", header="content-disposition")
        if not separator or not isinstance(name, str) or name in found:
            raise HttpError(400, "invalid_request", "a part of the form has no name, or one that another has")
        found[name] = (part.get_filename() or "", content)
    return found


def requests_of(content: bytes, endpoint: str) -> list[dict[str, str]]:
    """The requests of a file: `id` and `body`, as they were written. Raises HttpError (400), naming the line."""
    found: list[dict[str, str]] = []
    seen: set[str] = set()
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            found.append(_request(line, number, endpoint, seen))
            if len(found) > MOST_REQUESTS:
                raise HttpError(400, "too_many_requests", f"a file has at most {MOST_REQUESTS} requests", param="input_file_id")
    if not found:
        raise HttpError(400, "empty_file", "the file holds no request", param="input_file_id")
    return found


def _request(line: bytes, number: int, endpoint: str, seen: set[str]) -> dict[str, str]:
    try:
        said: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
        name, body = said.get("custom_id"), said.get("body")
    except (ValueError, RecursionError) as error:
        raise _wrong(number, f"not a JSON object: {error}") from error
    if not isinstance(name, str) or not 0 < len(name) <= MOST_ID or name in seen:
        raise _wrong(number, "custom_id must be text, not empty, and no other line's")
    if said.get("method") != "POST" or said.get("url") != endpoint:
        raise _wrong(number, f"method must be POST and url {endpoint}, which the batch was made for")
    if not isinstance(body, dict) or not isinstance(body.get("model"), str) or body.get("stream"):
        raise _wrong(number, "body must be an object with a model, and no stream")
    seen.add(name)
    return {"id": name, "model": body["model"], "body": msgspec.json.encode(body).decode()}


def _wrong(number: int, why: str) -> HttpError:
    return HttpError(400, "invalid_request", f"line {number} of the file: {why}; nothing was asked", param="input_file_id")
