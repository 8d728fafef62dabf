"""Layers that ask again until there is an answer: retry, hedge, fallback, balance, resume."""
