//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package routingfile

import (
	"errors"
	"os"
	"syscall"
)

// flock takes an exclusive lock on an open file; false when somebody else has it.
func flock(file *os.File) (bool, error) {
	err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return false, nil
	}
	return err == nil, err
}
