"""Requests and tokens of the last minute: counted in this process, and for all processes in the gateway's database."""
