package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"serin/internal/strictyaml"
)

// DefaultFile is read from the working directory when no file is named and it is there.
const DefaultFile = "serin.yaml"

// maxFile is one byte more than strictyaml reads, so that a longer file is refused rather than cut.
const maxFile = 1<<20 + 1

// Overrides are the values of flags; empty means that the flag was not given.
type Overrides struct {
	Data          string // --data
	Server        string // --server
	Model         string // --model
	Plan          string // --plan
	RoutingFile   string // --routing-file
	Listen        string // --listen
	GatewayListen string // --gateway-listen
}

// Load brings flags, environment, file and defaults together; the first that has a value wins. An empty path reads DefaultFile if it is there.
// The error is a *strictyaml.Error with every fault, or says that the file cannot be read. The Config that comes with an error holds what could
// be read: a rollback goes by it rather than not at all.
func Load(path string, env func(string) string, flags Overrides) (Config, error) {
	cfg, faults, err := load(path, env, flags)
	if err != nil {
		return cfg, err
	}
	return cfg, strictyaml.Refusal(faults)
}

// Lint lists every fault and warning: the file's in its order, then those of the environment and the flags.
func Lint(path string, env func(string) string, flags Overrides) ([]strictyaml.Fault, error) {
	_, faults, err := load(path, env, flags)
	return faults, err
}

// loader gathers the configuration source by source.
type loader struct {
	cfg Config
	env func(string) string
	dir string
	// outside are the faults that have no place in the file.
	outside []strictyaml.Fault
	// places is where each model's routing file is named in the file.
	places map[string]strictyaml.Value
}

func load(path string, env func(string) string, flags Overrides) (Config, []strictyaml.Fault, error) {
	l := &loader{cfg: defaults(), env: env, places: map[string]strictyaml.Value{}}
	if env == nil {
		l.env = func(string) string { return "" }
	}
	file, data, err := readFile(path)
	var faults []strictyaml.Fault
	if data != nil {
		l.cfg.File, l.dir = file, filepath.Dir(file)
		faults = l.file(data)
	}
	l.environment(flags)
	l.checkListen()
	return l.cfg, append(faults, l.outside...), err
}

func defaults() Config {
	return Config{
		Server: Server{Listen: "127.0.0.1:8080"}, Gateway: Gateway{Listen: "127.0.0.1:8081"}, Data: "serin-data",
		Notifications: []Channel{{Name: "log", Kind: ChannelLog, On: Events()}},
		sources:       map[string]string{},
	}
}

// readFile gives no data and no error when no file is named and the default one is not there.
func readFile(path string) (name string, data []byte, err error) {
	name = path
	if path == "" {
		name = DefaultFile
	}
	f, err := os.Open(name)
	switch {
	case path == "" && errors.Is(err, fs.ErrNotExist):
		return "", nil, nil
	case err != nil:
		return "", nil, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read from
	data, err = io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return "", nil, fmt.Errorf("configuration %s: %w", name, err)
	}
	return name, data, nil
}

// beside joins a relative path of the file to the file's folder.
func (l *loader) beside(path string) string {
	if filepath.IsAbs(path) || l.dir == "" {
		return path
	}
	return filepath.Join(l.dir, path)
}

// from records that a setting has its value from the file.
func (l *loader) from(setting string, v strictyaml.Value) {
	l.cfg.sources[setting] = fmt.Sprintf("file %s:%d", l.cfg.File, v.Line())
}

// set makes a field that stores what read gives and records where it came from.
func set[T any](l *loader, setting string, dst *T, read func(strictyaml.Value) (T, bool)) strictyaml.Field {
	return func(v strictyaml.Value) {
		if got, ok := read(v); ok {
			*dst = got
			l.from(setting, v)
		}
	}
}

func (l *loader) file(data []byte) []strictyaml.Fault {
	doc, root, ok := strictyaml.Read(strictyaml.Source{File: l.cfg.File, Data: data})
	if !ok {
		return doc.Faults()
	}
	root.Fields(strictyaml.Fields{
		"server": func(v strictyaml.Value) {
			v.Fields(strictyaml.Fields{
				"listen":       set(l, "server.listen", &l.cfg.Server.Listen, listen),
				"external_url": set(l, "server.external_url", &l.cfg.Server.ExternalURL, address),
			})
		},
		"gateway": func(v strictyaml.Value) {
			v.Fields(strictyaml.Fields{"listen": set(l, "gateway.listen", &l.cfg.Gateway.Listen, listen)})
		},
		"gateways":      l.gateways,
		"models":        l.models,
		"notifications": l.notifications,
		"tokens":        strictyaml.Later("calls on loopback want none; remove it"),
	})
	return doc.Faults()
}

func (l *loader) gateways(v strictyaml.Value) {
	l.from("gateways", v)
	for _, element := range v.List() {
		url, ok := address(element)
		if !ok {
			continue
		}
		if slices.Contains(l.cfg.Gateways, url) {
			shown, _ := redact(url)
			element.Faultf("%s is there twice: remove one of them", shown)
			continue
		}
		l.cfg.Gateways = append(l.cfg.Gateways, url)
	}
}

// outer is a setting that a flag or the environment gives.
type outer struct {
	setting    string
	dst        *string
	flag, with string // the flag and its value
	variable   string
	// check gives the value to use, or what is wrong with it.
	check func(string) (value, problem string)
}

func (l *loader) environment(flags Overrides) {
	for _, o := range []outer{
		{"server.listen", &l.cfg.Server.Listen, "--listen", flags.Listen, "", checkListen},
		{"gateway.listen", &l.cfg.Gateway.Listen, "--gateway-listen", flags.GatewayListen, "", checkListen},
		{"data", &l.cfg.Data, "--data", flags.Data, "SERIN_DATA", asItIs},
		{"mlflow", &l.cfg.MLflowURI, "", "", "MLFLOW_TRACKING_URI", checkURL},
		{"prometheus", &l.cfg.PrometheusURL, "", "", "PROMETHEUS_URL", checkURL},
		{"server_url", &l.cfg.ServerURL, "--server", flags.Server, "SERIN_SERVER", checkURL},
		{"model", &l.cfg.Model, "--model", flags.Model, "SERIN_MODEL", checkModel},
		{"plan", &l.cfg.Plan, "--plan", flags.Plan, "SERIN_PLAN", asItIs},
		{"routing_file", &l.cfg.RoutingFile, "--routing-file", flags.RoutingFile, "SERIN_ROUTING_FILE", asItIs},
	} {
		l.take(o)
	}
	l.refuse("PostgreSQL is not in this version: unset it to use the embedded store", "POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD")
	l.refuse("tokens are not in this version: unset it, calls on loopback want none", "SERIN_TOKEN", "SERIN_TOKEN_FILE")
}

func (l *loader) take(o outer) {
	source, value := "flag "+o.flag, o.with
	if value == "" && o.variable != "" {
		source, value = "environment "+o.variable, l.env(o.variable)
	}
	if value == "" {
		return
	}
	got, problem := o.check(value)
	if problem != "" {
		l.outside = append(l.outside, strictyaml.Fault{File: source, Message: problem})
		return
	}
	*o.dst = got
	l.cfg.sources[o.setting] = source
}

// refuse records that variables are set that this version would have to ignore. Their values are not shown.
func (l *loader) refuse(instead string, variables ...string) {
	set := slices.DeleteFunc(variables, func(name string) bool { return l.env(name) == "" })
	if len(set) > 0 {
		l.outside = append(l.outside, strictyaml.Fault{File: "environment " + strings.Join(set, ", "), Message: instead})
	}
}

// checkListen refuses one address for both servers.
func (l *loader) checkListen() {
	if l.cfg.Server.Listen == l.cfg.Gateway.Listen && !strings.HasSuffix(l.cfg.Server.Listen, ":0") {
		l.outside = append(l.outside, strictyaml.Fault{
			File: "gateway.listen", Message: fmt.Sprintf("%s is the API's address too: give the gateway another port", l.cfg.Gateway.Listen),
		})
	}
}
