-- Each write forgets the batches of days ago, and must not read the others for it.
CREATE INDEX sf_usage_batch_at ON sf_usage_batch (at)
