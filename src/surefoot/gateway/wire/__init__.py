"""The vendors' words on the way in and out: bodies to requests, replies and deltas to bodies. Pure: nothing is asked here."""
