-- Files and batches of the gateway's clients. Moments are seconds since 1970.
CREATE TABLE sf_file (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,              -- the id of the key that sent it
    name TEXT NOT NULL,
    purpose TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    content BLOB NOT NULL
);
CREATE INDEX sf_file_owner ON sf_file (owner, created);
CREATE TABLE sf_asked_batch (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    job TEXT NOT NULL,
    said TEXT NOT NULL,               -- JSON: what was asked
    created DOUBLE PRECISION NOT NULL
);
CREATE INDEX sf_asked_batch_owner ON sf_asked_batch (owner, created)
