-- +goose Up

-- What was let through before a person's word was written down with what had
-- waited for it.
UPDATE deliveries SET outcome = 'released'
WHERE outcome = 'held' AND EXISTS (SELECT 1 FROM deliveries AS n WHERE n.source = deliveries.source AND n.key = 'approved ' || deliveries.id);
