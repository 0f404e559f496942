-- +goose Up

-- A run enters the indexes of lists and of the search a moment after the
-- commit that changed it, many runs at a time: idle_at is NULL until then, so
-- that commits touch few pages. Lists look at the runs without idle_at apart.

DROP INDEX runs_created;
DROP INDEX runs_title;
DROP INDEX runs_agent;
DROP INDEX runs_prunable;

CREATE INDEX runs_created  ON runs (created_at) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_title    ON runs (title) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_agent    ON runs (skill) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_prunable ON runs (idle_at)
    WHERE idle_at IS NOT NULL AND pruned_to = 0 AND state IN ('SUCCEEDED', 'FAILED', 'BLOCKED', 'ERROR', 'CANCELLED');

-- Which of the runs that were created before a moment were changed after it?
-- Those of a class were created at most the class's longest time before it.
ALTER TABLE runs ADD COLUMN span INTEGER GENERATED ALWAYS AS (
    CASE WHEN idle_at - created_at < 1000000000 THEN 0        -- 1 s
         WHEN idle_at - created_at < 8000000000 THEN 1        -- 8 s
         WHEN idle_at - created_at < 64000000000 THEN 2       -- about 1 min
         WHEN idle_at - created_at < 512000000000 THEN 3      -- 9 min
         WHEN idle_at - created_at < 4096000000000 THEN 4     -- 1 h
         WHEN idle_at - created_at < 32768000000000 THEN 5    -- 9 h
         WHEN idle_at - created_at < 262144000000000 THEN 6   -- 3 d
         WHEN idle_at - created_at < 2097152000000000 THEN 7  -- 24 d
         WHEN idle_at - created_at < 16777216000000000 THEN 8 -- 194 d
         ELSE 9 END) VIRTUAL;
CREATE INDEX runs_span ON runs (span, created_at) WHERE idle_at IS NOT NULL;

-- The runs up to n are in the search index.
CREATE TABLE searched (n INTEGER NOT NULL) STRICT;
INSERT INTO searched SELECT coalesce(max(n), 0) FROM runs;
