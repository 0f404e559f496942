-- +goose Up

-- What arrived at triggers. Rows without a key only tell of an arrival.
CREATE TABLE deliveries (
    k           INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    source      TEXT    NOT NULL,
    key         TEXT,
    owner       TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    event       TEXT    NOT NULL,
    header      BLOB,
    body        BLOB,
    size        INTEGER NOT NULL,
    outcome     TEXT    NOT NULL, -- '' until it is decided
    reason      TEXT    NOT NULL,
    runs        TEXT    NOT NULL, -- JSON
    repeat_of   TEXT    NOT NULL,
    attempts    INTEGER NOT NULL,
    ready_at    INTEGER NOT NULL,
    decided_at  INTEGER
) STRICT;

CREATE UNIQUE INDEX deliveries_key       ON deliveries (source, key) WHERE key IS NOT NULL;
CREATE INDEX        deliveries_source    ON deliveries (source, k);
CREATE INDEX        deliveries_undecided ON deliveries (ready_at, k) WHERE outcome = '';

-- What is to be told to the outside.
CREATE TABLE outgoing (
    k           INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    key         TEXT    NOT NULL UNIQUE,
    lane        TEXT    NOT NULL,
    head        INTEGER NOT NULL, -- 1: none that waits is before it in its lane
    kind        TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    owner       TEXT    NOT NULL,
    task_id     TEXT    NOT NULL,
    body        BLOB,
    created_at  INTEGER NOT NULL,
    ready_at    INTEGER NOT NULL,
    state       TEXT    NOT NULL,
    attempts    INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    result      BLOB,
    settled_at  INTEGER,
    holder      TEXT    NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT;

CREATE INDEX outgoing_waiting ON outgoing (ready_at, k) WHERE state = 'waiting' AND head = 1;
CREATE INDEX outgoing_lane    ON outgoing (lane, k) WHERE state = 'waiting';
CREATE INDEX outgoing_source  ON outgoing (source, k);
CREATE INDEX outgoing_task    ON outgoing (task_id, k);
CREATE INDEX outgoing_settled ON outgoing (settled_at) WHERE settled_at IS NOT NULL;
