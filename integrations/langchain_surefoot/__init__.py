"""LangChain over surefoot: `ChatSurefoot`, `SurefootEmbeddings` and `SurefootChatHistory`."""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if find_spec("langchain_core") is None:
    raise ModuleNotFoundError('langchain-core is not installed here: run  pip install "surefoot[langchain]"', name="langchain_core")

from langchain_core.load.load import ALL_SERIALIZABLE_MAPPINGS

from langchain_surefoot.chat import ChatSurefoot
from langchain_surefoot.embeddings import SurefootEmbeddings

if TYPE_CHECKING:
    from langchain_surefoot.history import SurefootChatHistory

__all__ = ["ChatSurefoot", "SurefootChatHistory", "SurefootEmbeddings"]

# LangChain's load(allowed_objects="all") knows integrations by this table. Standing in it opens nothing by itself: whoever loads must
# still name our namespace in `valid_namespaces`.
ALL_SERIALIZABLE_MAPPINGS.setdefault(tuple(ChatSurefoot.lc_id()), tuple(ChatSurefoot.lc_id()))


def __getattr__(name: str) -> Any:
    """Import the history when it is asked for: it brings SQLite."""
    if name == "SurefootChatHistory":
        from langchain_surefoot.history import SurefootChatHistory

        return SurefootChatHistory
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
