package xgboost

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"serin/internal/forest"
)

// packs names the fixtures and how many models each version of XGBoost could
// write: a pack that lost some would otherwise pass in silence.
var packs = map[string]int{"1.7.6": 87, "2.1.4": 97, "3.0.5": 96, "3.2.0": 97}

// fixture is one model as testdata/make.py recorded it.
type fixture struct {
	Name          string
	XGBoost       string
	Objective     string
	Rows          int
	Features      int
	Groups        int
	Outputs       int
	BestIteration *int     `json:"best_iteration"`
	FeatureNames  []string `json:"feature_names"`
	FeatureTypes  []string `json:"feature_types"`

	files map[string][]byte
}

// models returns the model files by name: model.ubj, model.json, model.deprecated.
func (f *fixture) models() []string {
	var out []string
	for name := range f.files {
		if strings.HasPrefix(name, "model.") {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// rows returns the recorded float64 inputs as a caller converts them.
func (f *fixture) rows(tb testing.TB) []float32 {
	tb.Helper()
	raw := f.files["rows.f64"]
	out := make([]float32, len(raw)/8)
	for i := range out {
		x, err := forest.RowFloat(math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:])))
		if err != nil {
			tb.Fatal(err)
		}
		out[i] = x
	}
	return out
}

// want returns recorded float32 values.
func (f *fixture) want(name string) []float32 {
	raw := f.files[name+".f32"]
	out := make([]float32, len(raw)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return out
}

// readPack returns the fixtures of a version of XGBoost, in order of name. They
// are read once and shared: nobody may change them.
func readPack(tb testing.TB, version string) []*fixture {
	tb.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.packs[version] == nil {
		shared.packs[version] = unpack(tb, "testdata/xgboost-"+version+".tar.gz")
	}
	return shared.packs[version]
}

// shared holds the packs read so far.
var shared = struct {
	sync.Mutex
	packs map[string][]*fixture
}{packs: map[string][]*fixture{}}

// unpack reads a pack.
func unpack(tb testing.TB, name string) []*fixture {
	tb.Helper()
	file, err := os.Open(name)
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		tb.Fatal(err)
	}
	byName := map[string]*fixture{}
	var out []*fixture
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			tb.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			tb.Fatal(err)
		}
		name := path.Dir(header.Name)
		f := byName[name]
		if f == nil {
			f = &fixture{files: map[string][]byte{}}
			byName[name] = f
			out = append(out, f)
		}
		f.files[path.Base(header.Name)] = data
		if path.Base(header.Name) == "meta.json" {
			d := json.NewDecoder(bytes.NewReader(data))
			d.DisallowUnknownFields()
			if err := d.Decode(f); err != nil {
				tb.Fatalf("%s: %v", header.Name, err)
			}
		}
	}
}

// one returns one fixture.
func one(tb testing.TB, version, name string) *fixture {
	tb.Helper()
	for _, f := range readPack(tb, version) {
		if f.Name == name {
			return f
		}
	}
	tb.Fatalf("no fixture %s in %s", name, version)
	return nil
}

// mustParse parses a file that is good.
func mustParse(tb testing.TB, data []byte) *forest.Model {
	tb.Helper()
	m, err := Parse(data)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}
