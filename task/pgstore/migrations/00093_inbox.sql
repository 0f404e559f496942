-- +goose Up

-- What arrived at triggers. Rows without a key only tell of an arrival.
CREATE TABLE deliveries (
    k           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          text COLLATE "C" NOT NULL,
    source      text COLLATE "C" NOT NULL,
    key         text COLLATE "C",
    owner       text COLLATE "C" NOT NULL,
    received_at bigint NOT NULL,
    event       text COLLATE "C" NOT NULL,
    header      bytea,
    body        bytea,
    size        bigint NOT NULL,
    outcome     text COLLATE "C" NOT NULL, -- '' until it is decided
    reason      text NOT NULL,
    runs        text[] NOT NULL,
    repeat_of   text COLLATE "C" NOT NULL,
    attempts    bigint NOT NULL,
    ready_at    bigint NOT NULL,
    decided_at  bigint
);

CREATE UNIQUE INDEX deliveries_id        ON deliveries (id);
CREATE UNIQUE INDEX deliveries_key       ON deliveries (source, key) WHERE key IS NOT NULL;
CREATE INDEX        deliveries_source    ON deliveries (source, k);
CREATE INDEX        deliveries_undecided ON deliveries (ready_at, k) WHERE outcome = '';

-- What is to be told to the outside.
CREATE TABLE outgoing (
    k           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    lane        text COLLATE "C" NOT NULL,
    head        boolean NOT NULL, -- none that waits is before it in its lane
    kind        text COLLATE "C" NOT NULL,
    source      text COLLATE "C" NOT NULL,
    owner       text COLLATE "C" NOT NULL,
    task_id     text COLLATE "C" NOT NULL,
    body        bytea,
    created_at  bigint NOT NULL,
    ready_at    bigint NOT NULL,
    state       text COLLATE "C" NOT NULL,
    attempts    bigint NOT NULL,
    reason      text NOT NULL,
    result      bytea,
    settled_at  bigint,
    holder      text COLLATE "C" NOT NULL,
    lease_until bigint NOT NULL
);

CREATE UNIQUE INDEX outgoing_id      ON outgoing (id);
CREATE UNIQUE INDEX outgoing_key     ON outgoing (key);
CREATE INDEX        outgoing_waiting ON outgoing (ready_at, k) WHERE state = 'waiting' AND head;
CREATE INDEX        outgoing_lane    ON outgoing (lane, k) WHERE state = 'waiting';
CREATE INDEX        outgoing_source  ON outgoing (source, k);
CREATE INDEX        outgoing_task    ON outgoing (task_id, k);
CREATE INDEX        outgoing_settled ON outgoing (settled_at) WHERE settled_at IS NOT NULL;
