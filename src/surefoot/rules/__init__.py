"""Pure decisions: no await, no clock, no luck. Time (`now_s`) and draws (uniform in [0, 1)) come in as arguments."""
