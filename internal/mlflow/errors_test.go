package mlflow_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"serin/internal/mlflow"
)

// scripted answers the calls in turn with what the script says; past its end it repeats the last entry.
type scripted struct {
	script []scriptedAnswer
	calls  []string
	times  []time.Time
}

type scriptedAnswer struct {
	status int // 0: the connection breaks
	body   string
	header http.Header
}

func (s *scripted) RoundTrip(r *http.Request) (*http.Response, error) {
	a := s.script[min(len(s.calls), len(s.script)-1)]
	s.calls, s.times = append(s.calls, r.Method+" "+r.URL.Path), append(s.times, time.Now())
	if a.status == 0 {
		return nil, errCut
	}
	resp := answer(r, a.status, a.body)
	for k, v := range a.header {
		resp.Header[k] = v
	}
	return resp, nil
}

func newScripted(t *testing.T, script ...scriptedAnswer) (*mlflow.Client, *scripted) {
	t.Helper()
	s := &scripted{script: script}
	return target{uri: "http://mlflow.example:5000/prefix", http: s}.newClient(t), s
}

func TestAnswersBecomeErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		answer scriptedAnswer
		want   error
		text   string
	}{
		{
			"MLflow's 404",
			scriptedAnswer{404, `{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"Model Version (name=x, version=9) not found"}`, nil},
			mlflow.ErrNotFound, "Model Version (name=x, version=9) not found",
		},
		{"exists", scriptedAnswer{400, `{"error_code":"RESOURCE_ALREADY_EXISTS","message":"Registered Model (name=x) already exists."}`, nil}, mlflow.ErrAlreadyExists, "already exists"},
		{"invalid", scriptedAnswer{400, `{"error_code":"INVALID_PARAMETER_VALUE","message":"bad\nthing"}`, nil}, mlflow.ErrInvalid, "bad thing"},
		{"conflict", scriptedAnswer{409, `{"error_code":"RESOURCE_CONFLICT","message":"in use"}`, nil}, mlflow.ErrConflict, "in use"},
		{"unknown code", scriptedAnswer{404, `{"error_code":"SOMETHING_NEW","message":"m"}`, nil}, mlflow.ErrEndpointGone, "SOMETHING_NEW"},
		{"host check", scriptedAnswer{403, "Invalid Host header - possible DNS rebinding attack detected", nil}, mlflow.ErrHostRejected, `--allowed-hosts or MLFLOW_SERVER_ALLOWED_HOSTS that has "mlflow.example:5000"`},
		{"cross origin", scriptedAnswer{403, "Cross-origin request blocked", nil}, mlflow.ErrForbidden, "Origin header"},
		{"no permission", scriptedAnswer{403, "Permission denied", nil}, mlflow.ErrForbidden, "needs EDIT on the model"},
		{
			"basic auth",
			scriptedAnswer{401, "<html>You are not authenticated</html>", http.Header{"Www-Authenticate": {`Basic realm="mlflow"`}}},
			mlflow.ErrUnauthorized, `asks for Basic realm="mlflow"; set MLFLOW_TRACKING_USERNAME`,
		},
		{"login page by redirect", scriptedAnswer{302, "<html>login</html>", http.Header{"Location": {"https://sso.example/"}}}, mlflow.ErrUnauthorized, "login page"},
		{"HTML 404", scriptedAnswer{404, "<!doctype html><title>404 Not Found</title>", nil}, mlflow.ErrEndpointGone, "an HTML page answered; is MLFLOW_TRACKING_URI an MLflow server"},
		{"method not allowed", scriptedAnswer{405, "<html>", nil}, mlflow.ErrEndpointGone, "HTTP 405"},
		{"artifacts disabled", scriptedAnswer{503, "Endpoint: /api disabled due to the mlflow server running with `--no-serve-artifacts`.", nil}, mlflow.ErrEndpointGone, "start it with --serve-artifacts"},
		{"HTML 200", scriptedAnswer{200, "<html>MLflow</html>", nil}, mlflow.ErrNotMLflow, "an HTML page answered"},
		{"text 200", scriptedAnswer{200, "hello", nil}, mlflow.ErrNotMLflow, "hello"},
		{"another JSON", scriptedAnswer{200, `{"status":"ok"}`, nil}, mlflow.ErrNotMLflow, "no registered_model"},
		{"a version that is no number", scriptedAnswer{200, `{"registered_model":{"name":"x"},"model_versions":[{"name":"x","version":"1a"}]}`, nil}, mlflow.ErrNotMLflow, `version "1a"`},
		{"an unknown stage", scriptedAnswer{200, `{"registered_model":{"name":"x"},"model_versions":[{"name":"x","version":1,"current_stage":"Live"}]}`, nil}, mlflow.ErrNotMLflow, `unknown stage "Live"`},
		{"teapot", scriptedAnswer{418, "no", nil}, mlflow.ErrNotMLflow, "HTTP 418"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, s := newScripted(t, tt.answer)
			_, err := c.Snapshot(t.Context(), "x")
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v; want %v with %q", err, tt.want, tt.text)
			}
			if strings.ContainsAny(fmt.Sprint(err), "\n\r") {
				t.Errorf("error of more than one line: %q", err)
			}
			if len(s.calls) > 2 {
				t.Errorf("%d calls: such an answer is not to be repeated", len(s.calls))
			}
		})
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	busy, broken, inner := scriptedAnswer{status: 503, body: "busy"}, scriptedAnswer{}, scriptedAnswer{status: 500, body: "oops"}
	fine := scriptedAnswer{status: 200, body: `{"model_version":{"name":"x","version":"1","current_stage":"Staging"}}`}
	move := func(ctx context.Context, c *mlflow.Client) error {
		_, err := c.Transition(ctx, mlflow.TransitionParams{Model: "x", Version: "1", To: "Staging"})
		return err
	}
	create := func(ctx context.Context, c *mlflow.Client) error {
		_, err := c.CreateVersion(ctx, mlflow.CreateVersionParams{Name: "x", Source: "s3://b/k"})
		return err
	}
	tests := []struct {
		name   string
		script []scriptedAnswer
		do     func(context.Context, *mlflow.Client) error
		calls  int
		fails  bool
	}{
		{"a move after busy, broken and 500", []scriptedAnswer{busy, broken, inner, fine}, move, 4, false},
		{"a move gives up", []scriptedAnswer{busy}, move, 5, true},
		{"a move is not repeated after 400", []scriptedAnswer{{status: 400, body: "no"}}, move, 1, true},
		{"a creation after 429 and 503", []scriptedAnswer{{status: 429, body: "slow"}, busy, fine}, create, 3, false},
		{"a creation is not repeated after a broken connection", []scriptedAnswer{broken, fine}, create, 1, true},
		{"a creation is not repeated after 500", []scriptedAnswer{inner, fine}, create, 1, true},
		{"a creation is not repeated after 502", []scriptedAnswer{{status: 502, body: "bad gateway"}, fine}, create, 1, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, s := newScripted(t, tt.script...)
				err := tt.do(t.Context(), c)
				if len(s.calls) != tt.calls || (err != nil) != tt.fails {
					t.Errorf("%d calls, %v; want %d, failing %v", len(s.calls), err, tt.calls, tt.fails)
				}
				for i := 1; i < len(s.times); i++ {
					if wait := s.times[i].Sub(s.times[i-1]); wait < 125*time.Millisecond || wait > 8*time.Second {
						t.Errorf("waited %v before call %d", wait, i+1)
					}
				}
			})
		})
	}
}

func TestRetryAfterAndDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		later := func(s string) scriptedAnswer {
			return scriptedAnswer{status: 429, body: "slow", header: http.Header{"Retry-After": {s}}}
		}
		c, s := newScripted(t, later("20"), later(time.Now().Add(50*time.Second).UTC().Format(http.TimeFormat)), later("99999999999999999999"), later("7200"),
			scriptedAnswer{status: 200, body: `{"artifact_uri":"s3://b/k"}`})
		if _, err := c.DownloadURI(t.Context(), "x", "1"); err != nil {
			t.Fatal(err)
		}
		if first, second := s.times[1].Sub(s.times[0]), s.times[2].Sub(s.times[1]); first != 20*time.Second || second < 25*time.Second {
			t.Errorf("waited %v and %v, want what Retry-After said", first, second)
		}
		if wait := s.times[4].Sub(s.times[3]); wait != time.Minute {
			t.Errorf("waited %v: Retry-After is bounded by a minute", wait)
		}

		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		c, s = newScripted(t, later("20"))
		if _, err := c.DownloadURI(ctx, "x", "1"); !errors.Is(err, mlflow.ErrUnavailable) || len(s.calls) != 1 || time.Since(start) != 0 {
			t.Errorf("%v after %v and %d calls: a wait past the deadline is not begun", err, time.Since(start), len(s.calls))
		}
	})
}

func TestCanceledCallEndsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c, s := newScripted(t, scriptedAnswer{status: 503, body: "busy"})
		time.AfterFunc(50*time.Millisecond, cancel)
		start := time.Now()
		if _, err := c.DownloadURI(ctx, "x", "1"); err == nil || time.Since(start) != 50*time.Millisecond || len(s.calls) != 1 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestHangingServerIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := roundTripFunc(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		c := target{uri: "http://h", http: hang}.newClient(t, func(o *mlflow.Options) { o.Attempts = 2 })
		start := time.Now()
		_, err := c.DownloadURI(t.Context(), "x", "1")
		if !errors.Is(err, mlflow.ErrUnavailable) || time.Since(start) < time.Minute || time.Since(start) > 70*time.Second {
			t.Errorf("%v after %v; want two tries of 30 s", err, time.Since(start))
		}
	})
}

func TestTrackingURI(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]string{
		"":                      "set MLFLOW_TRACKING_URI",
		"databricks":            "Databricks registry",
		"databricks-uc://prof":  "Databricks registry",
		"sqlite:///mlflow.db":   "mlflow server --backend-store-uri",
		"./mlruns":              "mlflow server --backend-store-uri",
		"file:///srv/mlruns":    "mlflow server --backend-store-uri",
		"http://":               "has no host",
		"http://h/?a=b":         "query or a fragment",
		"http://u:secret@\x7f/": "not a URL",
		"ftp://u:secret@h/":     "xxxxx@h",
	} {
		_, err := mlflow.New(mlflow.Options{TrackingURI: uri})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("New(%q): %v; want %q", uri, err, want)
		}
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		uri    string
		change func(*mlflow.Options)
		want   string
	}{
		{"none", "http://h", func(*mlflow.Options) {}, ""},
		{"token", "http://h", func(o *mlflow.Options) { o.Token = "tok" }, "Bearer tok"},
		{"user wins over token", "http://h", func(o *mlflow.Options) { o.Token, o.Username, o.Password = "tok", "u", "p" }, "Basic dTpw"},
		{"in the address", "http://u:p@h", func(*mlflow.Options) {}, "Basic dTpw"},
	} {
		var got, url string
		rt := roundTripFunc(func(r *http.Request) (*http.Response, error) {
			got, url = r.Header.Get("Authorization"), r.URL.String()
			return answer(r, 200, `{"artifact_uri":"s3://b/k"}`), nil
		})
		c := target{uri: tt.uri, http: rt}.newClient(t, tt.change)
		if _, err := c.DownloadURI(t.Context(), "a b", "1"); err != nil || got != tt.want {
			t.Errorf("%s: Authorization %q, %v; want %q", tt.name, got, err, tt.want)
		}
		if strings.Contains(url, "u:p") || !strings.HasSuffix(url, "?name=a+b&version=1") || strings.Contains(c.URL(), "u:p") {
			t.Errorf("%s: called %q as %q", tt.name, url, c.URL())
		}
	}
}

func TestDeleteHasABody(t *testing.T) {
	t.Parallel()
	rt := roundTripFunc(func(r *http.Request) (*http.Response, error) {
		body := make([]byte, 200)
		n, _ := r.Body.Read(body)
		if r.URL.RawQuery != "" || string(body[:n]) != `{"alias":"a","name":"x"}` || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("DELETE with query %q and body %q", r.URL.RawQuery, body[:n])
		}
		return answer(r, 200, "{}"), nil
	})
	if err := (target{uri: "http://h", http: rt}).newClient(t).DeleteAlias(t.Context(), mlflow.AliasParams{Model: "x", Alias: "a"}); err != nil {
		t.Error(err)
	}
}

func TestBothDegradesToAliasesWithoutStages(t *testing.T) {
	t.Parallel()
	next := mlflow.InProcess(embedded(t))
	plain := target{uri: "http://localhost", http: next}
	for _, gone := range []scriptedAnswer{
		{404, "<html>Not Found</html>", nil},
		{404, `{"error_code":"ENDPOINT_NOT_FOUND","message":"no stages"}`, nil},
		{501, `{"error_code":"NOT_IMPLEMENTED","message":"no stages"}`, nil},
		{400, `{"error_code":"FEATURE_DISABLED","message":"no stages"}`, nil},
	} {
		c := plain.newClient(t, func(o *mlflow.Options) {
			o.HTTP = roundTripFunc(func(r *http.Request) (*http.Response, error) {
				if strings.HasSuffix(r.URL.Path, "/transition-stage") {
					return answer(r, gone.status, gone.body), nil
				}
				return next.RoundTrip(r)
			})
		})
		name := newModel(t, c, 2)
		if err := c.SetAlias(t.Context(), mlflow.AliasParams{Model: name, Alias: "champion", Version: "1"}); err != nil {
			t.Fatal(err)
		}
		_, err := c.Promote(t.Context(), promote12(name, mlflow.ModeStages))
		if err == nil {
			t.Error("mode stages succeeded without stages")
		}
		did, err := c.Promote(t.Context(), promote12(name, mlflow.ModeBoth))
		if err != nil || did.Mode != mlflow.ModeAliases {
			t.Fatalf("mode both: %+v, %v", did, err)
		}
		if got := stateOf(t, c, name); got.Aliases["champion"] != "2" || got.Aliases["previous-champion"] != "1" || got.Tags["2"]["serin.outcome"] != "promoted" {
			t.Errorf("state %+v", got)
		}
	}
}
