"""One policy each: waits, calls, finishes; none imports another."""
