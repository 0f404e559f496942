-- +goose Up

-- Private runs are hidden from most of their team.
ALTER TABLE runs ADD COLUMN private INTEGER NOT NULL DEFAULT 0;

-- Whom runs are shared with, by name: one row per grant. Few runs have any.
CREATE TABLE shares (
    grantee TEXT    NOT NULL, -- task.Scope
    n       INTEGER NOT NULL REFERENCES runs (n),
    PRIMARY KEY (grantee, n)
) STRICT, WITHOUT ROWID;

CREATE INDEX shares_run ON shares (n);
