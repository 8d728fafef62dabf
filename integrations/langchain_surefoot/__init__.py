"""LangChain over surefoot: `ChatSurefoot` and `SurefootEmbeddings`."""

from importlib.util import find_spec

if find_spec("langchain_core") is None:
    raise ModuleNotFoundError('langchain-core is not installed here: run  pip install "surefoot[langchain]"', name="langchain_core")

from langchain_core.load.load import ALL_SERIALIZABLE_MAPPINGS

from langchain_surefoot.chat import ChatSurefoot
from langchain_surefoot.embeddings import SurefootEmbeddings

__all__ = ["ChatSurefoot", "SurefootEmbeddings"]

# LangChain's load(allowed_objects="all") knows integrations by this table. Standing in it opens nothing by itself: whoever loads must
# still name our namespace in `valid_namespaces`.
ALL_SERIALIZABLE_MAPPINGS.setdefault(tuple(ChatSurefoot.lc_id()), tuple(ChatSurefoot.lc_id()))
