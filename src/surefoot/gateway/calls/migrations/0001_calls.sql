-- One row a request that had a valid key. Moments are seconds since 1970, money billionths of a dollar.
CREATE TABLE sf_call (
    at DOUBLE PRECISION NOT NULL, request TEXT PRIMARY KEY, route TEXT NOT NULL, model TEXT NOT NULL, target TEXT NOT NULL,
    key_id TEXT NOT NULL, team TEXT NOT NULL, outcome TEXT NOT NULL, status INTEGER NOT NULL, error TEXT NOT NULL, ms BIGINT NOT NULL,
    queued_ms BIGINT NOT NULL, first_ms BIGINT, input BIGINT NOT NULL, output BIGINT NOT NULL, cost_nano BIGINT, hit INTEGER NOT NULL,
    trail TEXT NOT NULL
);
CREATE INDEX sf_call_at ON sf_call (at);
CREATE INDEX sf_call_key ON sf_call (key_id, at);
CREATE INDEX sf_call_model ON sf_call (model, at);
CREATE INDEX sf_call_bad ON sf_call (outcome, at) WHERE outcome <> 'ok';
-- How many requests, attempts and first tokens there were, by hour since 1970, result and duration.
CREATE TABLE sf_hour (
    hour BIGINT NOT NULL, what TEXT NOT NULL, name TEXT NOT NULL, result TEXT NOT NULL, bucket INTEGER NOT NULL, count BIGINT NOT NULL,
    PRIMARY KEY (hour, what, name, result, bucket)
)
