-- +goose Up

-- One row per run: what lists filter and sort by, and the head as JSON.
-- idle_at is updated_at while no execution writes to the run, else NULL. The
-- list indexes hold idle runs only, so that appends change no index.
CREATE TABLE runs (
    n              INTEGER PRIMARY KEY,
    id             TEXT    NOT NULL UNIQUE,
    owner          TEXT    NOT NULL,
    name           TEXT    NOT NULL,
    model          TEXT    NOT NULL,
    creator        TEXT    NOT NULL,
    executor       TEXT    NOT NULL,
    source         TEXT    NOT NULL,
    location       TEXT    NOT NULL,
    environment    TEXT    NOT NULL,
    skill          TEXT    NOT NULL,
    parent         TEXT    NOT NULL,
    title          TEXT    NOT NULL,
    worker_host    TEXT    NOT NULL,
    created_at     INTEGER NOT NULL, -- nanoseconds since 1970, as all times here
    updated_at     INTEGER NOT NULL,
    idle_at        INTEGER,
    ready_at       INTEGER,          -- when the dispatcher may place it
    state          TEXT    NOT NULL,
    last_worker    TEXT    NOT NULL DEFAULT '',
    pruned_to      INTEGER NOT NULL DEFAULT 0, -- events up to this one are hidden
    leftover       INTEGER NOT NULL DEFAULT 0, -- 1 while hidden events are stored
    head           BLOB    NOT NULL  -- task.Head as JSON
) STRICT;

CREATE INDEX runs_live        ON runs (idle_at) WHERE idle_at IS NULL;
CREATE INDEX runs_ready       ON runs (ready_at) WHERE ready_at IS NOT NULL;
CREATE INDEX runs_parent      ON runs (parent) WHERE parent <> '';
CREATE INDEX runs_created     ON runs (created_at);
CREATE INDEX runs_title       ON runs (title);
CREATE INDEX runs_agent       ON runs (skill);

CREATE INDEX runs_prunable    ON runs (updated_at) WHERE pruned_to = 0 AND state IN ('SUCCEEDED', 'FAILED', 'BLOCKED', 'ERROR', 'CANCELLED');
CREATE INDEX runs_leftover    ON runs (leftover) WHERE leftover = 1;

CREATE INDEX runs_idle        ON runs (idle_at, created_at) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_owner       ON runs (owner, idle_at) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_owner_state ON runs (owner, state, idle_at) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_state       ON runs (state, idle_at) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_creator     ON runs (creator, idle_at) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_executor    ON runs (executor, idle_at) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_source      ON runs (source, idle_at) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_location    ON runs (location, idle_at) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_environment ON runs (environment, idle_at) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_model       ON runs (model, idle_at) WHERE idle_at IS NOT NULL AND model <> '';
CREATE INDEX runs_name        ON runs (name, idle_at) WHERE idle_at IS NOT NULL AND name <> '';
CREATE INDEX runs_skill       ON runs (skill, idle_at) WHERE idle_at IS NOT NULL AND skill <> '';

-- What a run was asked to be: task.Spec as JSON. Written once.
CREATE TABLE specs (
    n    INTEGER PRIMARY KEY REFERENCES runs (n),
    spec BLOB NOT NULL
) STRICT;

-- The search: the words of title, skill and prompt, see normalise.
CREATE VIRTUAL TABLE run_text USING fts5 (words, content = '', columnsize = 0, tokenize = 'trigram');
-- Each commit writes a segment of the index. Merging 16 of them at a time, not
-- 4, rewrites each word half as often, which is a tenth of a creation's time.
INSERT INTO run_text (run_text, rank) VALUES ('automerge', 16);

-- One row per metadata pair ("m:key=value") and artifact type ("a:PLAN").
CREATE TABLE tags (
    n       INTEGER NOT NULL REFERENCES runs (n),
    tag     TEXT    NOT NULL,
    idle_at INTEGER, -- that of the run
    PRIMARY KEY (n, tag)
) STRICT, WITHOUT ROWID;

CREATE INDEX tags_idle ON tags (tag, idle_at, n) WHERE idle_at IS NOT NULL;

CREATE TABLE executions (
    n      INTEGER NOT NULL REFERENCES runs (n),
    number INTEGER NOT NULL,
    id     TEXT    NOT NULL UNIQUE,
    live   INTEGER NOT NULL, -- 1 until it ended
    data   BLOB    NOT NULL, -- task.Execution as JSON
    PRIMARY KEY (n, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX executions_live ON executions (live) WHERE live = 1;

-- The log. key is n << 32 | seq, so that a run's events lie together in order.
CREATE TABLE events (
    key       INTEGER PRIMARY KEY,
    execution TEXT    NOT NULL,
    time      INTEGER NOT NULL,
    type      TEXT    NOT NULL,
    data      BLOB    NOT NULL -- the payload as JSON
) STRICT;

CREATE TABLE artifacts (
    n      INTEGER NOT NULL REFERENCES runs (n),
    uid    TEXT    NOT NULL,
    number INTEGER NOT NULL, -- order of reporting
    data   TEXT    NOT NULL, -- task.Artifact as JSON
    PRIMARY KEY (n, uid)
) STRICT, WITHOUT ROWID;

-- Idempotency keys of creations.
CREATE TABLE creation_keys (
    principal   TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,
    run         TEXT    NOT NULL,
    keep_until  INTEGER NOT NULL,
    PRIMARY KEY (principal, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX creation_keys_expiry ON creation_keys (keep_until);

CREATE TABLE records (
    kind       TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    owner      TEXT    NOT NULL,
    revision   INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    data       BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX records_key ON records (kind, key);
CREATE INDEX records_owner ON records (kind, owner, key);
