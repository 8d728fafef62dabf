"""One section of `bench` a file."""
