package store_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"serin/internal/store"
	"serin/internal/store/sqlite"
)

// Even somebody with the database file in hand is stopped from rewriting what happened. All else of the registry's rows is in storetest.
func TestRegistryEventsAreAppendOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := sqlite.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(t.Context(), func(tx *store.Tx) error {
		return tx.AppendRegistryEvent(t.Context(), store.RegistryEvent{Actor: "t", Kind: "k", Name: "a"})
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := sql.Open("sqlite", "file:"+filepath.Join(dir, sqlite.File))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	for _, statement := range []string{
		`UPDATE registry_events SET actor = 'x'`, `DELETE FROM registry_events`,
		`REPLACE INTO registry_events (seq, at, actor, kind, name, version, before_value, after_value) VALUES (1, 0, 'x', '', '', 0, '', '')`,
	} {
		if _, err := raw.ExecContext(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v", statement, err)
		}
	}
	var actor string
	if err := raw.QueryRowContext(context.WithoutCancel(t.Context()), `SELECT actor FROM registry_events`).Scan(&actor); err != nil || actor != "t" {
		t.Errorf("the event is by %q now (%v)", actor, err)
	}
}
