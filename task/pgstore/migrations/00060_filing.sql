-- +goose Up

-- Runs enter the list indexes a moment after the commit that made them wait or
-- end, many at once: idle_at is NULL until then, as it is while an execution
-- writes. So the indexes take no part in the commits of a run's life, and the
-- updates in between touch none at all: for that no index may name the state.
ALTER TABLE runs ADD COLUMN filed_state text COLLATE "C" GENERATED ALWAYS AS (CASE WHEN idle_at IS NULL THEN NULL ELSE state END) STORED;

DROP INDEX runs_prunable;
DROP INDEX runs_owner_state;
DROP INDEX runs_state;
DROP INDEX runs_created;
DROP INDEX runs_title;
DROP INDEX runs_agent;

-- The programs before list by these, too; only their filter by state walks
-- runs_idle instead.
CREATE INDEX runs_filed_prunable    ON runs (idle_at, n) WHERE pruned_to = 0 AND filed_state IN ('SUCCEEDED', 'FAILED', 'BLOCKED', 'ERROR', 'CANCELLED');
CREATE INDEX runs_filed_owner_state ON runs (owner, filed_state, idle_at, n) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_filed_state       ON runs (filed_state, idle_at, n) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_filed_created     ON runs (created_at, n) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_filed_title       ON runs (title, n) WHERE idle_at IS NOT NULL;
CREATE INDEX runs_filed_agent       ON runs (skill, n) WHERE idle_at IS NOT NULL;

-- Tags have the idle_at of their run, whichever program writes that.
-- +goose StatementBegin
CREATE FUNCTION follow_run() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE tags SET idle_at = NEW.idle_at WHERE n = NEW.n AND idle_at IS DISTINCT FROM NEW.idle_at;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER tags_follow AFTER UPDATE OF idle_at ON runs FOR EACH ROW
    WHEN (OLD.idle_at IS DISTINCT FROM NEW.idle_at) EXECUTE FUNCTION follow_run();
