package model

import (
	"fmt"
	"io/fs"
	"strings"
)

// ValidatePath checks a path inside a model directory or an artifact tree: slash-separated, relative, at most 1024 bytes, with no empty, "." or ".."
// element, no backslash and no control character. Names come from servers and from files, so nothing is cleaned up: a trick is an error.
func ValidatePath(p string) error {
	switch {
	case p == "":
		return fmt.Errorf("empty path: name a file inside the model directory")
	case len(p) > 1024:
		return fmt.Errorf("path of %d bytes: at most 1024", len(p))
	case strings.HasPrefix(p, "/"):
		return fmt.Errorf("path %q is absolute: it must stay inside the model directory", p)
	case p == "." || !fs.ValidPath(p):
		return fmt.Errorf("path %q has an empty, '.' or '..' element or is not UTF-8: it must stay inside the model directory", p)
	case strings.ContainsRune(p, '\\'), strings.ContainsFunc(p, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return fmt.Errorf("path %q has a backslash or a control character: rename the file", p)
	case len(p) >= 2 && p[1] == ':':
		return fmt.Errorf("path %q begins with a drive letter: it must stay inside the model directory", p)
	}
	return nil
}
