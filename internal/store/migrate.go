package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate runs the numbered files that the database has not seen, each in one transaction, forward only.
func (db *DB) migrate(ctx context.Context) error {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	if err := db.Update(ctx, func(tx *Tx) error {
		_, err := tx.q.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL)`)
		return err
	}); err != nil {
		return fmt.Errorf("prepare the schema: %w", err)
	}
	newest := 0
	for _, file := range files {
		n, err := strconv.Atoi(strings.SplitN(path.Base(file), "_", 2)[0])
		if err != nil {
			return fmt.Errorf("migration %s: its name must begin with a number", file)
		}
		newest = max(newest, n)
		if err := db.apply(ctx, n, file); err != nil {
			return fmt.Errorf("migrate the store with %s: %w", path.Base(file), err)
		}
	}
	return db.refuseNewer(ctx, newest)
}

func (db *DB) apply(ctx context.Context, number int, file string) error {
	text, err := migrations.ReadFile(file)
	if err != nil {
		return err
	}
	return db.Update(ctx, func(tx *Tx) error {
		var seen int
		if err := tx.q.QueryRowContext(ctx, `SELECT count(*) FROM migrations WHERE number = $1`, number).Scan(&seen); err != nil || seen > 0 {
			return err
		}
		if _, err := tx.q.ExecContext(ctx, string(text)); err != nil {
			return err
		}
		_, err := tx.q.ExecContext(ctx, `INSERT INTO migrations (number, name) VALUES ($1, $2)`, number, path.Base(file))
		return err
	})
}

func (db *DB) refuseNewer(ctx context.Context, newest int) error {
	return db.View(ctx, func(tx *Tx) error {
		var has int
		if err := tx.q.QueryRowContext(ctx, `SELECT coalesce(max(number), 0) FROM migrations`).Scan(&has); err != nil {
			return err
		}
		if has > newest {
			return fmt.Errorf("the store has schema %d and this serin knows up to %d: run the newer serin that wrote it, or restore its backup", has, newest)
		}
		return nil
	})
}
