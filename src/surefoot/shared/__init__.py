"""Limits, places and hints about a target that many processes share, through Redis, Postgres or an SQLite file.

`limits` is one target's part in this process: it leases slices in turns (`rules.token_bucket.slices`) for the endpoint's guards.
`stores` are where turns are taken.
"""
