-- +goose Up

-- The statistics again, packed: a row holds what run_stats has of the 1,024 runs
-- whose n is 1024 * chunk and above, so that the sums over a million runs read few
-- rows, see statschunk.go. It can be made anew from run_stats at any time: empty it,
-- and put every n of run_stats into stats_fresh.
CREATE TABLE stats_packed (
    chunk bigint PRIMARY KEY,
    first bigint NOT NULL, -- when the earliest of its runs was created,
    last  bigint NOT NULL, -- and the latest
    data  bytea NOT NULL
);

ALTER TABLE stats_packed ALTER COLUMN data SET STORAGE EXTERNAL; -- to unpack it takes longer than to read it

-- The runs whose row in run_stats has changed since they were packed: of those
-- the row counts, or that there is none. A run may be there more than once.
CREATE TABLE stats_fresh (n bigint NOT NULL);

CREATE INDEX stats_fresh_n ON stats_fresh (n);

-- A trigger, as programs without the packed form write, too.
-- +goose StatementBegin
CREATE FUNCTION stats_changed() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO stats_fresh SELECT n FROM changed;
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER stats_inserted AFTER INSERT ON run_stats REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION stats_changed();
CREATE TRIGGER stats_updated AFTER UPDATE ON run_stats REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION stats_changed();
CREATE TRIGGER stats_deleted AFTER DELETE ON run_stats REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION stats_changed();

INSERT INTO stats_fresh SELECT n FROM run_stats;
