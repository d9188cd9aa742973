package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"serin/internal/strictyaml"
)

// maxSecret is far above any address or token.
const maxSecret = 64 << 10

// hidden is what every way of printing a secret gives.
const hidden = "(hidden)"

// Secret is a value that must not be seen. Printing it in any way gives "(hidden)".
type Secret struct {
	value string
	// from says where it is: "environment NAME", "file PATH" or "literal".
	from string
	// missing says why there is no value.
	missing string
}

// Value gives the secret itself. The error names the variable or file that does not hold it.
func (s Secret) Value() (string, error) {
	switch {
	case s.missing != "":
		return "", errors.New(s.missing)
	case s.value == "":
		return "", errors.New("no secret is configured")
	}
	return s.value, nil
}

// From says where the secret is kept, such as "environment SLACK_WEBHOOK_URL".
func (s Secret) From() string { return s.from }

// String hides the secret.
func (s Secret) String() string { return hidden }

// GoString hides the secret.
func (s Secret) GoString() string { return hidden }

// MarshalJSON hides the secret.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(hidden) }

// LogValue hides the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// secret reads {env: NAME}, {file: PATH}, or a literal, which is a warning. What is not there now is no fault of the file: it is an error where it is needed.
func (l *loader) secret(v strictyaml.Value) (Secret, bool) {
	if !v.IsMapping() {
		text, ok := v.Text()
		if ok {
			v.Warnf("the secret stands in the file: write {env: NAME} or {file: PATH}")
		}
		return Secret{value: text, from: "literal"}, ok
	}
	var env, file string
	obj := v.Fields(strictyaml.Fields{
		"env":  strictyaml.Set(&env, strictyaml.Value.Text),
		"file": strictyaml.Set(&file, strictyaml.Value.Text),
	})
	if obj.Has("env") == obj.Has("file") {
		v.Faultf("a secret has one place: write {env: NAME} or {file: PATH}")
		return Secret{}, false
	}
	var s Secret
	switch {
	case env != "":
		s = Secret{value: strings.TrimSpace(l.env(env)), from: "environment " + env}
		if s.value == "" {
			s.missing = fmt.Sprintf("environment variable %s is not set", env)
		}
	case file != "":
		s = fileSecret(l.beside(file))
	default:
		return Secret{}, false // its fault is recorded
	}
	if s.missing != "" {
		v.Warnf("%s", s.missing)
	}
	return s, true
}

// fileSecret reads the first maxSecret bytes, without the line end that editors add.
func fileSecret(path string) Secret {
	s := Secret{from: "file " + path}
	f, err := os.Open(path)
	if err != nil {
		s.missing = fmt.Sprintf("secret: %v", err)
		return s
	}
	defer f.Close() //nolint:errcheck // only read from
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	s.value = strings.TrimSpace(string(data))
	switch {
	case err != nil:
		s.missing = fmt.Sprintf("secret: %v", err)
	case len(data) > maxSecret:
		s.missing = fmt.Sprintf("secret file %s has more than %d bytes: put one secret into it", path, maxSecret)
	case s.value == "":
		s.missing = fmt.Sprintf("secret file %s is empty: put the secret into it", path)
	}
	if s.missing != "" {
		s.value = ""
	}
	return s
}
