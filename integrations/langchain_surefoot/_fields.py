"""The fields both classes share, as surefoot.adapter takes them."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from pydantic import SecretStr

from surefoot import Secret
from surefoot.adapter import OWN_FIELDS, Settings, is_reference, key_of
from surefoot.secret import locals_cleared

FRAMEWORK_WORDS = frozenset({"stream", "stream_usage", "ls_structured_output_format", "structured_output_format"})  # not for the provider


CHAT_FIELDS = attrgetter("model", *OWN_FIELDS)
EMBED_FIELDS = attrgetter("model", "dimensions", *OWN_FIELDS)


class Guarded:
    """Stands before a pydantic class: what is raised while it is built leaves no field, and so no key, in the frames' locals."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        """Check everything that can be checked without asking anybody; raises Misconfigured naming the remedy."""
        with locals_cleared(fields):
            super().__init__(*args, **fields)


def settings_of(adapter: Any) -> Settings:
    """What the model underneath is built from."""
    key = adapter.api_key
    return Settings(
        model=adapter.model,
        fallbacks=adapter.fallbacks,
        base_url=adapter.base_url,
        api_key=key_of(key.get_secret_value()) if key is not None else None,
        requests_per_minute=adapter.requests_per_minute,
        tokens_per_minute=adapter.tokens_per_minute,
        concurrency=adapter.concurrency,
        dimensions=getattr(adapter, "dimensions", None),
        deadline_s=adapter.deadline_s,
        attempts=adapter.attempts,
        hedge_after=adapter.hedge_after,
        budget_usd=adapter.budget_usd,
        cache=adapter.surefoot_cache,
    )


def key_field(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with a surefoot Secret as pydantic's SecretStr."""
    key = values.get("api_key")
    return {**values, "api_key": SecretStr(key.reveal())} if isinstance(key, Secret) else values


def reference(key: SecretStr | None) -> str:
    """A key that only says where the key is ("env:NAME", "file:PATH", ...), or "" for a literal one or none."""
    value = key.get_secret_value() if key is not None else ""
    return value if is_reference(value) else ""
