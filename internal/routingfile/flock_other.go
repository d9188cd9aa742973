//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package routingfile

import (
	"errors"
	"os"
)

// flock is for systems that have no such lock.
func flock(*os.File) (bool, error) {
	return false, errors.New("locking the routing file on this system is not in this version: write it from Linux, macOS or a BSD")
}
