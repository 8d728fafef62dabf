"""Which vendor's protocol a model on a cloud speaks: Claude's, Gemini's, or OpenAI's."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from msgspec.structs import replace

from surefoot.errors import Misconfigured
from surefoot.facts import base_name
from surefoot.providers.registry import load
from surefoot.secret import KeySource
from surefoot.settings import Target

ANTHROPIC = "surefoot.providers.anthropic.endpoint:AnthropicProvider"
GOOGLE = "surefoot.providers.google.endpoint:GoogleProvider"
OPENAI = "surefoot.providers.openai.endpoint:OpenAIProvider"
BY_CLIENT = {"anthropic": ANTHROPIC, "google": GOOGLE, "openai": OPENAI}
GOOGLES = ("google/", "publishers/google/", "models/", "tunedmodels/", "projects/")  # beginnings of Gemini's longer names


def vertex(target: Target, keys: KeySource | None) -> Any:
    """The provider of a model on Vertex AI: Gemini, Claude, or another house's by "house/model" over the OpenAI-compatible address."""
    path = _by_client(target)
    if path is None:
        if base_name(target.model).startswith("claude"):
            path = ANTHROPIC
        elif "/" in target.model and not target.model.lower().startswith(GOOGLES):
            path = OPENAI
            options = {"location": "global", **dict(target.options)}
            project, location = (quote(str(options[name]), safe="") for name in ("project", "location"))
            target = replace(target, base_url=f"{target.base_url}/v1/projects/{project}/locations/{location}/endpoints/openapi")
        else:
            path = GOOGLE
    return load(path)(target, keys)


def bedrock(target: Target, keys: KeySource | None) -> Any:
    """The provider of a model on Bedrock: Claude, or OpenAI's. Raises Misconfigured for models that answer in Converse only."""
    path = _by_client(target)
    if path is not None:
        return load(path)(target, keys)
    name = target.model.lower()
    if "anthropic." in name or name.startswith(("claude", "arn:")):  # a profile of one's own says not whose model it is
        return load(ANTHROPIC)(target, keys)
    has_path = bool(urlsplit(target.base_url).path.strip("/"))
    if not has_path and not name.startswith("openai."):
        raise Misconfigured(
            f"target {target.name}: this model answers in Bedrock's Converse API, which is not spoken here; take one of anthropic. or "
            'openai., or Bedrock\'s OpenAI-compatible address: base_url="https://bedrock-mantle.REGION.api.aws/v1"'
        )
    if keys is None:
        raise Misconfigured(
            f"target {target.name}: OpenAI's protocol takes a Bedrock API key here: set the environment variable AWS_BEARER_TOKEN_BEDROCK, "
            "pass api_key, or give a client=AsyncBedrockOpenAI(...) that signs with AWS credentials"
        )
    return load(OPENAI)(target if has_path else replace(target, base_url=f"{target.base_url}/openai/v1"), keys)


def _by_client(target: Target) -> str | None:
    """The provider that an SDK client of the caller's belongs to; None without one."""
    if target.client is None:
        return None
    roots = [ancestor.__module__.partition(".")[0] for ancestor in type(target.client).__mro__]
    found = next((BY_CLIENT[root] for root in roots if root in BY_CLIENT), None)
    if found is None:
        raise Misconfigured(
            f"target {target.name}: client is {type(target.client).__name__}; give one of the anthropic, openai or google-genai SDK"
        )
    return found
