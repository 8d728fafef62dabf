"""The evaluation harness and the benchmarks: python -m surefoot_eval."""
