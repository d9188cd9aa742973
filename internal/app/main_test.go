package app

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// TestMain bounds how many tests run side by side, each with a server and traffic of its own, on few cores too. -parallel on the command line wins.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "2"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	m.Run()
}
