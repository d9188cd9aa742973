package routingfile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// lockPoll is how often a waiting writer looks again. The system's own waiting cannot be bounded.
const lockPoll = 10 * time.Millisecond

// lock is a held <file>.lock. The file stays when the lock is released: removing it would let two writers hold two locks of one name.
type lock struct {
	file *os.File
	// mark is the highest generation that was ever written under this lock.
	mark int64
}

// lockContent is what stands in the lock file: who holds it, for the one who waits, and the mark.
type lockContent struct {
	PID        int       `json:"pid,omitempty"`
	Host       string    `json:"host,omitempty"`
	Since      time.Time `json:"since,omitzero"`
	Generation int64     `json:"generation"`
}

// lock takes <file>.lock, and waits at most lockWait for whoever holds it.
func (f *File) lock(ctx context.Context) (*lock, error) {
	ctx, cancel := context.WithTimeout(ctx, f.lockWait)
	defer cancel()
	path := f.path + ".lock"
	for {
		file, err := tryLock(path)
		if err != nil {
			return nil, fmt.Errorf("lock the routing file: %w", err)
		}
		if file != nil {
			return hold(file)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %s is held by %s: wait for it, or end that process", ErrLocked, path, holder(path))
		case <-time.After(lockPoll):
		}
	}
}

// tryLock opens and locks the file. It gives nil when another process holds it, or when the file was replaced while we opened it.
func tryLock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	held, err := flock(file)
	if err != nil || !held {
		return nil, errors.Join(err, file.Close())
	}
	mine, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	named, err := os.Stat(path)
	if err != nil || !os.SameFile(mine, named) {
		return nil, file.Close()
	}
	// Whoever else may write in the folder must be able to lock: a rollback by another user makes the file too, whatever its umask. That
	// fails for a file of another user, which then has this mode already.
	_ = file.Chmod(0o666)
	return file, nil
}

// hold reads the mark and says who holds the lock.
func hold(file *os.File) (*lock, error) {
	l := &lock{file: file}
	data, err := io.ReadAll(io.LimitReader(file, 4096))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the lock of the routing file: %w", err), file.Close())
	}
	var content lockContent
	if json.Unmarshal(data, &content) == nil { // empty at first; torn when its writer was killed, and then the document has the generation
		l.mark = content.Generation
	}
	if err := l.write(self(l.mark)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return l, nil
}

func self(generation int64) lockContent {
	host, err := os.Hostname()
	if err != nil {
		host = "an unnamed host"
	}
	return lockContent{PID: os.Getpid(), Host: host, Since: time.Now().UTC().Truncate(time.Second), Generation: generation}
}

// setMark remembers a generation before it is written, so that none is ever used twice.
func (l *lock) setMark(generation int64) error {
	l.mark = generation
	return l.write(self(generation))
}

func (l *lock) write(c lockContent) error {
	data, err := json.Marshal(c)
	if err == nil {
		// One write that covers what stood there, blanks included: no reader meets an empty file.
		data = append(data, strings.Repeat(" ", max(0, 200-len(data)))...)
		_, err = l.file.WriteAt(append(data, '\n'), 0)
	}
	if err != nil {
		return fmt.Errorf("write the lock of the routing file: %w", err)
	}
	return nil
}

// release lets the next writer in. Closing the file ends the lock even when the note about it cannot be written.
func (l *lock) release() {
	_ = l.write(lockContent{Generation: l.mark})
	_ = l.file.Close()
}

// holder names the process that holds the lock, as far as it has said so.
func holder(path string) string {
	data, err := readLimited(path)
	var c lockContent
	if err != nil || json.Unmarshal(data, &c) != nil || c.PID == 0 {
		return "a process that has not written its name"
	}
	return fmt.Sprintf("pid %d on %s since %s", c.PID, c.Host, c.Since.Format(time.RFC3339))
}
