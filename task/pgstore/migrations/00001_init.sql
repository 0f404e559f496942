-- +goose Up

-- Text columns hold strings as function text of codec.go spells them; keys of
-- indexes are bounded (function bounded). Times are nanoseconds since 1970.
-- No foreign keys: each insert of an event would look its run up again, and
-- all rows of a run are written in the transaction that locks it.

-- What programs this schema still serves. A migration that takes something
-- away raises oldest to the version of the first program that does not need it.
CREATE TABLE schema_support (oldest bigint NOT NULL);
INSERT INTO schema_support VALUES (1);

CREATE SEQUENCE runs_n AS bigint;

-- One row per run: what lists filter and sort by, and the head as JSON.
-- idle_at is updated_at while no execution writes to the run, else NULL. The
-- list indexes hold idle runs only, so that appends change no index and their
-- updates stay within the page (hence the room in it).
CREATE TABLE runs (
    n           bigint PRIMARY KEY,
    id          text COLLATE "C" NOT NULL,
    version     bigint NOT NULL, -- counts the writes
    owner       text COLLATE "C" NOT NULL,
    name        text COLLATE "C" NOT NULL,
    model       text COLLATE "C" NOT NULL,
    creator     text COLLATE "C" NOT NULL,
    executor    text COLLATE "C" NOT NULL,
    source      text COLLATE "C" NOT NULL,
    location    text COLLATE "C" NOT NULL,
    environment text COLLATE "C" NOT NULL,
    skill       text COLLATE "C" NOT NULL,
    parent      text COLLATE "C" NOT NULL,
    title       text COLLATE "C" NOT NULL,
    worker_host text COLLATE "C" NOT NULL,
    created_at  bigint NOT NULL,
    updated_at  bigint NOT NULL,
    idle_at     bigint,
    ready_at    bigint, -- when the dispatcher may place it
    state       text COLLATE "C" NOT NULL,
    last_worker text COLLATE "C" NOT NULL,
    pruned_to   bigint NOT NULL DEFAULT 0,          -- events up to this one are hidden
    leftover    boolean NOT NULL DEFAULT false,     -- some of them are still there
    head        bytea NOT NULL -- task.Head as JSON
) WITH (fillfactor = 60);

CREATE UNIQUE INDEX runs_id   ON runs (id);
CREATE INDEX runs_live        ON runs (n) WHERE idle_at IS NULL;
CREATE INDEX runs_ready       ON runs (ready_at, n) WHERE ready_at IS NOT NULL;
CREATE INDEX runs_prunable    ON runs (idle_at, n) WHERE pruned_to = 0 AND state IN ('SUCCEEDED', 'FAILED', 'BLOCKED', 'ERROR', 'CANCELLED');
CREATE INDEX runs_leftover    ON runs (n) WHERE leftover;
CREATE INDEX runs_parent      ON runs (parent, n) WHERE parent <> '';
CREATE INDEX runs_created     ON runs (created_at, n);
CREATE INDEX runs_title       ON runs (title, n);
CREATE INDEX runs_agent       ON runs (skill, n);

CREATE INDEX runs_idle        ON runs (idle_at, n) INCLUDE (created_at) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_owner       ON runs (owner, idle_at, n) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_owner_state ON runs (owner, state, idle_at, n) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_state       ON runs (state, idle_at, n) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_creator     ON runs (creator, idle_at, n) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_executor    ON runs (executor, idle_at, n) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_source      ON runs (source, idle_at, n) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_location    ON runs (location, idle_at, n) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_environment ON runs (environment, idle_at, n) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_model       ON runs (model, idle_at, n) WHERE idle_at IS NOT NULL AND model <> '';
CREATE INDEX runs_name        ON runs (name, idle_at, n) WHERE idle_at IS NOT NULL AND name <> '';
CREATE INDEX runs_skill       ON runs (skill, idle_at, n) WHERE idle_at IS NOT NULL AND skill <> '';

-- What a run was asked to be, written once: task.Spec as JSON, and its words
-- for the search.
CREATE TABLE specs (
    n     bigint PRIMARY KEY,
    spec  bytea NOT NULL,
    words tsvector NOT NULL
);

CREATE INDEX specs_words ON specs USING gin (words);

-- One row per metadata pair ("m:key=value") and artifact type ("a:PLAN").
CREATE TABLE tags (
    n       bigint NOT NULL,
    tag     text COLLATE "C" NOT NULL,
    idle_at bigint, -- that of the run
    PRIMARY KEY (n, tag)
);

CREATE INDEX tags_idle ON tags (tag, idle_at, n) WHERE idle_at IS NOT NULL;

CREATE TABLE executions (
    n      bigint NOT NULL,
    number bigint NOT NULL,
    id     text COLLATE "C" NOT NULL,
    live   boolean NOT NULL, -- until it ended
    data   bytea NOT NULL,   -- task.Execution as JSON
    PRIMARY KEY (n, number)
) WITH (fillfactor = 60);

CREATE UNIQUE INDEX executions_id ON executions (id);
CREATE INDEX executions_live      ON executions (n) WHERE live;

-- The log.
CREATE TABLE events (
    n         bigint NOT NULL,
    seq       bigint NOT NULL,
    time      bigint NOT NULL,
    execution text COLLATE "C" NOT NULL,
    type      text COLLATE "C" NOT NULL,
    data      bytea NOT NULL, -- the payload as JSON
    PRIMARY KEY (n, seq)
);

CREATE TABLE artifacts (
    n      bigint NOT NULL,
    uid    text COLLATE "C" NOT NULL,
    number bigint NOT NULL, -- order of reporting
    data   bytea NOT NULL,  -- task.Artifact as JSON
    PRIMARY KEY (n, uid)
);

-- Idempotency keys of creations.
CREATE TABLE creation_keys (
    principal   text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    fingerprint bytea NOT NULL,
    run         text COLLATE "C" NOT NULL,
    keep_until  bigint NOT NULL,
    PRIMARY KEY (principal, key)
);

CREATE INDEX creation_keys_expiry ON creation_keys (keep_until);

CREATE TABLE records (
    kind       text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    owner      text COLLATE "C" NOT NULL,
    owner_key  text COLLATE "C" NOT NULL, -- the owner, bounded
    revision   bigint NOT NULL,
    updated_at bigint NOT NULL,
    data       bytea NOT NULL,
    PRIMARY KEY (kind, key)
);

CREATE INDEX records_owner ON records (kind, owner_key);
