package scorer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/compare"
	"serin/internal/forest"
	"serin/internal/model"
)

// answers is a transport that gives the next of its bodies with status 200, the last one again and again.
func answers(bodies ...string) transportFunc {
	var n atomic.Int64
	return func(r *http.Request) (*http.Response, error) {
		i := min(int(n.Add(1)), len(bodies)) - 1
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(bodies[i])), Request: r}, nil
	}
}

func predictions(one string, n int) string {
	return `{"predictions":[` + strings.Repeat(one+",", n-1) + one + `]}`
}

// TestURLErrorsKeepSecrets opens URLs that are wrong and hold a password.
func TestURLErrorsKeepSecrets(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"http://user:secret@h:port/x":     "the model URL cannot be read: invalid port \":port\" after host: write http://HOST/invocations",
		"http://user:secret@/invocations": "model URL \"http://user:xxxxx@/invocations\" has no host: write http://HOST/invocations",
		"http://user:secret@h/%zz":        "the model URL cannot be read: invalid URL escape \"%zz\": write http://HOST/invocations",
	} {
		sc, err := NewOpener(Options{}).Open(context.Background(), model.Ref{Kind: model.RefURL, Location: location})
		if err == nil || sc != nil || err.Error() != want {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	info := openURL(t, Options{}, "http://user:secret@h/x").Info()
	if text := fmt.Sprintf("%+v", info); strings.Contains(text, "secret") || info.Ref != "http://user:xxxxx@h/x" {
		t.Errorf("info %s", text)
	}
}

// TestAnswersThatChange holds that batches of different widths are no scores, and that the batches stand in order.
func TestAnswersThatChange(t *testing.T) {
	t.Parallel()
	f := Frame{Values: make([]float64, 2*remoteBatch), N: 2 * remoteBatch}
	open := func(bodies ...string) Scorer {
		return openURL(t, Options{HTTP: &http.Client{Transport: answers(bodies...)}}, "http://model/x")
	}
	scores, err := open(predictions("0.25", remoteBatch), predictions("0.75", remoteBatch)).Score(context.Background(), f)
	if err != nil || len(scores.Values) != f.N || scores.Values[remoteBatch-1] != 0.25 || scores.Values[remoteBatch] != 0.75 {
		t.Errorf("%d scores, %v", len(scores.Values), err)
	}
	_, err = open(predictions("1", remoteBatch), predictions("[0,1]", remoteBatch)).Score(context.Background(), f)
	var fault *RemoteError
	if !errors.As(err, &fault) || fault.Retryable || err.Error() != "score at http://model/x: 1 numbers a row, then 2" {
		t.Errorf("widths 1 and 2: %v", err)
	}
	_, err = open(predictions("1", remoteBatch), predictions("1", remoteBatch+1)).Score(context.Background(), f)
	if !errors.As(err, &fault) || fault.Retryable || err.Error() != "score at http://model/x: HTTP 200: 501 predictions for 500 rows" {
		t.Errorf("one prediction more: %v", err)
	}
}

// TestRowsAreNamedInTheFrame holds that a bad value is named by its row of the frame, not of the request that it was to go in.
func TestRowsAreNamedInTheFrame(t *testing.T) {
	t.Parallel()
	sc := openURL(t, Options{HTTP: &http.Client{Transport: answers(predictions("1", remoteBatch))}}, "http://model/x")
	f := Frame{Columns: []string{"a", "b"}, Values: make([]float64, 2*(remoteBatch+5)), N: remoteBatch + 5}
	f.Values[2*(remoteBatch+3)+1] = math.Inf(-1)
	_, err := sc.Score(context.Background(), f)
	var input *InputError
	if want := fmt.Sprintf("row %d, column \"b\": -Inf cannot be scored", remoteBatch+4); !errors.As(err, &input) || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
	text, err := DecodePayload("application/json", []byte(`{"instances":[[1,2],[3,"x"]]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sc.Score(context.Background(), text); !errors.As(err, &input) || err.Error() != "row 2, column 2: a string is not a number" {
		t.Errorf("text for a server: %v", err)
	}
	if _, err := sc.Score(context.Background(), Frame{N: 2, Values: make([]float64, 3)}); !errors.As(err, &input) {
		t.Errorf("a frame that is none: %v", err)
	}
}

// endless is a body without an end; it counts what is read of it.
type endless struct{ read *atomic.Int64 }

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	e.read.Add(int64(len(p)))
	return len(p), nil
}

func (e endless) Close() error { return nil }

// TestEndlessAnswer holds that no more of an answer is read than its limit.
func TestEndlessAnswer(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 500} {
		var read atomic.Int64
		transport := transportFunc(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Body: endless{&read}, Request: r}, nil
		})
		sc := openURL(t, Options{HTTP: &http.Client{Transport: transport}}, "http://model/x")
		_, err := sc.Score(context.Background(), Frame{Values: []float64{1}, N: 1})
		if want := fmt.Sprintf("score at http://model/x: HTTP %d: an answer of more than 16777216 bytes", status); err == nil || err.Error() != want {
			t.Errorf("error %v, want %q", err, want)
		}
		if read.Load() > maxAnswer+1 {
			t.Errorf("%d bytes read, the limit is %d", read.Load(), maxAnswer)
		}
	}
}

// TestBrokenAnswer holds that an answer which stops in the middle is asked for again.
func TestBrokenAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		transport := transportFunc(func(r *http.Request) (*http.Response, error) {
			attempts++
			body := io.MultiReader(strings.NewReader(`{"predictions":`), readerFunc(func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }))
			if attempts == 2 {
				body = strings.NewReader(`{"predictions":[0.5]}`)
			}
			return &http.Response{StatusCode: 200, Body: io.NopCloser(body), Request: r}, nil
		})
		sc := openURL(t, Options{HTTP: &http.Client{Transport: transport}}, "http://model/x")
		begin := time.Now()
		scores, err := sc.Score(context.Background(), Frame{Values: []float64{1}, N: 1})
		if err != nil || attempts != 2 || !slices.Equal(scores.Values, []float32{0.5}) || time.Since(begin) != firstPause {
			t.Errorf("%d attempts in %v: %v, %v", attempts, time.Since(begin), scores, err)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestServerMessage(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"":                                 "no message",
		" ":                                "no message",
		"\x00\x1b":                         "no message",
		"{}":                               "{}",
		`{"message":"m"}`:                  "m",
		`{"error_code":"C"}`:               "C",
		`{"detail":"gone"}`:                `"gone"`,
		`{"message":7}`:                    `{"message":7}`,
		"\x1b[31mred\x1b[0m\x07":           "[31mred[0m",
		"a\u0085b\vc\fd":                   "a b c d",
		"caf\xe9":                          "caf?",
		`{"message":"a\u001b[2Jb\u0000c"}`: "a[2Jbc",
		strings.Repeat("z", 300):           strings.Repeat("z", 300),
		strings.Repeat("z", 301):           strings.Repeat("z", 300) + "...",
	} {
		if got := serverMessage([]byte(body)); got != want {
			t.Errorf("%.40q is shown as %q, want %q", body, got, want)
		}
	}
}

// TestRemoteConcurrently scores over one scorer from many goroutines, each with its own rows.
func TestRemoteConcurrently(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		f, decodeErr := DecodePayload(r.Header.Get("Content-Type"), body)
		if err != nil || decodeErr != nil {
			http.Error(w, "bad", http.StatusBadRequest)
			return
		}
		s := Scores{Width: 1}
		for _, x := range f.Values {
			s.Values = append(s.Values, float32(x))
		}
		w.Write(AppendPredictions(nil, s))
	}))
	defer server.Close()
	p := NewPayloadScorer(openURL(t, Options{}, server.URL))
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			body, want := fmt.Sprintf(`{"inputs":[%d,%d]}`, i, i+1), fmt.Sprintf(`{"predictions": [%d, %d]}`, i, i+1)
			for range 10 {
				if out, err := p.ScorePayload(context.Background(), "application/json", []byte(body), nil); err != nil || string(out) != want {
					t.Errorf("%s answers %s, %v", body, out, err)
					return
				}
			}
		})
	}
	group.Wait()
}

// TestGatherDefaults holds how many rows are timed when nobody says, and what a server's numbers are taken for.
func TestGatherDefaults(t *testing.T) {
	t.Parallel()
	g := gatherer{}
	for info, want := range map[string]LatencyParams{"native": {Rows: 1000, Warmup: 100}, "remote": {Rows: 200, Warmup: 20}} {
		if got := g.latency(Info{Native: info == "native"}); got.Rows != want.Rows || got.Warmup != want.Warmup {
			t.Errorf("%s: %d rows after %d", info, got.Rows, got.Warmup)
		}
	}
	g.Latency = LatencyParams{Rows: 40}
	if got := g.latency(Info{}); got.Rows != 40 || got.Warmup != 4 {
		t.Errorf("40 rows: %d after %d", got.Rows, got.Warmup)
	}
	for want, scores := range map[compare.Kind][]float32{compare.Label: {0, 1, 1}, compare.Probability: {0, 1, 0.5}} {
		if got := guessKind(scores); got != want {
			t.Errorf("%v are a %s, want %s", scores, got, want)
		}
	}
	if got := guessKind([]float32{0, float32(math.NaN())}); got != compare.Probability {
		t.Errorf("NaN among labels is a %s, which compare would not refuse as no probability", got)
	}
}

// TestGatherRemoteLabels holds the note on a server whose answers are classes, and that both sides of two columns are judged.
func TestGatherRemoteLabels(t *testing.T) {
	t.Parallel()
	transport := transportFunc(func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		f, err := DecodePayload("application/json", body)
		if err != nil {
			return nil, err
		}
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(predictions("1", f.N))), Request: r}, nil
	})
	p := params(newTable())
	p.Opener = NewOpener(Options{HTTP: &http.Client{Transport: transport}})
	p.Champion, p.Challenger = &Source{Column: "new"}, Source{Ref: urlRef(t, "http://model/x")}
	in, err := Gather(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	notes := strings.Join(in.Challenger.Notes, "; ")
	if in.Challenger.Kind != compare.Label || !strings.HasSuffix(notes, "its answers look like a label") || in.Challenger.Ref != "http://model/x" {
		t.Errorf("kind %s, notes %q", in.Challenger.Kind, notes)
	}
	r, err := compare.Run(in)
	if err != nil || r.Decision != compare.Reject || r.Challenger.FPR != 1 || r.Champion.F1 != 1 {
		t.Errorf("%s, %v: %q", r.Decision, err, r.Reasons)
	}
}

// TestModelFileLimits holds the size limit at its edge, and that what is no file is not read.
func TestModelFileLimits(t *testing.T) {
	t.Parallel()
	path := demo + "champion/model.ubj"
	size := int64(len(modelBytes(t, path)))
	for limit, want := range map[int64]string{size: "", size + 1: "", size - 1: fmt.Sprintf("open %s: model.ubj: %d bytes, the limit is %d", path, size, size-1)} {
		sc, err := NewOpener(Options{MaxModelBytes: limit}).Open(context.Background(), model.Ref{Kind: model.RefPath, Location: path})
		if (err == nil) != (want == "") || (sc == nil) != (err != nil) || err != nil && err.Error() != want {
			t.Errorf("limit %d: %v, want %q", limit, err, want)
		}
	}
	dir := folder(t, map[string]string{"MLmodel": "flavors: {xgboost: {data: model.ubj}}"})
	if err := os.Mkdir(filepath.Join(dir, "model.ubj"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := NewOpener(Options{}).Open(context.Background(), model.Ref{Kind: model.RefPath, Location: dir}); err == nil || err.Error() != "open "+dir+": model.ubj is not a file" {
		t.Errorf("a folder as model file: %v", err)
	}
}

func TestSignatureNames(t *testing.T) {
	t.Parallel()
	columns := func(names ...string) []model.Column {
		var out []model.Column
		for _, name := range names {
			out = append(out, model.Column{Name: name})
		}
		return out
	}
	for _, tt := range []struct {
		signature []model.Column
		features  int
		want      []string
	}{
		{columns("a", "b"), 2, []string{"a", "b"}},
		{columns("a", "b"), 3, nil},
		{columns("a", ""), 2, nil},
		{columns("a", "a"), 2, nil},
		{nil, 2, nil},
	} {
		if diff := cmp.Diff(tt.want, signatureNames(tt.signature, tt.features)); diff != "" {
			t.Errorf("%v of %d (-want +got):\n%s", tt.signature, tt.features, diff)
		}
	}
}

// TestUnknownOutput holds that a word of the forest that is new here is an error, not a guess.
func TestUnknownOutput(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"", "unknown", "quantile"} {
		if kind, err := kindOf(forest.Output(word)); err == nil || kind != Unknown || !strings.Contains(err.Error(), fmt.Sprintf("output %q is not known in this version", word)) {
			t.Errorf("%q is a %s, %v", word, kind, err)
		}
	}
}
