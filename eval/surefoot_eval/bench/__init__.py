"""Speed and memory, beside the peers, in one run, as ratios: python -m surefoot_eval bench."""
