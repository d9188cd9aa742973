CREATE TRIGGER history_keeps_lines BEFORE UPDATE ON history
BEGIN
    SELECT RAISE(ABORT, 'history is append-only');
END;
CREATE TRIGGER history_loses_nothing BEFORE DELETE ON history
BEGIN
    SELECT RAISE(ABORT, 'history is append-only');
END;
-- REPLACE deletes without asking the trigger on DELETE.
CREATE TRIGGER history_replaces_nothing BEFORE INSERT ON history
WHEN EXISTS (SELECT 1 FROM history WHERE seq = NEW.seq)
BEGIN
    SELECT RAISE(ABORT, 'history is append-only');
END;
