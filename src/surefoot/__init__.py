"""surefoot keeps LLM and embedding calls on their feet. The public names; each is loaded when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surefoot.config import load as load
    from surefoot.models.chat import ChatModel as ChatModel
    from surefoot.models.embed import EmbedModel as EmbedModel
    from surefoot.models.requests import scope as scope
    from surefoot.secret import Secret as Secret
    from surefoot.settings import Policy as Policy
    from surefoot.settings import Semantic as Semantic
    from surefoot.settings import Target as Target
    from surefoot.types import ChatReply as ChatReply
    from surefoot.types import ChatRequest as ChatRequest
    from surefoot.types import Delta as Delta
    from surefoot.types import EmbedReply as EmbedReply
    from surefoot.types import EmbedRequest as EmbedRequest
    from surefoot.types import File as File
    from surefoot.types import Image as Image
    from surefoot.types import Message as Message
    from surefoot.types import Schema as Schema
    from surefoot.types import Text as Text
    from surefoot.types import Tool as Tool
    from surefoot.types import ToolCall as ToolCall
    from surefoot.types import Usage as Usage

_WHERE = {
    "ChatModel": "models.chat",
    "EmbedModel": "models.embed",
    "Target": "settings",
    "Policy": "settings",
    "Semantic": "settings",
    "Secret": "secret",
    "scope": "models.requests",
    "load": "config",
    **dict.fromkeys(
        (
            "Message", "ChatRequest", "EmbedRequest", "ChatReply", "EmbedReply", "Delta", "Usage", "Tool", "ToolCall", "Schema", "Text",
            "Image", "File",
        ),
        "types",
    ),
}  # fmt: skip

__version__ = "0.2.0"
__all__ = [*sorted(_WHERE), "__version__", "errors"]  # noqa: PLE0604 - names from the table above


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _WHERE:
        value = getattr(import_module(f"surefoot.{_WHERE[name]}"), name)
        globals()[name] = value
        return value
    if name in {"errors", "runtime", "events", "testing"}:
        return import_module(f"surefoot.{name}")
    raise AttributeError(f"module 'surefoot' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
