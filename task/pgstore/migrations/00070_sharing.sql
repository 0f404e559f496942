-- +goose Up

-- Private runs are hidden from most of their team.
ALTER TABLE runs ADD COLUMN private boolean NOT NULL DEFAULT false;

-- Whom runs are shared with, by name: one row per grant. Few runs have any.
CREATE TABLE shares (
    grantee text COLLATE "C" NOT NULL, -- task.Scope, bounded
    n       bigint           NOT NULL REFERENCES runs (n),
    PRIMARY KEY (grantee, n)
);

CREATE INDEX shares_run ON shares (n);
