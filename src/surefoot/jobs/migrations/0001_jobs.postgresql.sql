-- Moments are seconds since 1970, money is in billionths of a dollar.
CREATE TABLE sf_job (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    spec TEXT NOT NULL,              -- JSON: models by name, options, tags; no key, no code
    state TEXT NOT NULL,             -- filling, open, paused, cancelled, done
    reason TEXT NOT NULL DEFAULT '', -- why it is paused
    priority INTEGER NOT NULL,       -- smaller goes first
    total INTEGER NOT NULL,          -- items
    key TEXT UNIQUE,
    tenant TEXT NOT NULL DEFAULT '',
    budget_nano BIGINT,
    created DOUBLE PRECISION NOT NULL,
    touched DOUBLE PRECISION NOT NULL, -- of a filling job: the last sign of life of who submits it
    not_before DOUBLE PRECISION NOT NULL DEFAULT 0,
    started DOUBLE PRECISION,
    ended DOUBLE PRECISION,
    ttl_s DOUBLE PRECISION NOT NULL  -- kept so long after its end
);
CREATE INDEX sf_job_open ON sf_job (priority, created, id) WHERE state = 'open';
CREATE INDEX sf_job_created ON sf_job (created);
CREATE TABLE sf_chunk (
    job TEXT NOT NULL,
    no INTEGER NOT NULL,
    first INTEGER NOT NULL,          -- the number of its first item
    total INTEGER NOT NULL,
    done INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    cost_nano BIGINT NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'wait', -- wait, run, done
    worker TEXT,
    lease DOUBLE PRECISION NOT NULL DEFAULT 0, -- until when its worker is taken for alive
    PRIMARY KEY (job, no)
) WITH (fillfactor = 70);
CREATE INDEX sf_chunk_open ON sf_chunk (job, no) WHERE state <> 'done';
CREATE INDEX sf_chunk_held ON sf_chunk (worker) WHERE worker IS NOT NULL;
CREATE TABLE sf_input (
    job TEXT NOT NULL,
    no INTEGER NOT NULL,
    body BYTEA NOT NULL,             -- a JSON array, an element an item
    PRIMARY KEY (job, no)
);
CREATE TABLE sf_result (
    job TEXT NOT NULL,
    n INTEGER NOT NULL,
    ok INTEGER NOT NULL,
    body BYTEA NOT NULL,
    cost_nano BIGINT NOT NULL DEFAULT 0,
    at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (job, n)
);
CREATE TABLE sf_worker (
    id TEXT NOT NULL,
    job TEXT NOT NULL,
    lease DOUBLE PRECISION NOT NULL,
    rate DOUBLE PRECISION NOT NULL,  -- items a second, lately
    PRIMARY KEY (job, id)
)
