//go:build integration

package xgboost

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// freshModels is how many models are trained; each takes about 50 ms.
const freshModels = 60

// Models trained now, with random objectives, shapes and data, score bit for bit as
// the XGBoost that is installed scores them. SERIN_XGBOOST_SEED repeats a run.
func TestIntegration_FreshModelsScoreBitForBit(t *testing.T) {
	python := os.Getenv("SERIN_XGBOOST_PYTHON")
	if python == "" {
		t.Fatal("SERIN_XGBOOST_PYTHON is not set: run scripts/peers xgboost-cpu-3.2, then eval \"$(scripts/peers env)\"")
	}
	seed := strconv.Itoa(rand.IntN(1 << 30))
	if s := os.Getenv("SERIN_XGBOOST_SEED"); s != "" {
		seed = s
	}
	t.Logf("SERIN_XGBOOST_SEED=%s", seed)
	folder := t.TempDir()
	cmd := exec.CommandContext(t.Context(), python, "-W", "ignore", "testdata/fresh.py", folder, seed, strconv.Itoa(freshModels))
	cmd.Env = append(os.Environ(), "OMP_NUM_THREADS=1", "PYTHONDONTWRITEBYTECODE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("testdata/fresh.py with seed %s: %v\n%s", seed, err, out)
	}
	var sum tally
	for _, f := range unpack(t, filepath.Join(folder, "fresh.tar.gz")) {
		sum.models++
		for _, file := range f.models() {
			sum.add(compareFile(t, "seed "+seed, f, file))
		}
	}
	t.Logf("%+v", sum)
	if sum.models != freshModels {
		t.Errorf("%d models, want %d", sum.models, freshModels)
	}
}
