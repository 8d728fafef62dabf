"""Layers that answer from what is known or share one request: cache, semantic, coalesce, batch."""
