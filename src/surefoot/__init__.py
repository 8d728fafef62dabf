"""surefoot keeps LLM and embedding calls on their feet. This is the front door; names are loaded when they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surefoot.ask import scope as scope
    from surefoot.config import load as load
    from surefoot.model import ChatModel as ChatModel
    from surefoot.model import EmbedModel as EmbedModel
    from surefoot.secret import Secret as Secret
    from surefoot.target import Policy as Policy
    from surefoot.target import Semantic as Semantic
    from surefoot.target import Target as Target
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
    "ChatModel": "model",
    "EmbedModel": "model",
    "Target": "target",
    "Policy": "target",
    "Semantic": "target",
    "Secret": "secret",
    "scope": "ask",
    "load": "config",
    **dict.fromkeys(
        (
            "Message", "ChatRequest", "EmbedRequest", "ChatReply", "EmbedReply", "Delta", "Usage", "Tool", "ToolCall", "Schema", "Text",
            "Image", "File",
        ),
        "types",
    ),
}  # fmt: skip

__version__ = "0.1.0"
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
