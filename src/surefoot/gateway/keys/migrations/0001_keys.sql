-- Keys and teams of the gateway. Amounts are billionths of a dollar, moments seconds since 1970.
CREATE TABLE sf_team (
    name TEXT PRIMARY KEY,
    allowance TEXT NOT NULL,          -- JSON: budget, period, limits, models
    created DOUBLE PRECISION NOT NULL
);
CREATE TABLE sf_key (
    id TEXT PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,        -- SHA-256 of the secret, in hex
    prefix TEXT NOT NULL,             -- what is shown of the secret
    name TEXT NOT NULL,
    team TEXT NOT NULL,               -- empty: none
    is_admin INTEGER NOT NULL,
    allowance TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    expires DOUBLE PRECISION,
    revoked DOUBLE PRECISION,
    old_hash TEXT,                    -- the secret before the last rotation, good until old_until
    old_until DOUBLE PRECISION
);
CREATE INDEX sf_key_old ON sf_key (old_hash);
CREATE TABLE sf_setup (
    hash TEXT PRIMARY KEY,            -- of the one-time token that makes the first admin's key
    used DOUBLE PRECISION
)
