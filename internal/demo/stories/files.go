package stories

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"serin/examples/creditcard"
)

// unpack writes the models and the labeled data to the folder.
func (w *world) unpack() error {
	return fs.WalkDir(creditcard.FS, ".", func(path string, d fs.DirEntry, err error) error {
		to := filepath.Join(w.Dir, "creditcard", filepath.FromSlash(path))
		if err != nil || d.IsDir() {
			return errors.Join(err, os.MkdirAll(to, 0o750))
		}
		b, err := creditcard.FS.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o600)
	})
}

// readTraffic reads the payments that customers send.
func (w *world) readTraffic() error {
	f, err := creditcard.FS.Open("traffic.csv.gz")
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	r := csv.NewReader(z)
	header, err := r.Read()
	if err != nil {
		return err
	}
	w.rows = rows{columns: header[1:]}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		values := make([]float64, len(record)-1)
		for i, text := range record[1:] {
			if values[i], err = strconv.ParseFloat(text, 64); err != nil {
				return fmt.Errorf("traffic.csv.gz: %w", err)
			}
		}
		w.rows.values = append(w.rows.values, values)
		// Each payment gets a customer of its own, so that the share of requests is the share of customers.
		w.rows.customers = append(w.rows.customers, fmt.Sprintf("customer-%04d", len(w.rows.customers)+1))
	}
}

// configure writes serin.yaml and a plan for each model.
func (w *world) configure() error {
	free, err := freeAddresses(2)
	if err != nil {
		return err
	}
	w.api, w.gateway = "http://"+free[0], "http://"+free[1]
	yaml := fmt.Sprintf(`server: {listen: %q}
gateway: {listen: 127.0.0.1:0}
gateways: [%q]
models:
  %s: {plan: plans/%s.yaml, routing_file: config/%s.json}
  %s: {plan: plans/%s.yaml, routing_file: config/%s.json}
  %s:
    plan: plans/%s.yaml
    routing_file: config/%s.json
    backend: {urls: [%q, %q]}
    identity: {path: /health, field: model_version}
`, free[0], w.gateway, cards, cards, cards, restart, restart, restart, service, service, service, w.slotURLs[0], w.slotURLs[1])
	if err := os.MkdirAll(w.path("plans"), 0o750); err != nil {
		return err
	}
	for _, name := range []string{cards, service, restart} {
		if err := os.WriteFile(w.path("plans", name+".yaml"), []byte(plan(name)), 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(w.path("serin.yaml"), []byte(yaml), 0o600)
}

// plan is the default plan with its times compressed, and limits that fit the data.
func plan(name string) string {
	return fmt.Sprintf(`apiVersion: serin/v1
kind: ModelRollout
metadata: {name: %s}
spec:
  offlineGate:
    data: ../creditcard/holdout.parquet
    label: is_fraud
    criteria: {recall: 0.75, fpr: 0.02, latencyP95: 100ms, f1Ratio: 1.01}
  strategy:
    canary:
      steps:
        - setWeight: 5
        - pause: {duration: %s}
        - setWeight: 25
        - pause: {duration: %s}
        - setWeight: 100
      watch: {duration: %s, onFail: undo}
  analysis: {mode: threshold, tick: %s}
  hold: {max: %s, then: rollback}
  notifications: [log]
`, name, 30*time.Minute/bakeFactor, time.Hour/bakeFactor, 30*time.Minute/bakeFactor, 15*time.Second/tickFactor, 2*time.Hour/bakeFactor)
}
