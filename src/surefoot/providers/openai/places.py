"""Where targets of Azure and of servers of one's own are: whole addresses out of what people write and what the environment says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from surefoot.errors import Misconfigured
from surefoot.facts import provider_of
from surefoot.settings import Target

V1 = frozenset({"", "v1", "preview", "latest"})  # versions of Azure's API that has none: everything below /openai/v1


def own_server(target: Target, address: str, options: Mapping[str, Any]) -> str:
    """The address of a server of one's own: "gpu-box", "gpu-box:11434" and "http://gpu-box" are enough of one."""
    del options
    known = provider_of(target.provider)
    usual = urlsplit(known.address if known is not None else "")
    if not address:
        return usual.geturl()
    parts = urlsplit(address if "://" in address else f"http://{address}")
    host = "127.0.0.1" if parts.hostname == "0.0.0.0" else parts.hostname or ""  # noqa: S104 - where a server listens, not where it is
    host = f"[{host}]" if ":" in host else host
    port = parts.port or (None if parts.scheme == "https" else usual.port)
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    path = parts.path if parts.path.strip("/") else usual.path
    return urlunsplit((parts.scheme, f"{user}{host}{f':{port}' if port else ''}", path, "", ""))


def azure(target: Target, address: str, options: Mapping[str, Any]) -> str:
    """The address below which Azure's API lies: "https://NAME.openai.azure.com" is enough of one.

    Without a version it is the API that has none (/openai/v1), with a dated one the API of deployments (/openai). Raises Misconfigured
    where nothing says which resource is meant.
    """
    if not address:
        raise Misconfigured(
            f"target {target.name}: no address; set the environment variable AZURE_OPENAI_ENDPOINT to https://RESOURCE.openai.azure.com, "
            "or pass base_url"
        )
    parts = urlsplit(address)
    if parts.path.rstrip("/") not in {"", "/openai"}:
        return address
    is_dated = str(options.get("api_version") or "") not in V1
    return urlunsplit((parts.scheme, parts.netloc, "/openai" if is_dated else "/openai/v1", "", ""))
