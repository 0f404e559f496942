-- +goose Up

-- The audit log: see task.Journal. The trigger is no defence against whoever
-- owns the table, but it stops mistakes; the hashes show the rest.
CREATE TABLE journal (
    seq       bigint PRIMARY KEY,
    hash      bytea NOT NULL,
    body_hash bytea NOT NULL,
    body      bytea NOT NULL
);

-- +goose StatementBegin
CREATE FUNCTION journal_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the journal only grows';
END
$$;
-- +goose StatementEnd

CREATE TRIGGER journal_keeps BEFORE UPDATE OR DELETE OR TRUNCATE ON journal
    FOR EACH STATEMENT EXECUTE FUNCTION journal_only_grows();
