"""Layers that hold something until the call is finished: concurrency, rate, breaker, budget."""
