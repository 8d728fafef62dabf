"""One user a vendor: the real SDK, its retries off, behind the same three methods."""

from __future__ import annotations

import anthropic
import openai
from google import genai
from google.genai import types

from surefoot.testing.wire import AnthropicSim, GeminiSim, OpenAISim


class OpenAIUser:
    vendor, sim_class = "openai", OpenAISim

    def __init__(self, sim):
        self.client = openai.OpenAI(base_url=sim.url + "/v1", api_key="k", max_retries=0, timeout=5.0)

    def chat(self, **more):
        return self.client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}], **more)

    def stream(self, **more):
        return list(self.chat(stream=True, stream_options={"include_usage": True}, **more))

    def embed(self, *texts):
        return self.client.embeddings.create(model="e", input=texts or ("a", "b", "c"))


class AnthropicUser:
    vendor, sim_class = "anthropic", AnthropicSim

    def __init__(self, sim):
        self.client = anthropic.Anthropic(base_url=sim.url, api_key="k", max_retries=0, timeout=5.0)

    def chat(self, **more):
        return self.client.messages.create(model="m", max_tokens=100, messages=[{"role": "user", "content": "hello"}], **more)

    def stream(self, **more):
        return list(self.chat(stream=True, **more))


class GeminiUser:
    vendor, sim_class = "google", GeminiSim

    def __init__(self, sim):
        self.client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=sim.url, timeout=5000))

    def chat(self, **more):
        return self.client.models.generate_content(model="m", contents="hello", config=self.options(**more))

    def stream(self, **more):
        return list(self.client.models.generate_content_stream(model="m", contents="hello", config=self.options(**more)))

    def options(self, timeout=None):
        return types.GenerateContentConfig(http_options=types.HttpOptions(timeout=int(timeout * 1000))) if timeout else None

    def embed(self, *texts):
        contents = [types.Content(parts=[types.Part(text=t)]) for t in texts or "abc"]
        return self.client.models.embed_content(model="gemini-embedding-2", contents=contents)


USERS = {user.vendor: user for user in (OpenAIUser, AnthropicUser, GeminiUser)}
