"""OpenAI's Chat Completions and embeddings, and servers compatible with them."""
