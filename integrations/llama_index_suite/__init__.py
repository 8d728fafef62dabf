"""A standard suite for LlamaIndex integrations: any LLM class, any embedding class, ours or not.

LlamaIndex ships none. Derive a class whose name begins with Test, say what it tests and what it can do; pytest does the rest:

    class TestMyLLM(LLMSuite):
        llm_class = MyLLM
        llm_params = {"model": "m", "api_base": simulator.url}
        secrets = ("sk-...",)               # must show nowhere
        has_image_inputs = True             # capability flags: what a class cannot do is skipped, by name

    class TestMyEmbedding(EmbeddingSuite):
        embedding_class = MyEmbedding
        embedding_params = {"model_name": "m"}

The checks need a model that says something for "Hello", calls a tool it is told to call, and fills a schema it is given: a real one, or
`surefoot.testing.wire`. No check may be overridden, except as `@pytest.mark.xfail(reason=...)`. Async checks bring their own event loops,
so no pytest plugin is needed. For readable failures say `pytest.register_assert_rewrite("llama_index_suite")` in
conftest.py.
"""

from llama_index_suite.embedding import EmbeddingSuite
from llama_index_suite.llm import LLMSuite

__all__ = ["EmbeddingSuite", "LLMSuite"]
