-- Spend limits that several processes share. Amounts are billionths of a dollar, moments seconds since 1970.
CREATE TABLE sf_account (
    name TEXT PRIMARY KEY,
    spent BIGINT NOT NULL DEFAULT 0,
    reserved BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE sf_hold (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    amount BIGINT NOT NULL,
    state TEXT NOT NULL,             -- held, lost (its lease ran out: counted as spent), settled
    lease DOUBLE PRECISION NOT NULL
);
CREATE INDEX sf_hold_held ON sf_hold (account, lease) WHERE state = 'held';
CREATE INDEX sf_hold_over ON sf_hold (lease) WHERE state <> 'held'
