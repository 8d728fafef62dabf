"""The service: what the library does, by an address, for every client that speaks OpenAI's or Anthropic's protocol.

`surefoot serve` runs it. In Python: `Gateway(load("surefoot.toml"), keys)` is an ASGI application for one event loop, which becomes the
background loop. Every route under /v1 goes through one pipeline: authenticate, admit, parse, ask the model, render.
"""

from __future__ import annotations

from surefoot.gateway.app import Gateway

__all__ = ["Gateway"]
