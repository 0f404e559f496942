-- +goose Up

-- Attachments and artifacts. A blob that is being written is not done; one
-- that was cut off is removed a day later.
CREATE TABLE blobs (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key     text COLLATE "C" NOT NULL,
    size    bigint NOT NULL,
    done    boolean NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX blobs_key ON blobs (key) WHERE done;
CREATE INDEX blobs_unfinished ON blobs (made_at) WHERE NOT done;

CREATE TABLE blob_chunks (
    blob bigint NOT NULL REFERENCES blobs (id) ON DELETE CASCADE,
    n    integer NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (blob, n)
);

ALTER TABLE blob_chunks ALTER COLUMN data SET STORAGE EXTERNAL; -- files are often compressed already
