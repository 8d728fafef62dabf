"""OpenAI's Responses API, the second dialect of `openai:`: items in, items out, and nothing kept by the server."""
