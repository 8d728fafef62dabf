-- One row an attempt that was billed, one a cache hit that was not. Moments are seconds since 1970, days UTC, money US dollars.
CREATE TABLE sf_usage (
    at DOUBLE PRECISION NOT NULL, day TEXT NOT NULL, call TEXT NOT NULL, kind TEXT NOT NULL, target TEXT NOT NULL, tenant TEXT NOT NULL,
    tags TEXT NOT NULL, error TEXT NOT NULL, input BIGINT NOT NULL, output BIGINT NOT NULL, cached BIGINT NOT NULL,
    reasoning BIGINT NOT NULL, estimated INTEGER NOT NULL, cost_usd DOUBLE PRECISION, saved_usd DOUBLE PRECISION NOT NULL
);
CREATE INDEX sf_usage_day ON sf_usage (day);
-- What was written lately, so that a commit whose answer was lost is not made again.
CREATE TABLE sf_usage_batch (id TEXT PRIMARY KEY, at DOUBLE PRECISION NOT NULL);
CREATE TABLE sf_usage_set_aside (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at DOUBLE PRECISION NOT NULL, why TEXT NOT NULL, said TEXT NOT NULL
)
