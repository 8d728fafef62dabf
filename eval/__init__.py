"""The evaluation harness and the benchmarks: python -m eval."""
