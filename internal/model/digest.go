package model

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// File is one file of a model version: its slash-separated path inside the version, its size and the SHA-256 of its bytes in hex.
type File struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Digest is the identity of a version's files, independent of where they lie and in which order they are listed:
// "sha256:" and the hex SHA-256 over one line "path NUL size NUL sha256 LF" a file, sorted by path.
// MLflow's client adds a file named registered_model_meta when it downloads; it is left out.
func Digest(files []File) string {
	sorted := slices.Clone(files)
	slices.SortFunc(sorted, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	h := sha256.New()
	for _, f := range sorted {
		if f.Path == "registered_model_meta" {
			continue
		}
		fmt.Fprintf(h, "%s\x00%d\x00%s\n", f.Path, f.Size, f.SHA256)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}
