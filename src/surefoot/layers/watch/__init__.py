"""Layers that watch one call: deadline, timeout, trace, lifetime, attempt, context window; and chaos for tests."""
