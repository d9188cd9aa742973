package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

//go:embed migrations
var migrations embed.FS

// migration is one numbered file.
type migration struct {
	number int
	file   string
}

// migrate runs the numbered files that the database has not seen, each in one transaction, forward only. A database that a newer release
// has migrated is left as it is.
func (db *DB) migrate(ctx context.Context) error {
	known, err := knownMigrations()
	if err != nil {
		return err
	}
	if err := db.Update(ctx, func(tx *Tx) error {
		_, err := tx.q.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS migrations (number BIGINT PRIMARY KEY, name TEXT NOT NULL)`)
		return err
	}); err != nil {
		return fmt.Errorf("prepare the schema: %w", err)
	}
	if err := db.refuseNewer(ctx, known[len(known)-1].number); err != nil {
		return err
	}
	for _, m := range known {
		if err := db.apply(ctx, m); err != nil {
			return fmt.Errorf("migrate the store with %s: %w", path.Base(m.file), err)
		}
	}
	return nil
}

// knownMigrations lists the embedded files in the order of their numbers.
func knownMigrations() ([]migration, error) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	known := make([]migration, 0, len(files))
	for _, file := range files {
		n, err := strconv.Atoi(strings.SplitN(path.Base(file), "_", 2)[0])
		if err != nil {
			return nil, fmt.Errorf("migration %s: its name must begin with a number", file)
		}
		known = append(known, migration{number: n, file: file})
	}
	return known, nil
}

func (db *DB) apply(ctx context.Context, m migration) error {
	texts, err := db.texts(m.file)
	if err != nil {
		return err
	}
	return db.Update(ctx, func(tx *Tx) error {
		var seen int
		if err := tx.q.QueryRowContext(ctx, `SELECT count(*) FROM migrations WHERE number = $1`, m.number).Scan(&seen); err != nil || seen > 0 {
			return err
		}
		for _, text := range texts {
			if _, err := tx.q.ExecContext(ctx, string(text)); err != nil {
				return err
			}
		}
		_, err := tx.q.ExecContext(ctx, `INSERT INTO migrations (number, name) VALUES ($1, $2)`, m.number, path.Base(m.file))
		return err
	})
}

// texts reads a migration and its addition for our dialect: what only one kind of database understands stands in a file of the same
// name in the folder of the dialect, and runs right after in the same transaction.
func (db *DB) texts(file string) ([][]byte, error) {
	common, err := migrations.ReadFile(file)
	if err != nil {
		return nil, err
	}
	own, err := migrations.ReadFile(path.Join(path.Dir(file), db.dialect, path.Base(file)))
	if errors.Is(err, fs.ErrNotExist) {
		return [][]byte{common}, nil
	}
	return [][]byte{common, own}, err
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
