"""LlamaIndex over surefoot: the LLM."""

from importlib.util import find_spec

if find_spec("llama_index.core") is None:
    raise ModuleNotFoundError('llama-index-core is not installed here: run  pip install "surefoot[llamaindex]"', name="llama_index.core")

from llama_index.llms.surefoot.base import Surefoot

__all__ = ["Surefoot"]
