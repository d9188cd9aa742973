package app

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"serin/internal/traffic"
)

const (
	withCanary = `{"canary_enabled": true, "canary_traffic_pct": 25, "canary_model_uri": "models:/cards/Staging", "champion_traffic_pct": 75, "production_model_uri": "models:/cards/Production"}`
	noCanary   = `{"canary_enabled": false, "canary_traffic_pct": 0, "canary_model_uri": "models:/cards/Staging", "champion_traffic_pct": 100, "production_model_uri": "models:/cards/Production"}`
	promoted   = `{"canary_enabled": false, "canary_traffic_pct": 0, "canary_model_uri": "models:/cards/Staging", "champion_traffic_pct": 100, "production_model_uri": "models:/cards/Production", "serin": {"generation": 7, "writer": "serin", "rollout": "r", "task": "deploy_canary_100_percent", "champion": {"version": "2"}}}`
	rolledBack = `{"canary_enabled": false, "canary_traffic_pct": 0, "canary_model_uri": "models:/cards/Staging", "champion_traffic_pct": 100, "production_model_uri": "models:/cards/Production", "rollback_timestamp": "2025-01-20T10:30:00", "serin": {"generation": 8, "writer": "serin", "rollout": "r", "task": "deploy_canary_100_percent", "champion": {"version": "1"}}}`
)

func TestEmergency_WhatTheFileTells(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text                string
		missing, canary, promoted bool
		model                     string
	}{
		{name: "canary", text: withCanary, canary: true, model: "cards"},
		{name: "none", text: noCanary, model: "cards"},
		{name: "promoted", text: promoted, promoted: true, model: "cards"},
		{name: "rolled back", text: rolledBack, model: "cards"},
		{name: "broken", text: `{"canary_enabled": true`, canary: true},
		{name: "no file", missing: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "routing.json")
			if tt.text != "" {
				if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			e, err := OpenEmergency(context.Background(), path)
			if err != nil {
				t.Fatal(err)
			}
			if e.Missing() != tt.missing || e.Canary() != tt.canary || e.Promoted() != tt.promoted || e.Model() != tt.model {
				t.Errorf("missing %t, canary %t, promoted %t, model %q; want %+v", e.Missing(), e.Canary(), e.Promoted(), e.Model(), tt)
			}
		})
	}
}

func TestEmergency_Disable(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"canary": withCanary, "broken": `{"canary_`, "no file": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "config", "routing.json")
			if text != "" {
				if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			e, err := OpenEmergency(context.Background(), path)
			if err != nil {
				t.Fatal(err)
			}
			line, err := e.Disable(context.Background(), "cards", "a test")
			if err != nil || !strings.Contains(line, "the champion has 100 %") {
				t.Fatalf("disable: %q, %v", line, err)
			}
			after, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			doc, err := traffic.ParseDocument(after)
			if err != nil || doc.CanaryEnabled || doc.ChampionPct != 100 || doc.RollbackAt.IsZero() || doc.Control.Writer != "a test" {
				t.Errorf("after it: %+v (%v)", doc, err)
			}
		})
	}
}

// A file without a canary is not touched: neither its bytes nor its generation.
func TestEmergency_DisableWithoutCanary(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"none": noCanary, "promoted": promoted, "rolled back": rolledBack} {
		path := filepath.Join(t.TempDir(), "routing.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		e, err := OpenEmergency(context.Background(), path)
		if err != nil {
			t.Fatal(err)
		}
		if line, err := e.Disable(context.Background(), "cards", "a test"); err != nil || !strings.Contains(line, "has no canary") {
			t.Errorf("%s: %q, %v", name, line, err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != text {
			t.Errorf("%s: the file was changed: %s (%v)", name, after, err)
		}
	}
}

// Where our key stands in a file of its own, a reader would choke on it: it stays there.
func TestEmergency_KeepsTheSidecar(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, side := filepath.Join(dir, "routing.json"), filepath.Join(dir, "routing.serin.json")
	for file, text := range map[string]string{path: withCanary, side: "{}"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e, err := OpenEmergency(context.Background(), path)
	if err != nil && !strings.Contains(err.Error(), "sidecar") {
		t.Fatal(err)
	}
	if _, err := e.Disable(context.Background(), "cards", "a test"); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(after), `"serin"`) || !strings.Contains(string(after), `"canary_enabled": false`) {
		t.Errorf("the file: %s (%v)", after, err)
	}
}
