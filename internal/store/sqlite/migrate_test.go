package sqlite

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"serin/internal/store"
	"serin/internal/store/storetest"
)

// TestOlderSchemaIsMigrated opens what the first release wrote, table by table with a row in it: all later migrations run, once, and the row is as it was.
func TestOlderSchemaIsMigrated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	other := raw(t, dir)
	for _, file := range []string{"0001_rollouts.sql", "sqlite/0001_rollouts.sql"} {
		text, err := os.ReadFile(filepath.Join("..", "migrations", file))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.ExecContext(t.Context(), string(text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, statement := range []string{
		`CREATE TABLE migrations (number BIGINT PRIMARY KEY, name TEXT NOT NULL)`,
		`INSERT INTO migrations (number, name) VALUES (1, '0001_rollouts.sql')`,
		`INSERT INTO history (seq, rollout, model, at, actor, event, reason) VALUES (1, '', 'fraud', 1, 'ann', 'VersionBlocked', 'bad')`,
	} {
		if _, err := other.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second opening finds nothing to do
		db, err := Open(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(t.Context(), func(tx *store.Tx) error {
			all, err := tx.History(t.Context(), store.HistoryFilter{})
			if len(all) != 1 || all[0].Actor != "ann" {
				t.Errorf("history after the migration: %+v", all)
			}
			if _, modelsErr := tx.RegisteredModels(t.Context()); modelsErr != nil {
				t.Error(modelsErr)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join("..", "migrations", "*.sql"))
	if err != nil {
		t.Fatal(err)
	}
	var marks int
	if err := other.QueryRowContext(t.Context(), `SELECT count(*) FROM migrations`).Scan(&marks); err != nil || marks != len(files) {
		t.Errorf("%d migrations are marked as done, want %d (%v)", marks, len(files), err)
	}
}

// TestLookUpsUseAnIndex asks SQLite how it would answer what is asked every second of every row: none may read a whole table.
func TestLookUpsUseAnIndex(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	openIn(t, dir)
	other := raw(t, dir)
	for _, query := range []string{
		`SELECT state FROM rollouts WHERE id = 'r'`,
		`SELECT state FROM rollouts WHERE model = 'm' AND open = 1`,
		`SELECT id FROM rollouts WHERE live = 1 ORDER BY id`,
		`SELECT count(*) FROM attempts WHERE rollout = 'r' AND task = 't' AND attempt = 1 AND status = 'open'`,
		`SELECT id FROM signals WHERE rollout = 'r' AND applied_at = 0 ORDER BY id`,
		`SELECT coalesce(max(id), 0) + 1 FROM signals`,
		`SELECT coalesce(max(seq), 0) FROM logs WHERE rollout = 'r'`,
		`SELECT at, error FROM scrapes WHERE model = 'm' AND at > 1 AND at <= 2 ORDER BY at`,
		`SELECT at, body FROM samples WHERE model = 'm' AND at > 1 AND at <= 2 ORDER BY at, seq`,
		`SELECT count(*) FROM model_versions WHERE storage = 's'`,
		`SELECT value FROM meta WHERE key = 'k'`,
	} {
		rows, err := other.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query) //nolint:sqlclosecheck // closed at the end of its round
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(detail, "SCAN") || strings.Contains(detail, "TEMP B-TREE") {
				t.Errorf("%s\n%s", query, detail)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnUnreadableRowIsNamed: a state that is no JSON, as a damaged disk or a hand would leave it, is an error of that row and of no other.
func TestAnUnreadableRowIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := openIn(t, dir)
	if err := db.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.InsertRollout(t.Context(), storetest.State(t, "r1", "fraud"), storetest.Epoch)
		if err == nil {
			_, err = tx.InsertRollout(t.Context(), storetest.State(t, "r2", "churn"), storetest.Epoch)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := raw(t, dir).ExecContext(t.Context(), `UPDATE rollouts SET state = '{"id": 7' WHERE id = 'r1'`); err != nil {
		t.Fatal(err)
	}
	if err := db.View(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Rollout(t.Context(), "r1")
		if err == nil || !strings.Contains(err.Error(), "r1") || strings.Contains(err.Error(), "\n") {
			t.Errorf("a row that cannot be read: %v", err)
		}
		_, err = tx.Rollout(t.Context(), "r2")
		return err
	}); err != nil {
		t.Errorf("the row beside it: %v", err)
	}
}
