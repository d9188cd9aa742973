// Package creditcard holds the demo's data and models inside the binary. It is
// data with its attribution (README.md) and must never grow code.
package creditcard

import "embed"

// FS holds the files that README.md describes, at their paths in this folder:
// holdout.parquet, traffic.csv.gz, golden.json, plan.yaml, README.md and the
// model folders champion, better and poor. The training rows and the script
// that made all this stay in the repository.
//
//go:embed README.md golden.json holdout.parquet plan.yaml traffic.csv.gz
//go:embed better champion poor
var FS embed.FS
