-- +goose Up

-- How runs ended, for the statistics: packed records, see statsrecord.go. A row
-- holds the 64 runs whose n is 64 * chunk and above, so that the sums over a
-- million runs read few rows. Written with the run, see task.FactOf.
CREATE TABLE stats (
    chunk INTEGER PRIMARY KEY,
    data  BLOB NOT NULL
) STRICT;

-- When the runs of 64 chunks were created: the earliest and the latest of them.
CREATE TABLE stats_spans (
    span  INTEGER PRIMARY KEY,
    first INTEGER NOT NULL, -- nanoseconds since 1970
    last  INTEGER NOT NULL
) STRICT;

-- The strings in records.
CREATE TABLE stats_names (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- The runs up to n were there before, and are not in the table yet.
CREATE TABLE stats_todo (n INTEGER NOT NULL) STRICT;
INSERT INTO stats_todo SELECT coalesce(max(n), 0) FROM runs;
