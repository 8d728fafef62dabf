"""The loopback server beneath the vendors' simulators."""
