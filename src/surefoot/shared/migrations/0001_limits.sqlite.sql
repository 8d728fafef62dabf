CREATE TABLE sf_limit (
    target TEXT PRIMARY KEY,
    state BLOB NOT NULL  -- msgpack, of the version in the target's name
) WITHOUT ROWID
