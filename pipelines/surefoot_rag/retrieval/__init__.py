"""From texts to an index, and from a question to passages."""
