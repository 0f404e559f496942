-- +goose Up

-- What runs have written; the copies of its recipients share it.
CREATE TABLE letters (
    k       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sender  text COLLATE "C" NOT NULL, -- a run's id
    subject text NOT NULL,
    body    text NOT NULL
);

CREATE TABLE mail (
    k            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           text COLLATE "C" NOT NULL,
    n            bigint NOT NULL, -- the recipient
    letter       bigint NOT NULL,
    sent_at      bigint NOT NULL,
    delivered_at bigint,
    read_at      bigint
);

CREATE UNIQUE INDEX mail_id        ON mail (id);
CREATE INDEX        mail_recipient ON mail (n, sent_at, k);
CREATE INDEX        mail_unread    ON mail (n, sent_at, k) WHERE read_at IS NULL;
CREATE INDEX        mail_letter    ON mail (letter);

-- What happened to runs, on one sequence. Transactions that commit at the same
-- time may do so in another order than they took their ids, so that a reader
-- who has seen id 5 might miss id 4. Hence seq: readers give it, in the order of
-- the ids, to all rows that are committed and have none, under a lock. The row
-- with the highest seq is never deleted, so that no number is given twice.
CREATE TABLE signals (
    id        bigint GENERATED ALWAYS AS IDENTITY,
    seq       bigint,
    n         bigint NOT NULL, -- the run
    type      text COLLATE "C" NOT NULL,
    execution text COLLATE "C" NOT NULL,
    ref       text COLLATE "C" NOT NULL,
    time      bigint NOT NULL
) WITH (fillfactor = 60);

CREATE INDEX        signals_fresh ON signals (id) WHERE seq IS NULL;
CREATE UNIQUE INDEX signals_seq   ON signals (seq) WHERE seq IS NOT NULL;
CREATE INDEX        signals_run   ON signals (n, seq) WHERE seq IS NOT NULL;
