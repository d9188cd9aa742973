package registry_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"serin/internal/registry"
)

// TestRandomCallsAgreeWithAReference sends random calls to the registry and to a reference that is written with maps, and compares what
// both answer and hold after every call.
func TestRandomCallsAgreeWithAReference(t *testing.T) {
	t.Parallel()
	refused, done := 0, 0
	for seed := range uint64(12) {
		w := &pair{t: t, h: server(t), r: rand.New(rand.NewPCG(seed, 3)), ref: map[string]*refModel{}}
		for range 90 {
			if w.step() {
				done++
			} else {
				refused++
			}
		}
		w.compare()
	}
	t.Logf("%d calls done, %d refused by both", done, refused)
	if done < 300 || refused < 100 {
		t.Errorf("%d done and %d refused: the calls do not reach both", done, refused)
	}
}

// refModel is a registered model as the protocol describes it.
type refModel struct {
	description string
	tags        map[string]string
	aliases     map[string]int
	versions    []*refVersion // by number from 1; deleted ones stay, their numbers are not used again
}

type refVersion struct {
	stage   string
	tags    map[string]string
	deleted bool
}

func (m *refModel) version(n int) *refVersion {
	if m == nil || n < 1 || n > len(m.versions) || m.versions[n-1].deleted {
		return nil
	}
	return m.versions[n-1]
}

// pair is the registry and the reference.
type pair struct {
	t   *testing.T
	h   *registry.Server
	r   *rand.Rand
	ref map[string]*refModel
	log []string
}

func one[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// step makes one random call to both; it reports whether it was carried out.
func (w *pair) step() bool {
	w.t.Helper()
	name, n := one(w.r, "fraud", "churn", "price"), 1+w.r.IntN(4)
	m := w.ref[name]
	switch w.r.IntN(11) {
	case 0:
		return w.both("POST", models+"create", fields{"name": name}, m == nil, func() {
			w.ref[name] = &refModel{tags: map[string]string{}, aliases: map[string]int{}}
		})
	case 1, 2, 3:
		return w.both("POST", versions+"create", fields{"name": name, "source": "s3://b/k"}, m != nil, func() {
			m.versions = append(m.versions, &refVersion{stage: "None", tags: map[string]string{}})
		})
	case 4, 5:
		return w.transition(name, n)
	case 6:
		return w.alias(name, n)
	case 7:
		key, value := one(w.r, "a", "b"), strconv.Itoa(w.r.IntN(9))
		return w.both("POST", versions+"set-tag", fields{"name": name, "version": n, "key": key, "value": value}, m.version(n) != nil, func() {
			m.version(n).tags[key] = value
		})
	case 8:
		key := one(w.r, "a", "b")
		return w.both("DELETE", versions+"delete-tag", fields{"name": name, "version": n, "key": key}, m.version(n) != nil, func() { delete(m.version(n).tags, key) })
	case 9:
		return w.deleteOne(name, n)
	default:
		text := one(w.r, "", "first", "second")
		return w.both("PATCH", models+"update", fields{"name": name, "description": text}, m != nil, func() { m.description = text })
	}
}

type fields map[string]any

// both calls the registry, checks that it does what the reference expects, and lets the reference follow.
func (w *pair) both(method, target string, body fields, allowed bool, follow func()) bool {
	w.t.Helper()
	for key, v := range body {
		if n, ok := v.(int); ok {
			body[key] = strconv.Itoa(n)
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	w.log = append(w.log, method+" "+target+" "+string(text))
	status, answer := call(w.t, w.h, method, target, string(text))
	switch {
	case allowed && status != http.StatusOK:
		w.t.Fatalf("refused with %d %s after\n%s", status, answer, strings.Join(w.log, "\n"))
	case !allowed && (status < 400 || status >= 500 || !strings.Contains(answer, `"error_code"`)):
		w.t.Fatalf("answered %d %s instead of refusing after\n%s", status, answer, strings.Join(w.log, "\n"))
	}
	if allowed {
		follow()
	}
	if w.r.IntN(4) == 0 {
		w.compare()
	}
	return allowed
}

func (w *pair) transition(name string, n int) bool {
	w.t.Helper()
	m := w.ref[name]
	stage, archive := one(w.r, "None", "Staging", "Production", "Archived"), w.r.IntN(2) == 0
	spelled := one(w.r, stage, strings.ToLower(stage))
	allowed := m.version(n) != nil && (!archive || stage != "None" && stage != "Archived")
	body := fields{"name": name, "version": n, "stage": spelled, "archive_existing_versions": archive}
	return w.both("POST", versions+"transition-stage", body, allowed, func() {
		for i, v := range m.versions {
			if archive && i != n-1 && v.stage == stage && !v.deleted {
				v.stage = "Archived"
			}
		}
		m.version(n).stage = stage
	})
}

func (w *pair) alias(name string, n int) bool {
	w.t.Helper()
	m, alias := w.ref[name], one(w.r, "champion", "challenger", "v7", "latest")
	if w.r.IntN(3) == 0 {
		return w.both("DELETE", models+"alias", fields{"name": name, "alias": one(w.r, "champion", "challenger")}, m != nil, func() {
			var body struct{ Alias string }
			if err := json.Unmarshal([]byte(w.log[len(w.log)-1][strings.IndexByte(w.log[len(w.log)-1], '{'):]), &body); err != nil {
				w.t.Fatal(err)
			}
			delete(m.aliases, body.Alias)
		})
	}
	allowed := m.version(n) != nil && alias != "v7" && alias != "latest"
	return w.both("POST", models+"alias", fields{"name": name, "alias": alias, "version": n}, allowed, func() { m.aliases[alias] = n })
}

func (w *pair) deleteOne(name string, n int) bool {
	w.t.Helper()
	m := w.ref[name]
	if w.r.IntN(6) == 0 {
		return w.both("DELETE", models+"delete", fields{"name": name}, m != nil, func() { delete(w.ref, name) })
	}
	return w.both("DELETE", versions+"delete", fields{"name": name, "version": n}, m.version(n) != nil, func() {
		m.version(n).deleted = true
		maps.DeleteFunc(m.aliases, func(_ string, v int) bool { return v == n })
	})
}

// shown is what both hold of one model, in comparable form.
type shown struct {
	Description string
	Aliases     map[string]string
	Stages      map[string]string // by version
	Tags        map[string]string // by version and key
	Latest      map[string]string // by stage
}

// compare holds what the registry answers against the reference, model by model.
func (w *pair) compare() {
	w.t.Helper()
	for _, name := range []string{"fraud", "churn", "price"} {
		m := w.ref[name]
		if m == nil {
			if status, body := call(w.t, w.h, "GET", models+"get?name="+name, ""); status != http.StatusNotFound {
				w.t.Fatalf("%s is gone, and answered %d %s after\n%s", name, status, body, strings.Join(w.log, "\n"))
			}
			continue
		}
		if diff := gocmp.Diff(m.show(), w.ask(name)); diff != "" {
			w.t.Fatalf("%s (-reference +registry):\n%s\nafter\n%s", name, diff, strings.Join(w.log, "\n"))
		}
	}
}

func (m *refModel) show() shown {
	s := shown{Description: m.description, Aliases: map[string]string{}, Stages: map[string]string{}, Tags: map[string]string{}, Latest: map[string]string{}}
	for alias, n := range m.aliases {
		s.Aliases[alias] = strconv.Itoa(n)
	}
	for i, v := range m.versions {
		if v.deleted {
			continue
		}
		n := strconv.Itoa(i + 1)
		s.Stages[n], s.Latest[v.stage] = v.stage, n
		for key, value := range v.tags {
			s.Tags[n+"/"+key] = value
		}
	}
	return s
}

// ask collects the same from the registry's answers: the model, the search, the look-ups by stage and by alias.
func (w *pair) ask(name string) shown {
	w.t.Helper()
	s := shown{Aliases: map[string]string{}, Stages: map[string]string{}, Tags: map[string]string{}, Latest: map[string]string{}}
	var got struct {
		Model struct {
			Description string
			Aliases     []struct{ Alias, Version string }
			Latest      []struct {
				Version string
				Stage   string `json:"current_stage"`
			} `json:"latest_versions"`
		} `json:"registered_model"`
	}
	w.get(models+"get?name="+name, &got)
	s.Description = got.Model.Description
	for _, a := range got.Model.Aliases {
		s.Aliases[a.Alias] = a.Version
	}
	for _, v := range got.Model.Latest {
		s.Latest[v.Stage] = v.Version
	}
	var found struct {
		Versions []struct {
			Version string
			Stage   string `json:"current_stage"`
			Tags    []struct{ Key, Value string }
		} `json:"model_versions"`
	}
	w.get(versions+"search?filter=name%3D%27"+name+"%27", &found)
	for _, v := range found.Versions {
		s.Stages[v.Version] = v.Stage
		for _, tag := range v.Tags {
			s.Tags[v.Version+"/"+tag.Key] = tag.Value
		}
	}
	w.lookUps(name, s)
	return s
}

// lookUps checks that looking a version up by stage and by alias gives what the listing says.
func (w *pair) lookUps(name string, s shown) {
	w.t.Helper()
	for _, stage := range slices.Sorted(maps.Keys(s.Latest)) {
		var latest struct {
			Versions []struct{ Version string } `json:"model_versions"`
		}
		w.get(fmt.Sprintf("%sget-latest-versions?name=%s&stages=%s", models, name, stage), &latest)
		if len(latest.Versions) != 1 || latest.Versions[0].Version != s.Latest[stage] {
			w.t.Fatalf("latest of %s in %s is %v, want version %s", name, stage, latest.Versions, s.Latest[stage])
		}
	}
	for _, alias := range slices.Sorted(maps.Keys(s.Aliases)) {
		var got struct {
			Version struct{ Version string } `json:"model_version"`
		}
		w.get(fmt.Sprintf("%salias?name=%s&alias=%s", models, name, alias), &got)
		if got.Version.Version != s.Aliases[alias] {
			w.t.Fatalf("alias %s of %s is version %s, want %s", alias, name, got.Version.Version, s.Aliases[alias])
		}
	}
}

func (w *pair) get(target string, out any) {
	w.t.Helper()
	if err := json.Unmarshal([]byte(must(w.t, w.h, "GET", target, "")), out); err != nil {
		w.t.Fatalf("%s: %v", target, err)
	}
}
