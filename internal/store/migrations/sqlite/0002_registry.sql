CREATE TRIGGER registry_events_keeps_lines BEFORE UPDATE ON registry_events
BEGIN
    SELECT RAISE(ABORT, 'registry_events is append-only');
END;
CREATE TRIGGER registry_events_loses_nothing BEFORE DELETE ON registry_events
BEGIN
    SELECT RAISE(ABORT, 'registry_events is append-only');
END;
