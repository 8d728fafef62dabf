"""What is known of OpenAI's models and hosts: data alone, each row with its source. As of 2026-11-30.

Sources: [1] API reference, "Create chat completion" (stop is not for o3 and o4-mini) and the reasoning guide; [2] langchain#29416, #29704:
parallel_tool_calls and o-series; [3] litellm#10080, dify#18971, smolagents#1210: stop; [4] pipecat#4043, openai-openapi#541: gpt-5.4 takes
tools beside an effort in the Responses API only; [5] litellm#34569, livekit/agents#7169: gpt-5.6 wants effort "none" said beside tools;
[6] CopilotKit#7191, llmcomp#69: gpt-5.5 and later think unless told not to, and then take no temperature; [7] voideditor#936, #937,
clarity-agent#16, opencode#37964: Azure's hosts; Microsoft's "Azure OpenAI v1 API": `api-key` for keys, a bearer token for Entra.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from msgspec import Struct

OPENAI_HOSTS = ("api.openai.com",)  # and its regions: eu.api.openai.com
AZURE_HOSTS = (  # [7]; with a resource's name or a region before them; public, US government and China
    ".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com", ".api.cognitive.microsoft.com",
    ".openai.azure.us", ".services.ai.azure.us", ".cognitiveservices.azure.us", ".api.cognitive.microsoft.us",
    ".openai.azure.cn", ".cognitiveservices.azure.cn", ".api.cognitive.azure.cn",
)  # fmt: skip

DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}

SAMPLING = frozenset({"temperature", "top_p"})
OF_O = SAMPLING | {"parallel_tool_calls"}
OF_GPT5 = SAMPLING | {"stop"}


class Model(Struct, frozen=True, kw_only=True):
    """One row: what the models whose names begin with `begins` refuse in Chat Completions."""

    begins: str
    refused: frozenset[str] = frozenset()
    refused_thinking: frozenset[str] = frozenset()
    """Refused only while the model thinks: unless its effort is "none"."""
    thinks: bool = True
    """Whether it thinks where no effort is asked for."""
    tools: Literal["any", "unless_effort", "say_none"] = "any"
    """Function tools: with any effort, with no effort or "none" alone, or with "none" said in so many words."""


MODELS: tuple[Model, ...] = (
    Model(begins="o1", refused=OF_O),  # [1] [2]
    Model(begins="o3", refused=OF_O | {"stop"}),  # [1] [2] [3]
    Model(begins="o3-mini", refused=OF_O),  # [2]; it takes stop [3]
    Model(begins="o4", refused=OF_O | {"stop"}),  # [1] [2] [3]
    Model(begins="gpt-4o-search-preview", refused=SAMPLING),  # [1]
    Model(begins="gpt-4o-mini-search-preview", refused=SAMPLING),  # [1]
    Model(begins="gpt-5", refused=OF_GPT5),  # [1] [3]
    *(
        Model(begins=f"gpt-5.{n}", refused=frozenset({"stop"}), refused_thinking=SAMPLING, thinks=False)  # [1] [3]
        for n in (1, 2, 3)
    ),
    Model(begins="gpt-5.4", refused=frozenset({"stop"}), refused_thinking=SAMPLING, thinks=False, tools="unless_effort"),  # [4]
    *(
        Model(begins=begins, refused=frozenset({"stop"}), refused_thinking=SAMPLING, tools="say_none")  # [5] [6], and later ones alike
        for begins in ("gpt-5.5", "gpt-5.6", "gpt-5.7", "gpt-5.8", "gpt-5.9", "gpt-6", "gpt-7")
    ),
)
OTHER = Model(begins="", thinks=False)  # gpt-4 and others take everything; chat variants of gpt-5 do not think and do, too


@lru_cache(maxsize=256)
def model_of(name: str) -> Model:
    """The row of a model: a dated or fine-tuned name (`ft:o4-mini-2025-04-16:org::id`) is its base's, the longest beginning counts."""
    base = name.lower().removeprefix("ft:").partition(":")[0].rpartition("/")[2]
    if "chat" in base:
        return OTHER
    return max((row for row in MODELS if base.startswith(row.begins)), key=lambda row: len(row.begins), default=OTHER)


def is_azure(host: str) -> bool:
    """Whether `host` is one of Azure's for OpenAI's models."""
    return host.endswith(AZURE_HOSTS)


def is_openai(host: str) -> bool:
    """Whether OpenAI's own models answer at `host`: at OpenAI or at Azure."""
    return host in OPENAI_HOSTS or host.endswith(tuple(f".{one}" for one in OPENAI_HOSTS)) or is_azure(host)
