//go:build integration

package mlflow_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"serin/internal/mlflow"
	"serin/internal/model"
)

// startMLflow starts the server of SERIN_MLFLOW, the path of an mlflow executable of version 3.18, on a free port and stops it at the end.
func startMLflow(t *testing.T) string {
	t.Helper()
	program := os.Getenv("SERIN_MLFLOW")
	if program == "" {
		t.Fatal("SERIN_MLFLOW is not set: give the path of the mlflow 3.18 executable (scripts/peers installs one)")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "server", "--host", "127.0.0.1", "--port", port, "--workers", "1", "--serve-artifacts",
		"--backend-store-uri", "sqlite:///"+filepath.Join(dir, "mlflow.db"), "--artifacts-destination", filepath.Join(dir, "artifacts"))
	cmd.Env = append(os.Environ(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false", "MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Error(err)
		}
		<-ended // a stop by SIGTERM is an error to Wait
		if t.Failed() {
			if text, err := os.ReadFile(log.Name()); err == nil {
				t.Logf("server log:\n%s", text[max(0, len(text)-4000):])
			}
		}
	})
	waitReady(t, "http://"+address, ended)
	return "http://" + address
}

func waitReady(t *testing.T, uri string, ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri+"/api/2.0/mlflow/registered-models/search?max_results=1", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case err := <-ended:
			t.Fatalf("mlflow ended before it was ready: %v", err)
		case <-ctx.Done():
			t.Fatal("mlflow was not ready in 3 minutes")
		case <-tick.C:
		}
	}
}

// TestConformanceRealMLflow runs the suite of the embedded registry against the real server, and what only that has.
func TestConformanceRealMLflow(t *testing.T) {
	tg := target{uri: startMLflow(t)}
	t.Run("suite", func(t *testing.T) { conformance(t, tg) })
	t.Run("crash anywhere", func(t *testing.T) { suiteCrash(t, tg) })
	t.Run("host check", func(t *testing.T) { realHostCheck(t, tg) })
	t.Run("run and logged model addresses", func(t *testing.T) { realAddresses(t, tg) })
	t.Run("four promotions at once", func(t *testing.T) { realRace(t, tg) })
}

func realHostCheck(t *testing.T, tg target) {
	t.Helper()
	c := tg.newClient(t, func(o *mlflow.Options) { o.HTTP = hostNamed("mlflow.example:5000") })
	_, err := c.ListModels(t.Context())
	if !errors.Is(err, mlflow.ErrHostRejected) {
		t.Errorf("a foreign host name: %v", err)
	}
}

type hostNamed string

func (h hostNamed) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host = string(h)
	return http.DefaultTransport.RoundTrip(r)
}

// realAddresses fetches one registered model by copies of it, whose sources are other versions.
func realAddresses(t *testing.T, tg target) {
	t.Helper()
	c := tg.newClient(t)
	name := newModel(t, c, 0)
	dir, digest := writeFiles(t, modelFiles())
	if _, err := c.Register(t.Context(), mlflow.RegisterParams{Name: name, Path: dir}); err != nil {
		t.Fatal(err)
	}
	v, err := c.CreateVersion(t.Context(), mlflow.CreateVersionParams{Name: name, Source: "models:/" + name + "/1"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Fetch(t.Context(), model.Ref{Kind: model.RefVersion, Name: name, Version: v.Version})
	if err != nil || got.Pin.Digest != digest {
		t.Errorf("a copy of version 1: %+v, %v; want digest %s", got, err, digest)
	}
	partial := tg.newClient(t, func(o *mlflow.Options) { o.HTTP = withoutProxy{} })
	got, err = partial.Fetch(t.Context(), model.Ref{Kind: model.RefVersion, Name: name, Version: "1"})
	if err != nil || !got.Partial || len(got.Files) != 3 {
		t.Errorf("through get-artifact: %+v, %v; want MLmodel, model and example", got, err)
	}
}

// withoutProxy answers an address of a store that cannot be listed, so that the files come through the server.
type withoutProxy struct{}

func (withoutProxy) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/api/2.0/mlflow/model-versions/get-download-uri" {
		return answer(r, http.StatusOK, `{"artifact_uri": "s3://bucket/model"}`), nil
	}
	return http.DefaultTransport.RoundTrip(r)
}

// realRace: MLflow lets several versions into Production at once; Promote has to leave exactly one, ours.
func realRace(t *testing.T, tg target) {
	t.Helper()
	c := tg.newClient(t)
	name := newModel(t, c, 6)
	stage(t, c, name, "1", model.StageProduction)
	failures := make(chan error, 4)
	for i := range 4 {
		go func() {
			_, err := c.Transition(t.Context(), mlflow.TransitionParams{Model: name, Version: fmt.Sprint(i + 2), To: model.StageProduction, ArchiveOthers: true})
			failures <- err
		}()
	}
	for range 4 {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
	snap, err := c.Snapshot(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	champion, _ := snap.Champion()
	t.Logf("after four at once: %d versions in Production", len(snap.Stages[model.StageProduction]))
	if _, err := c.Promote(t.Context(), mlflow.PromoteParams{Model: name, From: champion.Version, To: "6", Mode: mlflow.ModeBoth, Rollout: "r1"}); err != nil {
		t.Fatal(err)
	}
	if got := stateOf(t, c, name).Stages["Production"]; len(got) != 1 || got[0] != "6" {
		t.Errorf("Production after the promotion: %v", got)
	}
}
