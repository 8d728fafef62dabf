-- Who is signed in to the page: kept by the hash of what the cookie holds.
CREATE TABLE sf_session (hash TEXT PRIMARY KEY, key_id TEXT NOT NULL, until DOUBLE PRECISION NOT NULL);
CREATE INDEX sf_session_until ON sf_session (until)
