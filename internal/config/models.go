package config

import (
	"os"
	"path/filepath"
	"strings"

	"serin/internal/strictyaml"
)

func (l *loader) models(v strictyaml.Value) {
	for _, e := range v.Entries() {
		name, problem := checkModel(e.Key)
		if problem != "" {
			e.At.Faultf("%s", problem)
			continue
		}
		l.model(name, e.Value)
	}
	l.checkRouting()
}

// model reads one entry; `NAME: {}` has every default.
func (l *loader) model(name string, v strictyaml.Value) {
	m := Model{
		Name: name, RoutingFile: DefaultRoutingFile, Backend: BackendInProcess, Failover: FailoverOn, OnControllerLost: LostChampion,
		Metrics: PresetSerin, Autostart: "never",
	}
	at := "models." + name + "."
	l.places[name] = v
	obj := v.Fields(strictyaml.Fields{
		"plan": set(l, at+"plan", &m.Plan, l.path),
		"routing_file": func(v strictyaml.Value) {
			l.places[name] = v
			set(l, at+"routing_file", &m.RoutingFile, l.path)(v)
		},
		"backend":          func(v strictyaml.Value) { l.backend(&m, v) },
		"identity":         func(v strictyaml.Value) { l.identity(&m, v) },
		"failover":         set(l, at+"failover", &m.Failover, choice(FailoverOn, FailoverOff)),
		"onControllerLost": set(l, at+"onControllerLost", &m.OnControllerLost, choice(LostChampion, LostKeep)),
		"metrics":          func(v strictyaml.Value) { l.metrics(&m, v) },
		"autostart":        l.autostart(&m),
		"drift":            strictyaml.Later("remove it, and hold rollouts while drift is reported by pausing them"),
	})
	if identity, ok := obj.Lookup("identity"); ok && m.Backend == BackendInProcess {
		identity.Faultf("belongs to backend: {urls: [A, B]}: the gateway knows which version it scores itself; remove it")
	}
	l.cfg.Models = append(l.cfg.Models, m)
}

func (l *loader) path(v strictyaml.Value) (string, bool) {
	path, ok := v.Text()
	return l.beside(path), ok
}

// choice reads one of the words of a type.
func choice[T ~string](words ...T) func(strictyaml.Value) (T, bool) {
	return func(v strictyaml.Value) (T, bool) {
		texts := make([]string, len(words))
		for i, w := range words {
			texts[i] = string(w)
		}
		got, ok := v.Choice(texts...)
		return T(got), ok
	}
}

func (l *loader) backend(m *Model, v strictyaml.Value) {
	setting := "models." + m.Name + ".backend"
	if !v.IsMapping() {
		set(l, setting, &m.Backend, choice(BackendInProcess))(v)
		return
	}
	obj := v.Fields(strictyaml.Fields{
		"urls":    func(v strictyaml.Value) { m.URLs = slots(v) },
		"exec":    strictyaml.Later("run the two model servers yourself, and name them as {urls: [A, B]}"),
		"webhook": strictyaml.Later("run the two model servers yourself, and name them as {urls: [A, B]}"),
	})
	if !obj.Has("urls") {
		if v.Empty() {
			v.Faultf("is empty: write inprocess or {urls: [A, B]}")
		}
		return
	}
	m.Backend = BackendURLs
	l.from(setting, v)
}

// slots reads the two places that champion and canary move between.
func slots(v strictyaml.Value) []string {
	elements := v.List()
	var urls []string
	for _, element := range elements {
		if url, ok := address(element); ok {
			urls = append(urls, url)
		}
	}
	switch {
	case len(urls) < len(elements):
	case len(urls) != 2:
		v.Faultf("has %d addresses: two slots are needed, one for the champion and one for the canary", len(urls))
	case urls[0] == urls[1]:
		shown, _ := redact(urls[0])
		v.Faultf("names %s twice: champion and canary need a slot each", shown)
	}
	return urls
}

func (l *loader) identity(m *Model, v strictyaml.Value) {
	obj := v.Fields(strictyaml.Fields{
		"path": func(v strictyaml.Value) {
			path, ok := v.Text()
			if ok && !strings.HasPrefix(path, "/") {
				v.Faultf("%q is no path: write it like /health", path)
				return
			}
			m.Identity.Path = path
		},
		"field": strictyaml.Set(&m.Identity.Field, strictyaml.Value.Text),
	})
	obj.Require("path", "say where the server tells its version, such as /health")
	obj.Require("field", "say which field of the JSON there is the version, such as model_version")
	l.from("models."+m.Name+".identity", v)
}

func (l *loader) metrics(m *Model, v strictyaml.Value) {
	names := strictyaml.Later("use preset: serin or prometheus, and export metrics of those names")
	v.Fields(strictyaml.Fields{
		"preset": func(v strictyaml.Value) {
			if v.Is("otel") || v.Is("istio") {
				names(v)
				return
			}
			set(l, "models."+m.Name+".metrics", &m.Metrics, choice(PresetSerin, PresetPrometheus))(v)
		},
		"requests": names, "duration": names, "selector": names, "labels": names,
	})
}

func (l *loader) autostart(m *Model) strictyaml.Field {
	return func(v strictyaml.Value) {
		if v.Is("on_staging") || v.Is("on_challenger_alias") {
			v.Faultf("is not in this version: use never, and start rollouts by a job or a call")
			return
		}
		set(l, "models."+m.Name+".autostart", &m.Autostart, choice("never"))(v)
	}
}

// checkRouting refuses two models on one routing file, by whatever names they have it.
func (l *loader) checkRouting() {
	taken := map[string]string{}
	for _, m := range l.cfg.Models {
		file := canonical(m.RoutingFile)
		if other, ok := taken[file]; ok {
			l.places[m.Name].Faultf("models %s and %s share the routing file %s: give each a routing_file of its own", other, m.Name, m.RoutingFile)
			continue
		}
		taken[file] = m.Name
	}
}

// canonical follows links where the file or its folder is there already.
func canonical(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	dir := filepath.Dir(path)
	if _, err := os.Stat(dir); err == nil {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, filepath.Base(path))
		}
	}
	return filepath.Clean(path)
}
