-- Sums by hour, day and month (UTC), written in the transaction of their rows. Money is billionths of a dollar.
CREATE TABLE sf_usage_sum (
    span TEXT NOT NULL, grouped TEXT NOT NULL, bucket TEXT NOT NULL, name TEXT NOT NULL,
    attempts BIGINT NOT NULL, hits BIGINT NOT NULL, input BIGINT NOT NULL, output BIGINT NOT NULL,
    cost_nano BIGINT NOT NULL, saved_nano BIGINT NOT NULL, estimated BIGINT NOT NULL, unpriced BIGINT NOT NULL,
    PRIMARY KEY (span, grouped, bucket, name)
);
-- What the rows so far come to.
INSERT INTO sf_usage_sum
SELECT spans.span, groups.grouped, spans.bucket, groups.name,
    count(*) FILTER (WHERE kind <> 'cache'), count(*) FILTER (WHERE kind = 'cache'),
    coalesce(sum(least(input, 1000000000000000)) FILTER (WHERE kind <> 'cache'), 0),
    coalesce(sum(least(output, 1000000000000000)) FILTER (WHERE kind <> 'cache'), 0),
    sum(round(least(coalesce(cost_usd, (input * 5.0 + output * 20.0) / 1e6), 1000000) * 1e9)::bigint),
    sum(round(least(saved_usd, 1000000) * 1e9)::bigint), sum(estimated), count(*) FILTER (WHERE cost_usd IS NULL)
FROM sf_usage AS row
CROSS JOIN LATERAL (VALUES
    ('hour', to_char(to_timestamp(row.at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24')), ('day', row.day), ('month', substr(row.day, 1, 7))
) AS spans (span, bucket)
CROSS JOIN LATERAL (VALUES
    ('all', ''), ('target', row.target), ('kind', row.kind), ('team', row.tags::jsonb ->> 'team'), ('key', row.tags::jsonb ->> 'key'),
    ('model', row.tags::jsonb ->> 'model')
) AS groups (grouped, name)
WHERE groups.name IS NOT NULL
GROUP BY 1, 2, 3, 4
