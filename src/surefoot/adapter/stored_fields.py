"""The shared fields for frameworks that store their objects as pydantic writes them (LlamaIndex's `to_json`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import field_serializer

from surefoot.adapter.fields import AdapterFields
from surefoot.adapter.settings import stored, stored_policy
from surefoot.settings import Policy


class StoredFields(AdapterFields):
    """Fallbacks and the policy as plain values, which `normalise_kwargs` reads again; keys stay out."""

    @field_serializer("fallbacks")
    def _stored_fallbacks(self, fallbacks: Sequence[Any]) -> list[str | dict[str, Any]]:
        return [stored(one) for one in fallbacks]

    @field_serializer("policy")
    def _stored_policy(self, policy: Policy | None) -> dict[str, Any] | None:
        return stored_policy(policy)
