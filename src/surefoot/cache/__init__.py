"""Cache keys, entries, vectors, and the single flight between processes."""
