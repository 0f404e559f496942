-- +goose Up

-- How runs ended, for the statistics: one row per run that has. What they are
-- grouped and filtered by stands here again, so that the sums read nothing
-- else. Written with the run, see task.FactOf.
CREATE TABLE run_stats (
    n           bigint PRIMARY KEY,
    created_at  bigint NOT NULL,
    queued      bigint NOT NULL, -- nanoseconds; -1 when it never began
    worked      bigint NOT NULL,
    cost        double precision NOT NULL, -- USD
    unpriced    boolean NOT NULL,
    private     boolean NOT NULL,
    state       text COLLATE "C" NOT NULL,
    code        text COLLATE "C" NOT NULL, -- of failures, '' for others
    owner       text COLLATE "C" NOT NULL,
    creator     text COLLATE "C" NOT NULL,
    source      text COLLATE "C" NOT NULL,
    environment text COLLATE "C" NOT NULL,
    agent       text COLLATE "C" NOT NULL,
    harness     text COLLATE "C" NOT NULL,
    model       text COLLATE "C" NOT NULL
) WITH (fillfactor = 90);

CREATE INDEX run_stats_created ON run_stats (created_at);

-- What the runs of before have used is in their heads.
INSERT INTO run_stats
SELECT n, created_at, CASE WHEN began IS NULL THEN -1 ELSE greatest(0, began - created_at) END, CASE WHEN began IS NULL THEN 0 ELSE worked END, cost, unpriced, private, state,
       CASE WHEN state IN ('FAILED', 'ERROR') THEN code ELSE '' END, owner, creator, source, environment, agent, harness, model
FROM (
    SELECT r.n, r.created_at, r.private, r.state, r.owner, r.creator, r.source, r.environment,
           CASE WHEN s.spec #>> '{executor,type}' = 'service_account' THEN r.executor ELSE '' END AS agent,
           h.harness, CASE WHEN h.harness = 'oz' THEN r.model ELSE coalesce(s.spec #>> '{config,harness,model_id}', '') END AS model,
           coalesce(h.head #>> '{status,error_code}', '') AS code, coalesce((h.head ->> 'run_time')::bigint, 0) AS worked,
           -- A timestamp has microseconds; the text has up to nine digits.
           (extract(epoch FROM date_trunc('second', (h.head ->> 'started_at')::timestamptz))::bigint * 1000000000
             + coalesce(rpad(substring(h.head ->> 'started_at' FROM '\.([0-9]+)'), 9, '0'), '0')::bigint) AS began,
           coalesce((SELECT sum((m #>> '{cost_usd,input_cost_usd}')::float8 + (m #>> '{cost_usd,input_cache_read_cost_usd}')::float8
               + (m #>> '{cost_usd,input_cache_write_cost_usd}')::float8 + (m #>> '{cost_usd,output_cost_usd}')::float8
               + coalesce((m ->> 'web_search_cost_usd')::float8, 0)) FROM json_array_elements(h.head #> '{usage,models}') m), 0) AS cost,
           coalesce((SELECT bool_or(coalesce((m ->> 'unpriced')::boolean, false)) FROM json_array_elements(h.head #> '{usage,models}') m), false) AS unpriced
    FROM runs r
    -- No column can hold NUL. OFFSET 0 has the JSON parsed once.
    CROSS JOIN LATERAL (SELECT replace(convert_from(spec, 'UTF8'), '\u0000', '\ufffd')::json AS spec FROM specs WHERE n = r.n OFFSET 0) s
    CROSS JOIN LATERAL (SELECT replace(convert_from(r.head, 'UTF8'), '\u0000', '\ufffd')::json AS head,
        coalesce(nullif(s.spec #>> '{config,harness,type}', ''), 'oz') AS harness OFFSET 0) h
    WHERE r.state IN ('SUCCEEDED', 'FAILED', 'BLOCKED', 'ERROR', 'CANCELLED')
) ended;
