"""The vendors' bodies and streams, written and checked."""
