package sqlite

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"serin/internal/store"
	"serin/internal/store/storetest"
)

// openTemp opens a store in a folder of the test and closes both with it.
func openTemp(t *testing.T) *store.DB {
	t.Helper()
	return openIn(t, t.TempDir())
}

func openIn(t *testing.T, dir string) *store.DB {
	t.Helper()
	db, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// raw opens the file beside the store, as sqlite3 on the command line would.
func raw(t *testing.T, dir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(filepath.Join(dir, File), "immediate"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, openTemp)
}

func TestFolderIsMadeAndReopened(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a b", "data%20")
	db := openIn(t, dir)
	if err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.SetMeta(t.Context(), "k", "v") }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	err := openIn(t, dir).View(t.Context(), func(tx *store.Tx) error {
		v, err := tx.Meta(t.Context(), "k")
		if v != "v" {
			t.Errorf("read %q after opening again, want v", v)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPragmas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	openIn(t, dir)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var got string
		if err := raw(t, dir).QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s (%v), want %s", pragma, got, err, want)
		}
	}
}

// TestHistoryIsAppendOnly goes around the store's methods: the database itself must refuse to change or lose a line.
func TestHistoryIsAppendOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := openIn(t, dir)
	entry := store.Entry{Model: "fraud", At: storetest.Epoch, Actor: "ann", Event: "VersionUnblocked", Reason: "fixed"}
	if err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.AppendHistory(t.Context(), entry) }); err != nil {
		t.Fatal(err)
	}
	other := raw(t, dir)
	for _, statement := range []string{
		`UPDATE history SET actor = 'eve' WHERE seq = 1`,
		`DELETE FROM history WHERE seq = 1`,
		`DELETE FROM history`,
		`REPLACE INTO history (seq, rollout, model, at, actor, event, reason) VALUES (1, '', '', 0, 'eve', '', '')`,
	} {
		if _, err := other.ExecContext(t.Context(), statement); err == nil {
			t.Errorf("%s: was done", statement)
		}
	}
	err := db.View(t.Context(), func(tx *store.Tx) error {
		got, err := tx.History(t.Context(), store.HistoryFilter{})
		if len(got) != 1 || got[0].Actor != "ann" {
			t.Errorf("history is %+v", got)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := openIn(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	other := raw(t, dir)
	if _, err := other.ExecContext(t.Context(), `INSERT INTO migrations (number, name) VALUES (9000, '9000_future.sql')`); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), dir)
	if err == nil || !strings.Contains(err.Error(), "schema 9000") || strings.Contains(err.Error(), "\n") {
		t.Fatalf("opening a newer store: %v", err)
	}
	if _, err := other.ExecContext(t.Context(), `DELETE FROM migrations WHERE number = 9000`); err != nil {
		t.Fatal(err)
	}
	openIn(t, dir) // the refusal has released the lock
}

// TestFailedMigrationLeavesNothing makes the last statement of the first migration fail: none of it may stay, and the next start does it all.
func TestFailedMigrationLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	other := raw(t, dir)
	if _, err := other.ExecContext(t.Context(), `CREATE TABLE meta (something TEXT)`); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "0001_rollouts.sql") {
		t.Fatalf("migration over a table that is there: %v", err)
	}
	var tables, done int
	if err := other.QueryRowContext(t.Context(), `SELECT count(*) FROM sqlite_master WHERE name = 'rollouts'`).Scan(&tables); err != nil {
		t.Fatal(err)
	}
	if err := other.QueryRowContext(t.Context(), `SELECT count(*) FROM migrations`).Scan(&done); err != nil {
		t.Fatal(err)
	}
	if tables != 0 || done != 0 {
		t.Fatalf("a failed migration left %d tables and %d marks", tables, done)
	}
	if _, err := other.ExecContext(t.Context(), `DROP TABLE meta`); err != nil {
		t.Fatal(err)
	}
	openIn(t, dir)
}

func TestUnusableFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken")
	if err := os.MkdirAll(broken, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken, File), []byte(strings.Repeat("not a database", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	blocked := filepath.Join(dir, "blocked")
	if err := os.MkdirAll(filepath.Join(blocked, "serin.lock"), 0o750); err != nil {
		t.Fatal(err)
	}
	for name, folder := range map[string]string{"a file": file, "under a file": filepath.Join(file, "x"), "a broken database": broken, "a lock that is a folder": blocked} {
		_, err := Open(t.Context(), folder)
		if err == nil || !strings.Contains(err.Error(), folder) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line with %s", name, err, folder)
		}
	}
}

// TestDiskFull lets the database reach its largest size: the transaction fails as a whole and the store goes on working.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	db, err := open(t.Context(), settings{file: filepath.Join(t.TempDir(), File), pragmas: []string{"max_page_count(200)"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.SetMeta(t.Context(), "before", "v") }); err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), func(tx *store.Tx) error {
		return errors.Join(tx.SetMeta(t.Context(), "small", "v"), tx.SetMeta(t.Context(), "big", strings.Repeat("x", 8<<20)))
	})
	if err == nil || !strings.Contains(err.Error(), "full") {
		t.Fatalf("writing into a full database: %v", err)
	}
	err = db.View(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Meta(t.Context(), "small"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("half of a failed transaction is there: %v", err)
		}
		_, err := tx.Meta(t.Context(), "before")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.SetMeta(t.Context(), "after", "v") }); err != nil {
		t.Errorf("a small write after the full disk: %v", err)
	}
}
