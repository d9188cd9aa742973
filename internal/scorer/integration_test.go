//go:build integration

package scorer

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serveModel runs MLflow's own scoring server (SERIN_MLFLOW is the mlflow program, see scripts/peers) on a model folder and gives its URL.
func serveModel(t *testing.T, dir string) string {
	t.Helper()
	mlflow := os.Getenv("SERIN_MLFLOW")
	if mlflow == "" {
		t.Fatal(`SERIN_MLFLOW is not set: eval "$(scripts/peers env)"`)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), 3*time.Minute)
	command := exec.CommandContext(ctx, mlflow, "models", "serve", "-m", path, "-h", "127.0.0.1", "-p", port, "--env-manager", "local", "--workers", "1")
	command.Env = append(os.Environ(), "PATH="+filepath.Dir(mlflow)+":"+os.Getenv("PATH"), "MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true", "OMP_NUM_THREADS=1")
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 20 * time.Second
	var output strings.Builder
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		command.Wait()
		if t.Failed() {
			t.Log(output.String())
		}
	})
	waitForPing(t, ctx, "http://"+address)
	return "http://" + address
}

func waitForPing(t *testing.T, ctx context.Context, url string) {
	t.Helper()
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		if response, err := http.Get(url + "/ping"); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the scoring server at %s did not start", url)
		case <-ticker.C:
		}
	}
}

// TestMLflowServer scores the holdout through MLflow's server, which answers the labels behind our probabilities, and holds which payloads it takes
// against which we take.
func TestMLflowServer(t *testing.T) {
	url := serveModel(t, demo+"champion")
	native := openPath(t, demo+"champion")
	f, err := FrameOf(holdout(t), native.Info())
	if err != nil {
		t.Fatal(err)
	}
	ours, err := native.Score(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := openURL(t, Options{}, url).Score(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range ours.Values {
		if label := theirs.Values[i]; (x > 0.5) != (label == 1) || label != 0 && label != 1 {
			t.Fatalf("row %d: probability %v, MLflow's label %v", i+1, x, label)
		}
	}
	comparePayloads(t, url, NewPayloadScorer(native))
}

func comparePayloads(t *testing.T, url string, p *PayloadScorer) {
	t.Helper()
	row := strings.TrimSuffix(strings.Repeat("0,", 29), ",")
	split := string(demoBody(t, formSplit, 2))
	before, rows, _ := strings.Cut(split, "[[")
	_, after, _ := strings.Cut(rows, ",")
	null := before + "[[null," + after
	bodies := []struct{ name, contentType, body string }{
		{"split", "application/json", split},
		{"split with params", "application/json; charset=utf-8", strings.Replace(split, "{", `{"params":{},`, 1)},
		{"records with an extra column of text", "application/json", string(demoBody(t, formRecords, 2))},
		{"records with a gap", "application/json", strings.Replace(string(demoBody(t, formRecords, 2)), `"V3":`, `"V3x":`, 1)},
		{"instances as rows", "application/json", `{"instances":[[` + row + `]]}`},
		{"inputs as rows", "application/json", `{"inputs":[[` + row + `]]}`},
		{"null", "application/json", null},
		{"unknown members", "application/json", strings.Replace(split, "{", `{"x":1,`, 1)},
		{"missing column", "application/json", strings.ReplaceAll(split, `"V3"`, `"V3x"`)},
		{"two forms", "application/json", strings.Replace(split, "{", `{"instances":[[1]],`, 1)},
		{"no form", "application/json", `{"rows":[]}`},
		{"not an object", "application/json", `[1]`},
		{"not JSON", "application/json", `{"instances":`},
		{"text where a number belongs", "application/json", `{"dataframe_records":[` + strings.Replace(string(demoBody(t, formRecords, 1)[22:]), `"V1":`, `"V1":"x","Z":`, 1)},
		{"content type", "text/plain", split},
	}
	// Wider than MLflow on purpose: rows without names. MLflow refuses them for a model whose signature has names; here they are bound by position.
	wider := map[string]bool{"instances as rows": true, "inputs as rows": true}
	for _, tt := range bodies {
		response, err := http.Post(url+"/invocations", tt.contentType, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(response.Body)
		response.Body.Close()
		status := http.StatusOK
		if _, err := p.ScorePayload(context.Background(), tt.contentType, []byte(tt.body), nil); err != nil {
			var input *InputError
			if !errors.As(err, &input) {
				t.Fatalf("%s: %v", tt.name, err)
			}
			status = input.Status()
		}
		want := response.StatusCode
		if wider[tt.name] {
			if want != http.StatusBadRequest {
				t.Errorf("%s: MLflow answers %d, no longer 400: it is not wider here any more", tt.name, want)
			}
			want = http.StatusOK
		}
		if status != want {
			t.Errorf("%s: MLflow answers %d, we %d: %s", tt.name, response.StatusCode, status, serverMessage(answer))
		}
	}
}
