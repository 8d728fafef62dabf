"""Claude on Vertex AI and on Bedrock: the same bodies, with the model in the path and the API's version in the body.

The SDK's clients for the two write and sign (`lane="sdk"`), or the request is written here (`lane="direct"`), which needs a token:
signatures from AWS credentials are the SDK's. Source: lib/vertex and lib/bedrock of anthropic 2.14.0.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from surefoot.errors import Misconfigured
from surefoot.providers.http.body import NO_EXTRA, Extra, Fields, checked_name
from surefoot.providers.http.direct import DirectLane
from surefoot.providers.http.exchange import Lane, missing_extra
from surefoot.providers.http.sdk import STAND_IN, SdkLane, http_client, http_module, timeouts
from surefoot.providers.http.session import Sender
from surefoot.providers.http.sse import UnreadBody
from surefoot.providers.http.transport import Transport, is_installed, transport_of
from surefoot.secret import Secret
from surefoot.settings import Target

CLOUDS = ("vertex", "bedrock")
VERSION = "2026-10-21"  # what the SDK's clients for the clouds say, in the body
BOTO = 'run  pip install "surefoot[anthropic,aws]"'


def cloud_lane(target: Target, options: dict[str, Any], headers: dict[str, str], *, lane: str, has_key: bool) -> Lane:
    """The lane to a cloud. Raises Misconfigured for one that cannot sign: direct without a key, or AWS credentials without boto3."""
    if not has_key and lane == "direct":
        raise Misconfigured(
            f"target {target.name}: without its SDK requests are not signed with AWS credentials; install it ({BOTO}), or set "
            "AWS_BEARER_TOKEN_BEDROCK to a Bedrock API key"
        )
    if not has_key and not is_installed("boto3"):
        raise Misconfigured(f"target {target.name}: signing with AWS credentials needs boto3, not installed here: {BOTO}; or set "
                            "AWS_BEARER_TOKEN_BEDROCK to a Bedrock API key")  # fmt: skip
    root = f"{target.base_url}/v1" if target.provider == "vertex" else target.base_url
    transport = transport_of(target, options, root)
    if lane == "sdk":
        return _sdk(target, options, transport, headers, has_key=has_key)
    return CloudLane(
        DirectLane(transport, sign=lambda key: {"authorization": f"Bearer {key}"}, headers=headers), target, options, headers
    )  # fmt: skip


class CloudLane:
    """Writes requests as the SDK's clients for the clouds write them, over the direct lane."""

    def __init__(self, lane: DirectLane, target: Target, options: dict[str, Any], headers: dict[str, str]) -> None:
        self._lane = lane
        self._target = target
        self._place = f"/projects/{options.get('project')}/locations/{options.get('location')}/publishers/anthropic/models/"
        betas = next((value for name, value in headers.items() if name.lower() == "anthropic-beta"), "")
        self._more: Fields = {"anthropic_version": VERSION}
        if betas and target.provider == "bedrock":
            self._more["anthropic_beta"] = betas.split(",")

    async def post(self, path: str, body: bytes, key: Secret | None, extra: Extra = NO_EXTRA) -> UnreadBody:
        """Send `body` once, to the model's own address. An answer with any status is an answer."""
        del path
        fields: dict[str, Any] = self._more | msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        model = quote(checked_name(msgspec.json.decode(fields.pop("model")), self._target.name), safe=":@")
        if self._target.provider == "vertex":
            path = f"{self._place}{model}:{'streamRawPredict' if 'stream' in fields else 'rawPredict'}"
        else:
            path = f"/model/{model}/invoke{'-with-response-stream' if fields.pop('stream', None) else ''}"
        return await self._lane.post(path, msgspec.json.encode(fields), key, extra)

    async def connect(self) -> None:
        """Open a connection for the first request; nothing is sent."""
        await self._lane.connect()

    async def aclose(self) -> None:
        """Drop what is still being answered, and the connections unless another target uses them."""
        await self._lane.aclose()


def _sdk(target: Target, options: dict[str, Any], transport: Transport, headers: dict[str, str], *, has_key: bool) -> SdkLane:
    try:
        import anthropic
    except ImportError as error:
        raise missing_extra(target, "anthropic", "anthropic") from error
    http = http_module(anthropic.DefaultAsyncHttpxClient)
    sender = Sender(transport)
    sending = http_client(http, sender)
    common: dict[str, Any] = {
        "base_url": transport.address,
        "max_retries": 0,
        "timeout": timeouts(http, connect_s=transport.connect_s),
        "default_headers": headers,
        "http_client": sending,
    }
    client: Any
    if target.provider == "vertex":
        client = anthropic.AsyncAnthropicVertex(
            region=options["location"], project_id=options["project"], access_token=STAND_IN, **common
        )  # fmt: skip
    else:
        del sending.headers["accept-encoding"]  # a signature holds it; the session writes its own
        region = options["region"] or target.base_url.partition("//bedrock-runtime.")[2].partition(".")[0] or "us-east-1"
        said = {"api_key": STAND_IN} if has_key else {"aws_profile": options["profile"] or None}
        client = anthropic.AsyncAnthropicBedrock(aws_region=region, **said, **common)
    return SdkLane(client, sender, http=http, status_error=anthropic.APIStatusError, as_fields=True)
