// Package sqlite opens the store on a SQLite file in a data folder that it locks: one process at a time. It never opens one without the lock.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"serin/internal/store"
)

// File is the name of the database inside the data folder.
const File = "serin.db"

// ErrLocked is wrapped by the error of Open when another process holds the data folder.
var ErrLocked = errors.New("data folder is in use")

// Open locks the data folder dir, making it when it is missing, and opens its database: WAL, synchronous FULL, foreign keys on.
func Open(ctx context.Context, dir string) (*store.DB, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil { //nolint:gosec // the operator's own folder
		return nil, fmt.Errorf("make data folder %s: %w", dir, err)
	}
	unlock, err := lock(filepath.Join(dir, "serin.lock"))
	if err != nil {
		return nil, err
	}
	db, err := open(ctx, settings{file: filepath.Join(dir, File), unlock: unlock})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store in %s: %w", dir, err), unlock())
	}
	return db, nil
}

// settings are what open needs: the file, what releases the lock on its folder, and more pragmas for every connection.
type settings struct {
	file    string
	unlock  func() error
	pragmas []string
}

func open(ctx context.Context, s settings) (*store.DB, error) {
	write, err := sql.Open("sqlite", dsn(s.file, "immediate", s.pragmas...))
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	// The driver does not make a read-only transaction one: query_only does.
	read, err := sql.Open("sqlite", dsn(s.file, "deferred", append(slices.Clone(s.pragmas), "query_only(1)")...))
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	read.SetMaxOpenConns(4)
	db, err := store.New(ctx, store.Handles{Dialect: "sqlite", Write: write, Read: read, Close: s.unlock})
	if err != nil {
		return nil, errors.Join(err, read.Close(), write.Close())
	}
	return db, nil
}

func dsn(file, txlock string, more ...string) string {
	q := url.Values{"_txlock": {txlock}}
	for _, pragma := range append([]string{"journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "busy_timeout(10000)"}, more...) {
		q.Add("_pragma", pragma)
	}
	return "file:" + (&url.URL{Path: file}).EscapedPath() + "?" + q.Encode()
}

// lock takes the file lock and writes our pid into it, so that whoever finds it taken can say who has it.
func lock(file string) (unlock func() error, err error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o640) //nolint:gosec // the operator's own folder
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := os.ReadFile(file) //nolint:gosec // the operator's own folder
		_ = f.Close()
		return nil, fmt.Errorf("%w: %s is locked by process %s; stop it, talk to it with --server, or use another --data",
			ErrLocked, file, strings.TrimSpace(string(holder)))
	}
	if err := f.Truncate(0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.WriteAt([]byte(fmt.Sprintf("%d\n", os.Getpid())), 0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}
