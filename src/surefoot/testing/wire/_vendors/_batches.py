"""The vendors' batch APIs, as their SDKs call them: files and batches at OpenAI, message batches at Anthropic, inline batches at Gemini."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec

from surefoot.testing.wire._model._draft import Rejection
from surefoot.testing.wire._server._batches import Answered, BatchDesk, SimBatch
from surefoot.testing.wire._server._http import WireReply, WireRequest

_encode = msgspec.json.encode
_decode = msgspec.json.decode
EPOCH_S = 1_780_000_000  # the day on which a simulator starts
PAGE = 20


class Sim(Protocol):
    """What is needed of a simulator."""

    desk: BatchDesk

    def serve(self, request: WireRequest) -> WireReply:
        """Answer a request."""


def _ask(sim: Sim, outer: WireRequest, path: str, body: bytes) -> Answered:
    """The status and the body of one item, answered (and billed) as a request of its own with the headers of `outer`."""
    lines = "".join(f"\r\n{name}: {value}" for name, value in outer.headers.items() if name != "content-length")
    reply = sim.serve(WireRequest(f"POST {path} HTTP/1.1{lines}".encode(), body, at_s=outer.at_s))
    if reply.on_end is not None:
        reply.on_end(1, True)
    return reply.status, reply.body


def _json(body: Any) -> WireReply:
    return WireReply(body=_encode(body))


def _lines(rows: list[Any]) -> bytes:
    return b"".join(_encode(row) + b"\n" for row in rows)


def _found(sim: Sim, name: str) -> SimBatch:
    if name not in sim.desk.batches:
        raise Rejection(404, "not_found", f"No batch found with id '{name}'.")
    return sim.desk.batches[name]


def _page(sim: Sim, request: WireRequest, *, after: str) -> tuple[list[SimBatch], bool]:
    """A page of the list, newest first, behind the batch that the query names."""
    every = list(reversed(sim.desk.batches.values()))
    query = parse_qs(request.query)
    if after in query:
        names = [one.id for one in every]
        every = every[names.index(query[after][0]) + 1 :] if query[after][0] in names else []
    return every[:PAGE], len(every) > PAGE


# OpenAI


def openai(sim: Sim, request: WireRequest) -> WireReply | None:  # noqa: PLR0911 - a row a route
    """/files and /batches; None for anything else."""
    _, _, place = request.path.partition("/v1/")
    ask = partial(_ask, sim, request)
    match place.split("/"):
        case ["files"] if request.method == "POST":
            return _json(_file(sim, sim.desk.keep(_uploaded(request))))
        case ["files", name, *rest] if request.method == "GET":
            if name not in sim.desk.files:
                raise Rejection(404, "not_found", f"No such File object: {name}")
            return WireReply(body=sim.desk.files[name], content_type="application/octet-stream") if rest else _json(_file(sim, name))
        case ["batches"] if request.method == "POST":
            return _json(_openai_shape(sim, _openai_new(sim, request)))
        case ["batches"]:
            found, more = _page(sim, request, after="after")
            return _json({"object": "list", "data": [_openai_shape(sim, one) for one in found], "has_more": more})
        case ["batches", name, "cancel"] if request.method == "POST":
            batch = _found(sim, name)
            if batch.is_over:
                raise Rejection(409, "bad_request", f"Cannot cancel a batch with status '{batch.state}'.")
            batch.state = "stopping"
            return _json(_openai_shape(sim, batch))
        case ["batches", name]:
            return _json(_openai_shape(sim, sim.desk.look(_found(sim, name), ask)))
    return None


def _uploaded(request: WireRequest) -> bytes:
    """The file in a multipart body; its purpose must be "batch"."""
    boundary = re.search(r'boundary="?([^";]+)', request.headers.get("content-type", ""))
    if boundary is None:
        raise Rejection(400, "bad_request", "'file' is a required property")
    parts = {}
    for part in request.body.split(b"--" + boundary[1].encode())[1:-1]:
        head, _, body = part.partition(b"\r\n\r\n")
        name = re.search(rb'[; ]name="([^"]+)"', head)
        if name is not None:
            parts[name[1].decode()] = body.removesuffix(b"\r\n")
    if parts.get("purpose") != b"batch" or "file" not in parts:
        raise Rejection(400, "bad_request", "'file' and 'purpose' are required; this one has " + ", ".join(parts))
    return parts["file"]


def _file(sim: Sim, name: str) -> Any:
    size = len(sim.desk.files[name])
    return {
        "id": name, "object": "file", "bytes": size, "created_at": EPOCH_S, "filename": f"{name}.jsonl", "purpose": "batch",
        "status": "processed",
    }  # fmt: skip


def _openai_new(sim: Sim, request: WireRequest) -> SimBatch:
    said: dict[str, Any] = dict(request.json)
    if said.get("completion_window") != "24h":
        raise Rejection(400, "bad_request", f"Invalid value for 'completion_window': {said.get('completion_window')!r}")
    body = sim.desk.files.get(str(said.get("input_file_id")))
    if body is None:
        raise Rejection(400, "bad_request", f"No such File object: {said.get('input_file_id')}")
    items: dict[str, tuple[str, bytes]] = {}
    for number, line in enumerate(body.splitlines(), 1):
        one = _decode(line)
        if one["url"] != said["endpoint"] or one["method"] != "POST" or one["custom_id"] in items:
            raise Rejection(400, "bad_request", f"line {number}: url, method or custom_id cannot be accepted")
        items[one["custom_id"]] = (one["url"], _encode(one["body"]))
    metadata = dict(said.get("metadata") or {})
    return sim.desk.add(
        SimBatch(
            id=f"batch_{len(sim.desk.batches):08x}", name=str(metadata.get("surefoot", "")), created_s=request.at_s, items=items, said=said
        )
    )


def _openai_shape(sim: Sim, batch: SimBatch) -> Any:
    status = {"running": "in_progress", "stopping": "cancelling"}.get(batch.state, batch.state)
    well = [item for item, (code, _) in batch.answers.items() if code == 200]
    if batch.is_over and f"out-{batch.id}" not in sim.desk.files:
        rows = [_openai_row(item, *answer) for item, answer in batch.answers.items()]
        why = {"code": "batch_expired", "message": "This request could not be executed before the completion window expired."}
        if batch.state == "cancelled":
            why = {"code": "batch_cancelled", "message": "This request was cancelled with its batch."}
        left = [{"id": f"batch_req_{item}", "custom_id": item, "response": None, "error": why} for item in batch.items]
        left = [] if batch.state == "failed" else [row for row in left if row["custom_id"] not in batch.answers]
        sim.desk.files[f"out-{batch.id}"] = _lines([row for row in rows if row["custom_id"] in well])
        sim.desk.files[f"err-{batch.id}"] = _lines([row for row in rows if row["custom_id"] not in well] + left)
    failed = {"object": "list", "data": [{"code": "invalid_json_line", "message": "This line is not parseable as valid JSON.", "line": 1}]}
    return {
        "id": batch.id, "object": "batch", "endpoint": batch.said["endpoint"], "completion_window": "24h", "created_at": EPOCH_S,
        "input_file_id": batch.said["input_file_id"], "status": status, "metadata": batch.said.get("metadata"),
        "errors": failed if batch.state == "failed" else None,
        "output_file_id": f"out-{batch.id}" if batch.is_over and sim.desk.files[f"out-{batch.id}"] else None,
        "error_file_id": f"err-{batch.id}" if batch.is_over and sim.desk.files[f"err-{batch.id}"] else None,
        "request_counts": {"total": len(batch.items), "completed": len(well), "failed": len(batch.answers) - len(well)},
    }  # fmt: skip


def _openai_row(item: str, status: int, body: bytes) -> Any:
    response = {"status_code": status, "request_id": f"req_{item}", "body": msgspec.Raw(body)}
    return {"id": f"batch_req_{item}", "custom_id": item, "response": response, "error": None}


# Anthropic


def anthropic(sim: Sim, request: WireRequest) -> WireReply | None:  # noqa: PLR0911 - a row a route
    """/v1/messages/batches; None for anything else."""
    before, found, place = request.path.partition("/v1/messages/batches")
    if not found:
        return None
    ask = partial(_ask, sim, request)
    match place.strip("/").split("/"):
        case [""] if request.method == "POST":
            items = {one["custom_id"]: ("/v1/messages", _encode(one["params"])) for one in _decode(request.body)["requests"]}
            if not items or any(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", item) is None for item in items):
                raise Rejection(400, "bad_request", "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'")
            batch = SimBatch(id=f"msgbatch_{len(sim.desk.batches):08x}", name="", created_s=request.at_s, items=items)
            return _json(_anthropic_shape(sim.desk.add(batch)))
        case [""]:
            page, more = _page(sim, request, after="after_id")
            ids = [one.id for one in page]
            ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
            return _json({"data": [_anthropic_shape(one) for one in page], "has_more": more, **ends})
        case [name, "results"]:
            batch = _found(sim, name)
            if not batch.is_over:
                raise Rejection(404, "not_found", f"Results of {name} are not yet available.")
            rows = [{"custom_id": item, "result": _anthropic_result(batch, item)} for item in batch.items]
            return WireReply(body=_lines(rows), content_type="application/x-jsonl")
        case [name, "cancel"] if request.method == "POST":
            batch = _found(sim, name)
            batch.state = batch.state if batch.is_over else "stopping"
            return _json(_anthropic_shape(batch))
        case [name]:
            return _json(_anthropic_shape(sim.desk.look(_found(sim, name), ask), f"http://{request.headers['host']}{before}"))
    return None


def _anthropic_result(batch: SimBatch, item: str) -> Any:
    if item not in batch.answers:
        return {"type": "canceled" if batch.state == "cancelled" else "expired"}
    status, body = batch.answers[item]
    return {"type": "succeeded", "message": msgspec.Raw(body)} if status == 200 else {"type": "errored", "error": msgspec.Raw(body)}


def _anthropic_shape(batch: SimBatch, host: str = "") -> Any:
    counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    if not batch.is_over:
        counts["processing"] = len(batch.items)
    else:
        for item in batch.items:
            counts[_anthropic_result(batch, item)["type"]] += 1
    created = datetime.now(UTC)
    if "created" not in batch.said:
        batch.said = {"created": created.isoformat()}
    return {
        "id": batch.id, "type": "message_batch", "processing_status": "ended" if batch.is_over else
        "canceling" if batch.state == "stopping" else "in_progress", "request_counts": counts, "created_at": batch.said["created"],
        "expires_at": (created + timedelta(days=1)).isoformat(), "ended_at": created.isoformat() if batch.is_over else None,
        "archived_at": None, "cancel_initiated_at": created.isoformat() if batch.state in {"stopping", "cancelled"} else None,
        "results_url": f"{host}/v1/messages/batches/{batch.id}/results" if batch.is_over else None,
    }  # fmt: skip


# Gemini

GOOGLE_STATES = {
    "running": "RUNNING", "stopping": "RUNNING", "completed": "SUCCEEDED", "expired": "EXPIRED", "failed": "FAILED",
    "cancelled": "CANCELLED",
}  # fmt: skip
GRPC_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 429: 8, 500: 13, 503: 14}


def google(sim: Sim, request: WireRequest) -> WireReply | None:
    """models/X:batchGenerateContent and batches; None for anything else."""
    ask = partial(_ask, sim, request)
    path = request.path
    if path.endswith(":batchGenerateContent"):
        return _json(_google_shape(_google_new(sim, request)))
    _, found, place = path.partition("/batches")
    if not found:
        return None
    name, _, verb = place.strip("/").partition(":")
    if not name:
        page, more = _page(sim, request, after="pageToken")
        return _json({"operations": [_google_shape(one) for one in page], **({"nextPageToken": page[-1].id} if more else {})})
    batch = _found(sim, name)
    if verb == "cancel":
        batch.state = batch.state if batch.is_over else "stopping"
        return _json({})
    return _json(_google_shape(sim.desk.look(batch, ask)))


def _google_new(sim: Sim, request: WireRequest) -> SimBatch:
    prefix, _, model = request.path.removesuffix(":batchGenerateContent").rpartition("/models/")
    said = _decode(request.body)["batch"]
    given = (said.get("inputConfig") or said.get("input_config"))["requests"]["requests"]
    path = f"{prefix}/models/{model}:generateContent"
    items: dict[str, tuple[str, bytes]] = {}
    for number, one in enumerate(given):
        items[str((one.get("metadata") or {}).get("key", number))] = (path, _encode(one["request"]))
    named = str(said.get("displayName") or said.get("display_name") or "")
    return sim.desk.add(
        SimBatch(id=f"sim{len(sim.desk.batches):08x}", name=named, created_s=request.at_s, items=items, said={"model": model})
    )


def _google_shape(batch: SimBatch) -> Any:
    created = datetime.now(UTC).isoformat()
    metadata: dict[str, Any] = {
        "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
        "model": f"models/{batch.said['model']}", "displayName": batch.name, "createTime": created, "updateTime": created,
        "batchStats": {"requestCount": str(len(batch.items))}, "state": f"BATCH_STATE_{GOOGLE_STATES[batch.state]}",
        "name": f"batches/{batch.id}",
    }  # fmt: skip
    shape: dict[str, Any] = {"name": f"batches/{batch.id}", "metadata": metadata}
    if batch.state == "completed":
        rows = [_google_row(item, *answer) for item, answer in batch.answers.items()]
        metadata["output"] = {"inlinedResponses": {"inlinedResponses": rows}}
        shape |= {"done": True, "response": metadata["output"]}
    elif batch.is_over:
        shape |= {"done": True, "error": {"code": 13, "message": f"the batch {batch.state}"}}
    return shape


def _google_row(item: str, status: int, body: bytes) -> Any:
    if status == 200:
        return {"metadata": {"key": item}, "response": msgspec.Raw(body)}
    said = _decode(body)["error"]
    return {"metadata": {"key": item}, "error": {"code": GRPC_CODES.get(status, 2), "message": said["message"]}}
