"""Reference pipelines: answers from your own documents, cited, through LangChain or LlamaIndex.

Documents become passages (`corpus`), passages are found (`retrieval`), and a model answers from them alone (`prompting`).
Uses surefoot and its integrations by their public names only; copy from here into your own service.
"""
