-- +goose Up

-- What each run has used, by the day of UTC on which it did and the model.
-- What the sums are grouped by stands here again, so that they read nothing
-- but this table. Written with the run, see task.UsageBetween.
CREATE TABLE usage (
    n           INTEGER NOT NULL REFERENCES runs (n),
    day         INTEGER NOT NULL, -- days since 1970
    model       TEXT    NOT NULL,
    owner       TEXT    NOT NULL,
    person      TEXT    NOT NULL, -- uid of the person who asked, '' for others
    agent       TEXT    NOT NULL, -- uid of the service account that carries it out, '' for others
    source      TEXT    NOT NULL,
    created_at  INTEGER NOT NULL, -- of the run
    calls       INTEGER NOT NULL,
    input       INTEGER NOT NULL,
    cache_read  INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    output      INTEGER NOT NULL,
    cost        REAL    NOT NULL, -- USD
    unpriced    INTEGER NOT NULL,
    run_time    INTEGER NOT NULL, -- nanoseconds
    -- 1 on one row of the run, and on one of the run and model, else 0: their
    -- sums count runs.
    run         INTEGER NOT NULL,
    model_run   INTEGER NOT NULL,
    PRIMARY KEY (n, day, model)
) STRICT, WITHOUT ROWID;

-- What owners and people have spent, day by day: for budgets, which are asked
-- about before every call of a model.
CREATE TABLE spending (
    scope    TEXT    NOT NULL,
    day      INTEGER NOT NULL,
    tokens   INTEGER NOT NULL,
    cost     REAL    NOT NULL,
    unpriced INTEGER NOT NULL,
    PRIMARY KEY (scope, day)
) STRICT, WITHOUT ROWID;

-- What runs of before have used counts for the day they were last changed.
INSERT INTO usage (n, day, model, owner, person, agent, source, created_at, calls, input, cache_read, cache_write, output, cost, unpriced, run_time, run, model_run)
SELECT r.n, r.updated_at / 86400000000000, m.value ->> 'model', r.owner,
       iif(s.spec ->> '$.creator.type' = 'user', r.creator, ''), iif(s.spec ->> '$.executor.type' = 'service_account', r.executor, ''),
       r.source, r.created_at, sum(m.value ->> 'calls'),
       sum(m.value ->> '$.tokens.input'), sum(m.value ->> '$.tokens.input_cache_read'),
       sum(m.value ->> '$.tokens.input_cache_write'), sum(m.value ->> '$.tokens.output'),
       sum((m.value ->> '$.cost_usd.input_cost_usd') + (m.value ->> '$.cost_usd.input_cache_read_cost_usd')
         + (m.value ->> '$.cost_usd.input_cache_write_cost_usd') + (m.value ->> '$.cost_usd.output_cost_usd') + 0.0),
       max(coalesce(m.value ->> 'unpriced', 0)), 0, min(m.key) = 0, 1
FROM runs r
JOIN (SELECT n, CAST(spec AS TEXT) AS spec FROM specs) s ON s.n = r.n
JOIN json_each(CAST(r.head AS TEXT), '$.usage.models') m
GROUP BY r.n, m.value ->> 'model';

INSERT INTO usage (n, day, model, owner, person, agent, source, created_at, calls, input, cache_read, cache_write, output, cost, unpriced, run_time, run, model_run)
SELECT r.n, r.updated_at / 86400000000000, coalesce(CAST(r.head AS TEXT) ->> '$.usage.models[#-1].model', ''), r.owner,
       iif(s.spec ->> '$.creator.type' = 'user', r.creator, ''), iif(s.spec ->> '$.executor.type' = 'service_account', r.executor, ''),
       r.source, r.created_at, 0, 0, 0, 0, 0, 0.0, 0, CAST(r.head AS TEXT) ->> '$.run_time', 1, 1
FROM runs r
JOIN (SELECT n, CAST(spec AS TEXT) AS spec FROM specs) s ON s.n = r.n
WHERE CAST(r.head AS TEXT) ->> '$.run_time' > 0
ON CONFLICT (n, day, model) DO UPDATE SET run_time = excluded.run_time;

INSERT INTO spending (scope, day, tokens, cost, unpriced)
SELECT scope, day, sum(input + cache_read + cache_write + output), sum(cost), max(unpriced)
FROM (SELECT owner AS scope, * FROM usage
      UNION ALL SELECT 'User:' || person, * FROM usage WHERE person <> '' AND 'User:' || person <> owner)
GROUP BY scope, day;
