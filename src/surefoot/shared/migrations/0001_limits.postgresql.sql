CREATE TABLE sf_limit (
    target TEXT PRIMARY KEY,
    state BYTEA NOT NULL -- msgpack, of the version in the target's name
) WITH (fillfactor = 50)
