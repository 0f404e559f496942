-- +goose Up

-- The audit log: see task.Journal. The triggers are no defence against whoever
-- owns the file, but they stop mistakes; the hashes show the rest.
CREATE TABLE journal (
    seq       INTEGER PRIMARY KEY,
    hash      BLOB NOT NULL,
    body_hash BLOB NOT NULL,
    body      BLOB NOT NULL
) STRICT;

-- +goose StatementBegin
CREATE TRIGGER journal_keeps BEFORE UPDATE ON journal BEGIN SELECT RAISE(ABORT, 'the journal only grows'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER journal_stays BEFORE DELETE ON journal BEGIN SELECT RAISE(ABORT, 'the journal only grows'); END;
-- +goose StatementEnd
