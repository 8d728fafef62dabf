"""What differs between servers of OpenAI's protocol, as one target says it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class OpenAIDialect(Struct, frozen=True, kw_only=True):
    """What differs between servers of the protocol; `seed_field` to `tools`: see OPTIONS in `endpoint`.

    `host`: whose own fields of a conversation are given back. `rows`: the provider whose table says what its models take; "" for none.
    `max_tokens_field`: OpenAI's own models want `max_completion_tokens`, most others know only `max_tokens`; "": by the model.
    `stream_usage`: ask for usage at a stream's end. `sampling`: whether temperature and top_p may be sent; None: unless OpenAI's reasoning
    models refuse them. `refused`: parameters never to be sent. `base_model`: the model behind a deployment of another name. `api`: which of
    the two APIs is spoken; "": by the model and the request. `prefixes`: put before each text to embed, for documents and for queries.
    """

    target: str
    host: str = ""
    is_openai: bool = False
    rows: str = ""
    max_tokens_field: str = ""
    stream_usage: bool = True
    sampling: bool | None = None
    refused: tuple[str, ...] = ()
    base_model: str = ""
    api: Literal["", "chat", "responses"] = ""
    seed_field: str = "seed"
    names: bool = True
    strict_tools: bool = True
    schemas: Literal["schema", "object", "none"] = "schema"
    thinking: Literal["effort", "switch", "both"] = "effort"
    tools: bool = True
    document_prefix: str = ""
    query_prefix: str = ""

    @property
    def is_narrow(self) -> bool:
        """Whether the server takes less than the protocol has."""
        return not (self.names and self.strict_tools and self.tools and self.schemas == "schema")
