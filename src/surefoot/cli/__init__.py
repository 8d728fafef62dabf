"""The command `surefoot`."""
