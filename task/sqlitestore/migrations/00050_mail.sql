-- +goose Up

-- What runs have written; the copies of its recipients share it.
CREATE TABLE letters (
    k       INTEGER PRIMARY KEY,
    sender  TEXT    NOT NULL, -- a run's id
    subject TEXT    NOT NULL,
    body    TEXT    NOT NULL
) STRICT;

CREATE TABLE mail (
    k            INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    n            INTEGER NOT NULL REFERENCES runs (n), -- the recipient
    letter       INTEGER NOT NULL REFERENCES letters (k),
    sent_at      INTEGER NOT NULL,
    delivered_at INTEGER,
    read_at      INTEGER
) STRICT;

CREATE INDEX mail_recipient ON mail (n, sent_at);
CREATE INDEX mail_unread    ON mail (n, sent_at) WHERE read_at IS NULL;
CREATE INDEX mail_letter    ON mail (letter);

-- What happened to runs, on one sequence. The newest row is never deleted, so
-- that no number is given twice.
CREATE TABLE signals (
    seq       INTEGER PRIMARY KEY,
    n         INTEGER NOT NULL, -- the run
    type      TEXT    NOT NULL,
    execution TEXT    NOT NULL,
    ref       TEXT    NOT NULL,
    time      INTEGER NOT NULL
) STRICT;

CREATE INDEX signals_run ON signals (n);
