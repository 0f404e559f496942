-- +goose Up

-- What each run has used, by the day of UTC on which it did and the model.
-- What the sums are grouped by stands here again, so that they read nothing
-- but this table. Written with the run, see task.UsageBetween.
CREATE TABLE usage (
    n           bigint NOT NULL,
    day         bigint NOT NULL, -- days since 1970
    model       text COLLATE "C" NOT NULL,
    owner       text COLLATE "C" NOT NULL,
    person      text COLLATE "C" NOT NULL, -- uid of the person who asked, '' for others
    agent       text COLLATE "C" NOT NULL, -- uid of the service account that carries it out, '' for others
    source      text COLLATE "C" NOT NULL,
    created_at  bigint NOT NULL, -- of the run
    calls       bigint NOT NULL,
    input       bigint NOT NULL,
    cache_read  bigint NOT NULL,
    cache_write bigint NOT NULL,
    output      bigint NOT NULL,
    cost        double precision NOT NULL, -- USD
    unpriced    boolean NOT NULL,
    run_time    bigint NOT NULL, -- nanoseconds
    -- 1 on one row of the run, and on one of the run and model, else 0: their
    -- sums count runs.
    run         bigint NOT NULL,
    model_run   bigint NOT NULL,
    PRIMARY KEY (n, day, model)
) WITH (fillfactor = 80);

-- What owners and people have spent, day by day: for budgets, which are asked
-- about before every call of a model. A day has several rows, so that the runs
-- of one owner do not wait for each other to commit.
CREATE TABLE spending (
    scope    text COLLATE "C" NOT NULL,
    day      bigint NOT NULL,
    shard    bigint NOT NULL,
    tokens   bigint NOT NULL,
    cost     double precision NOT NULL,
    unpriced boolean NOT NULL,
    PRIMARY KEY (scope, day, shard)
) WITH (fillfactor = 60);

-- What runs of before have used counts for the day they were last changed.
WITH used AS (
    SELECT r.n, r.updated_at / 86400000000000 AS day, r.owner,
           CASE WHEN convert_from(s.spec, 'UTF8')::json #>> '{creator,type}' = 'user' THEN r.creator ELSE '' END AS person,
           CASE WHEN convert_from(s.spec, 'UTF8')::json #>> '{executor,type}' = 'service_account' THEN r.executor ELSE '' END AS agent,
           r.source, r.created_at, convert_from(r.head, 'UTF8')::json AS head
    FROM runs r JOIN specs s ON s.n = r.n
), parts AS (
    SELECT n, day, m ->> 'model' AS model, owner, person, agent, source, created_at, (m ->> 'calls')::bigint AS calls,
           (m #>> '{tokens,input}')::bigint AS input, (m #>> '{tokens,input_cache_read}')::bigint AS cache_read,
           (m #>> '{tokens,input_cache_write}')::bigint AS cache_write, (m #>> '{tokens,output}')::bigint AS output,
           (m #>> '{cost_usd,input_cost_usd}')::float8 + (m #>> '{cost_usd,input_cache_read_cost_usd}')::float8
             + (m #>> '{cost_usd,input_cache_write_cost_usd}')::float8 + (m #>> '{cost_usd,output_cost_usd}')::float8 AS cost,
           coalesce((m ->> 'unpriced')::boolean, false) AS unpriced, 0 AS run_time
    FROM used, json_array_elements(head #> '{usage,models}') m
    UNION ALL
    SELECT n, day, coalesce(head #>> '{usage,models,-1,model}', ''), owner, person, agent, source, created_at, 0, 0, 0, 0, 0, 0, false,
           (head ->> 'run_time')::bigint
    FROM used WHERE (head ->> 'run_time')::bigint > 0
)
INSERT INTO usage (n, day, model, owner, person, agent, source, created_at, calls, input, cache_read, cache_write, output, cost, unpriced, run_time, run, model_run)
SELECT n, day, model, owner, person, agent, source, created_at, sum(calls), sum(input), sum(cache_read), sum(cache_write), sum(output), sum(cost),
       bool_or(unpriced), sum(run_time), (row_number() OVER (PARTITION BY n ORDER BY model) = 1)::int, 1
FROM parts GROUP BY n, day, model, owner, person, agent, source, created_at;

INSERT INTO spending (scope, day, shard, tokens, cost, unpriced)
SELECT scope, day, 0, sum(input + cache_read + cache_write + output), sum(cost), bool_or(unpriced)
FROM (SELECT owner AS scope, u.* FROM usage u
      UNION ALL SELECT 'User:' || person, u.* FROM usage u WHERE person <> '' AND 'User:' || person <> owner) each
GROUP BY scope, day;
