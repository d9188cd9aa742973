-- REPLACE deletes without asking the trigger on DELETE.
CREATE TRIGGER registry_events_replaces_nothing BEFORE INSERT ON registry_events
WHEN EXISTS (SELECT 1 FROM registry_events WHERE seq = NEW.seq)
BEGIN
    SELECT RAISE(ABORT, 'registry_events is append-only');
END;
