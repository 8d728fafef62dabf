"""One policy each: waits, calls, settles; none imports another."""
