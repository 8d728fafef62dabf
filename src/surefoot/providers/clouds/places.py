"""Where a cloud's models are, by project, location or region."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from surefoot.errors import Misconfigured
from surefoot.secret import Secret
from surefoot.settings import Target

MULTI_REGIONS = frozenset({"us", "eu"})  # of Vertex AI, with hosts of another form
KEYS = ("AIza", "AQ.")  # how Google's API keys begin; all else is an access token


def vertex(target: Target, address: str, options: Mapping[str, Any]) -> str:
    """Vertex AI's host for the location. Raises Misconfigured where no project is said and the key is none that names one."""
    if not options["project"] and not is_express(target):
        raise Misconfigured(
            f"target {target.name}: no project; set the environment variable GOOGLE_CLOUD_PROJECT (and GOOGLE_CLOUD_LOCATION, "
            'left out: global), or give options=(("project", "my-project"), ("location", "europe-west4"))'
        )
    location = str(options["location"])
    if address:
        return address.rstrip("/")
    if location == "global" or is_express(target):
        return "https://aiplatform.googleapis.com"
    if location in MULTI_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


def is_express(target: Target) -> bool:
    """Whether the target has an API key of Vertex AI's express mode, which knows its project."""
    key = target.api_key
    return isinstance(key, Secret) and key.reveal().startswith(KEYS)


def bedrock(target: Target, address: str, options: Mapping[str, Any]) -> str:
    """Bedrock's host in the region. Raises Misconfigured where neither the target, the environment nor an AWS profile names one."""
    if address:
        return address.rstrip("/")
    region = str(options["region"] or _region_of(str(options["profile"])))
    if not region:
        raise Misconfigured(
            f"target {target.name}: no region; set the environment variable AWS_REGION, or give "
            'options=(("region", "eu-central-1"),), or name one in your AWS profile'
        )
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://bedrock-runtime.{region}.{suffix}"


def _region_of(profile: str) -> str:
    """The region of an AWS profile, where boto3 is there to read it."""
    if find_spec("boto3") is None:
        return ""
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        return boto3.Session(profile_name=profile or None).region_name or ""
    except BotoCoreError as error:
        raise Misconfigured(f"the AWS profile {profile!r} cannot be read: {error}") from error
