"""How requests reach Gemini: through google-genai, through a client of it that the caller made (Vertex AI too), or without it.

google-genai has no public call that takes a body and gives an unread answer back: its public methods rebuild the request from models of
their own and drop what these do not know. So its request functions are used, `_build_request` and `_async_request_once`, which write the
address, sign and send; tests/providers/test_google_client.py holds what is expected of them for each supported version. Its retries lie
above them and do not come up.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import quote

from surefoot.errors import Misconfigured
from surefoot.providers.google.facts import PROVIDERS
from surefoot.providers.http.body import NO_EXTRA, Extra
from surefoot.providers.http.direct import DirectLane
from surefoot.providers.http.exchange import Lane, missing_extra
from surefoot.providers.http.sdk import OURS, STAND_IN, HttpAnswer, bounded, http_client, keyed, view
from surefoot.providers.http.session import Sender, SessionAnswer
from surefoot.providers.http.transport import Transport, has_own_key, lane_of, no_key, transport_of
from surefoot.secret import Secret
from surefoot.settings import Target

KEY_HEADER = "x-goog-api-key"
VERTEX_VERSION = "v1beta1"  # of Vertex AI's API, which the SDK takes by itself


def lane_for(target: Target, options: dict[str, Any]) -> Lane:
    """The lane of `target`. Raises Misconfigured for a client that cannot be used."""
    kind = lane_of(target, "google.genai")
    if kind == "client":
        return _own_client(target, options)
    transport = transport_of(target, options, target.base_url or PROVIDERS["google"].address)
    if target.provider == "vertex":
        return _vertex_sdk(target, options, transport) if kind == "sdk" else _vertex_direct(target, options, transport)
    return _sdk(target, options, transport) if kind == "sdk" else _direct(target, options, transport)


def is_vertex(target: Target) -> bool:
    """True for a target at Vertex AI, by its name or by the caller's client."""
    return target.provider == "vertex" or bool(getattr(target.client, "vertexai", False))


class GenaiLane:
    """Posts through the request functions of a google-genai client. With `sender`, the client is of our making and sends over that."""

    def __init__(
        self, api: Any, *, status_error: type[Exception], headers: dict[str, str], limit: int, sender: Sender | None = None
    ) -> None:
        self._api = api
        self._status_error = status_error
        self._headers = headers
        self._limit = limit
        self._sender = sender
        self._publisher = "publishers/google/" if api.vertexai else ""

    async def post(self, path: str, body: bytes, key: Secret | None, extra: Extra = NO_EXTRA) -> SessionAnswer | HttpAnswer:
        """Send `body` once. An answer with any status is an answer.

        What the SDK raises passes through (call it inside an ErrorBoundary).
        """
        place = f"{self._publisher if path.startswith('/models/') else ''}{extra.path(path).removeprefix('/')}"
        request = self._api._build_request("post", place, {}, None)  # noqa: SLF001 - see above
        request.data = body
        request.headers.update(self._headers)
        request.headers = extra.over(request.headers)
        with keyed(key):
            try:
                response = (await self._api._async_request_once(request, stream=True)).response_stream  # noqa: SLF001 - see above
            except self._status_error as error:
                response = error.response  # type: ignore[attr-defined]
        if self._sender is None:
            return HttpAnswer(response, self._limit)
        answer: SessionAnswer = response.extensions[OURS]
        return answer

    async def connect(self) -> None:
        """Open a connection for the first request; nothing is sent. The pool of the caller's client opens them with requests alone."""
        if self._sender is not None:
            await self._sender.connect()

    async def aclose(self) -> None:
        """Drop what is still being answered. A client of the caller's is the caller's to close."""
        if self._sender is not None:
            await self._sender.aclose()


def _genai(target: Target) -> tuple[Any, Any, Any]:
    try:
        from google import genai
        from google.genai import errors, types
    except ImportError as error:
        raise missing_extra(target, "google-genai", "google") from error
    return genai, errors, types


def _sdk(target: Target, options: dict[str, Any], transport: Transport) -> GenaiLane:
    genai, errors, types = _genai(target)
    sender = Sender(transport)
    client = genai.Client(
        api_key=STAND_IN,
        vertexai=False,
        http_options=types.HttpOptions(
            base_url=transport.address,  # given, so that the SDK reads no environment of its own
            api_version=options["api_version"],
            httpx_async_client=http_client(_http(genai), sender, sign=no_key if has_own_key(target) else None),
        ),
    )
    return GenaiLane(
        client._api_client, status_error=errors.APIError, headers=dict(target.headers), limit=options["max_body_bytes"], sender=sender  # noqa: SLF001 - see above
    )  # fmt: skip


def _vertex_sdk(target: Target, options: dict[str, Any], transport: Transport) -> GenaiLane:
    """With a token in the place of the credentials that the SDK would look for, or the key of its express mode."""
    genai, errors, types = _genai(target)
    from google.oauth2.credentials import Credentials

    sender = Sender(transport)
    said: dict[str, Any] = {"api_key": STAND_IN}
    if options["project"]:
        said = {"project": options["project"], "location": options["location"], "credentials": Credentials(token=STAND_IN)}  # type: ignore[no-untyped-call]
    client = genai.Client(
        vertexai=True,
        http_options=types.HttpOptions(
            base_url=transport.address, api_version=VERTEX_VERSION, httpx_async_client=http_client(_http(genai), sender)
        ),
        **said,
    )
    return GenaiLane(
        client._api_client, status_error=errors.APIError, headers=dict(target.headers), limit=options["max_body_bytes"], sender=sender  # noqa: SLF001 - see above
    )  # fmt: skip


def _vertex_direct(target: Target, options: dict[str, Any], transport: Transport) -> VertexLane:
    from msgspec.structs import replace

    project, location = (quote(str(options[name]), safe="") for name in ("project", "location"))
    at = replace(transport, address=f"{transport.address.rstrip('/')}/{VERTEX_VERSION}")
    lane = DirectLane(
        at, sign=lambda key: {"authorization": f"Bearer {key}"} if project else {KEY_HEADER: key}, headers=dict(target.headers)
    )  # fmt: skip
    return VertexLane(lane, f"/projects/{project}/locations/{location}" if project else "")


class VertexLane:
    """The direct lane below a project and a location, where the publisher's models are, and one's own."""

    def __init__(self, lane: DirectLane, place: str) -> None:
        self._lane = lane
        self._place = place

    async def post(self, path: str, body: bytes, key: Secret | None, extra: Extra = NO_EXTRA) -> SessionAnswer:
        """Send `body` once. An answer with any status is an answer."""
        publisher = "/publishers/google" if path.startswith("/models/") else ""
        whole = path if path.startswith("/projects/") else f"{self._place}{publisher}{path}"
        return await self._lane.post(whole, body, key, extra)

    async def connect(self) -> None:
        """Open a connection for the first request; nothing is sent."""
        await self._lane.connect()

    async def aclose(self) -> None:
        """Drop what is still being answered, and the connections unless another target uses them."""
        await self._lane.aclose()


def _http(genai: Any) -> Any:
    """The HTTP library that this version takes clients of: httpx2 since 3.0, where it is installed, else httpx."""
    from importlib import import_module
    from importlib.util import find_spec

    is_new = not genai.__version__.startswith(("0.", "1.", "2.")) and find_spec("httpx2") is not None
    return import_module("httpx2" if is_new else "httpx")


def sign(key: str) -> dict[str, str]:
    """A key as its header."""
    return {KEY_HEADER: key}


def _own_client(target: Target, options: dict[str, Any]) -> GenaiLane:
    genai, errors, _ = _genai(target)
    if not isinstance(target.client, genai.Client):
        raise Misconfigured(f"target {target.name}: client is {type(target.client).__name__}; give a google.genai.Client")
    api = view(target.client._api_client)  # noqa: SLF001 - see above
    inner = api._async_httpx_client  # noqa: SLF001 - see above
    if inner is None or api._http_options.aiohttp_client is not None:  # noqa: SLF001 - see above
        raise Misconfigured(
            f"target {target.name}: a client that sends over an aiohttp session of its own sends some requests twice; give "
            "HttpOptions(httpx_async_client=...) instead of aiohttp_client"
        )
    api._use_aiohttp = partial(bool, 0)  # noqa: SLF001 - over aiohttp it sends again by itself what may have been answered
    api._async_httpx_client = bounded(inner, options["max_body_bytes"])  # noqa: SLF001 - see above
    return GenaiLane(api, status_error=errors.APIError, headers=dict(target.headers), limit=options["max_body_bytes"])


def _direct(target: Target, options: dict[str, Any], transport: Transport) -> DirectLane:
    from msgspec.structs import replace

    address = f"{transport.address.rstrip('/')}/{options['api_version']}"
    return DirectLane(replace(transport, address=address), sign=no_key if has_own_key(target) else sign, headers=dict(target.headers))
