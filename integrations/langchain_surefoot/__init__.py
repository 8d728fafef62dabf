"""LangChain over surefoot: `ChatSurefoot`, `SurefootEmbeddings`, `SurefootChatHistory` and `PromptCachingMiddleware`.

Each is loaded when it is asked for.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if find_spec("langchain_core") is None:
    raise ModuleNotFoundError('langchain-core is not installed here: run  pip install "surefoot[langchain]"', name="langchain_core")

from langchain_core.load.load import ALL_SERIALIZABLE_MAPPINGS

if TYPE_CHECKING:
    from langchain_surefoot.chat import ChatSurefoot
    from langchain_surefoot.embeddings import SurefootEmbeddings
    from langchain_surefoot.history import SurefootChatHistory
    from langchain_surefoot.middleware import PromptCachingMiddleware

__all__ = ["ChatSurefoot", "PromptCachingMiddleware", "SurefootChatHistory", "SurefootEmbeddings"]

_WHERE = {
    "ChatSurefoot": "chat",
    "PromptCachingMiddleware": "middleware",
    "SurefootChatHistory": "history",
    "SurefootEmbeddings": "embeddings",
}

# LangChain's load(allowed_objects="all") knows integrations by this table. Standing in it opens nothing by itself: whoever loads must
# still name our namespace in `valid_namespaces`.
_LC_ID = (__name__, _WHERE["ChatSurefoot"], "ChatSurefoot")
ALL_SERIALIZABLE_MAPPINGS.setdefault(_LC_ID, _LC_ID)


def __getattr__(name: str) -> Any:
    """Import a class, or its module, when it is asked for: embeddings need no chat model, and only the history needs SQLite."""
    if name in {"chat", "embeddings", "errors", "history", "middleware"}:
        return import_module(f"{__name__}.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "ChatSurefoot":
        # From here, not from within chat.py: CPython keeps its frames in chunks of 16 KB and unmaps an empty one at once. A dozen frames
        # further down, LangChain's imports go back and forth across such a provider, and cost a third more CPU (Python 3.11 to 3.13).
        import_module("langchain_core.language_models.chat_models")
    value = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
