-- A chunk's batches at a vendor: noted before they are submitted, with the vendor's id afterwards.
CREATE TABLE sf_batch (
    job TEXT NOT NULL,
    no INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    batch TEXT NOT NULL DEFAULT '',  -- the vendor's id; empty: it is not known whether it was submitted
    items TEXT NOT NULL,             -- JSON: the items' numbers in the job
    state TEXT NOT NULL DEFAULT 'open', -- open, collected, refused, closed
    begun DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (job, no, attempt)
)
