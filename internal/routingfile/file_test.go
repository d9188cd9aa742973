package routingfile

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"serin/internal/traffic"
)

// foreign is what a writer that knows only the five keys leaves.
const foreign = `{"canary_enabled": false, "canary_traffic_pct": 0, "canary_model_uri": "models:/fraud/Staging",
 "champion_traffic_pct": 100, "production_model_uri": "models:/fraud/Production", "owner": "team-a"}`

var bothCompats = []traffic.Compat{traffic.CompatExtended, traffic.CompatStrict}

func TestUpdateFromNothing(t *testing.T) {
	t.Parallel()
	for _, c := range bothCompats {
		f := newFile(t, c)
		if _, err := f.Read(t.Context()); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%s: reading a file that is not there: %v", c, err)
		}
		for i, pct := range []float64{5, 25, 0, 5} {
			want := set(t, f, pct)
			got := mustRead(t, f)
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(traffic.Set{})); diff != "" {
				t.Errorf("%s, write %d (-written +read):\n%s", c, i, diff)
			}
			if got.Generation() != int64(i+1) || got.WeightPct() != pct {
				t.Errorf("%s, write %d: generation %d, weight %v", c, i, got.Generation(), got.WeightPct())
			}
			if has := strings.Contains(read(t, f.path), `"serin"`); has != (c == traffic.CompatExtended) {
				t.Errorf("%s: the key serin in the document: %v", c, has)
			}
		}
	}
}

func TestUpdateKeepsUnknownKeysAndMode(t *testing.T) {
	t.Parallel()
	f := newFile(t, "")
	set(t, f, 5)
	write(t, f.path, foreign)
	if err := os.Chmod(f.path, 0o640); err != nil {
		t.Fatal(err)
	}
	set(t, f, 25)
	if text := read(t, f.path); !strings.Contains(text, `"owner": "team-a"`) {
		t.Errorf("lost the unknown key:\n%s", text)
	}
	info, err := os.Stat(f.path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
}

func TestGenerationsRiseAfterAForeignWrite(t *testing.T) {
	t.Parallel()
	for _, c := range bothCompats {
		f := newFile(t, c)
		set(t, f, 5)
		set(t, f, 25)
		write(t, f.path, foreign)
		if d := mustRead(t, f); d.Control != nil || d.WeightPct() != 0 {
			t.Errorf("%s: the foreign document reads %+v", c, d)
		}
		if d := set(t, f, 0); d.Generation() != 3 {
			t.Errorf("%s: generation %d after a foreign write over 2", c, d.Generation())
		}
	}
}

func TestUpdateThatChangesNothingWritesNothing(t *testing.T) {
	t.Parallel()
	f := newFile(t, "")
	want := set(t, f, 5)
	before, err := os.Stat(f.path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Update(t.Context(), func(d traffic.Document) (traffic.Document, error) { return d, nil })
	if err != nil || got.Generation() != want.Generation() {
		t.Fatalf("%+v, %v", got, err)
	}
	if after, err := os.Stat(f.path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was replaced (%v)", err)
	}
}

func TestConflicts(t *testing.T) {
	t.Parallel()
	f := newFile(t, "")
	old := set(t, f, 5)
	set(t, f, 25)
	if _, err := f.Update(t.Context(), func(traffic.Document) (traffic.Document, error) { return toWeight(0)(old) }); !errors.Is(err, ErrGeneration) {
		t.Errorf("an update made from an older document: %v", err)
	}
	f.beforeRename = func() { write(t, f.path, foreign) }
	if _, err := f.Update(t.Context(), toWeight(5)); !errors.Is(err, ErrGeneration) {
		t.Errorf("a foreign write in the middle: %v", err)
	}
	if got := read(t, f.path); got != foreign {
		t.Errorf("the foreign write is gone:\n%s", got)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(f.path), ".*tmp*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
	refused := errors.New("not now")
	if _, err := f.Update(t.Context(), func(traffic.Document) (traffic.Document, error) { return traffic.Document{}, refused }); !errors.Is(err, refused) {
		t.Errorf("the caller's error: %v", err)
	}
}

func TestBrokenFile(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"torn": `{"canary_enabled": tr`, "empty": "", "too large": strings.Repeat(" ", maxSize+1)} {
		f := newFile(t, "")
		set(t, f, 25)
		write(t, f.path, content)
		if _, err := f.Read(t.Context()); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: read: %v", name, err)
		}
		if _, err := f.Update(t.Context(), toWeight(0)); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: update: %v", name, err)
		}
		d, err := f.Repair(t.Context(), toWeight(0))
		if name == "too large" {
			if err == nil {
				t.Errorf("%s: replaced what may be another file", name)
			}
			continue
		}
		if err != nil || d.Generation() != 2 || mustRead(t, f).WeightPct() != 0 {
			t.Errorf("%s: repaired to %+v (%v)", name, d, err)
		}
		if kept := read(t, f.path+".broken"); kept != content {
			t.Errorf("%s: kept %q", name, kept)
		}
	}
}

func TestTwoWritersLoseNothing(t *testing.T) {
	t.Parallel()
	for _, c := range bothCompats {
		path := newFile(t, c).path
		const writers, each = 4, 25
		var wg sync.WaitGroup
		for range writers {
			f := newFileAt(t, path, c)
			f.lockWait = time.Minute
			wg.Go(func() {
				for i := range each {
					if _, err := f.Update(t.Context(), toWeight(float64(i%2)*5)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if d := mustRead(t, newFileAt(t, path, c)); d.Generation() != writers*each {
			t.Errorf("%s: generation %d after %d writes", c, d.Generation(), writers*each)
		}
	}
}

func TestLockNamesItsHolder(t *testing.T) {
	t.Parallel()
	f := newFile(t, "")
	set(t, f, 5)
	l, err := f.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.release()
	second := newFileAt(t, f.path, "")
	second.lockWait = 20 * time.Millisecond
	_, err = second.Update(t.Context(), toWeight(0))
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "held by pid ") {
		t.Errorf("error %v", err)
	}
}

func TestKillBetweenTempAndRename(t *testing.T) {
	t.Parallel()
	for _, c := range bothCompats {
		f := newFile(t, c)
		want := set(t, f, 5)
		cmd := helper(t, "stop before rename", f)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
			t.Fatalf("helper said %q (%v)", line, err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // the error is the kill
		left, err := filepath.Glob(filepath.Join(filepath.Dir(f.path), ".*tmp*"))
		if err != nil || len(left) != 1 {
			t.Fatalf("%s: the killed writer left %v (%v)", c, left, err)
		}
		if d := mustRead(t, f); d.Generation() != want.Generation() || d.WeightPct() != 5 {
			t.Errorf("%s: after the kill: %+v", c, d)
		}
		if d := set(t, f, 25); d.Generation() <= want.Generation() {
			t.Errorf("%s: generation %d", c, d.Generation())
		}
		left, err = filepath.Glob(filepath.Join(filepath.Dir(f.path), ".*tmp*"))
		if err != nil || len(left) != 0 {
			t.Errorf("%s: the next writer left %v (%v)", c, left, err)
		}
	}
}

func TestNoSpaceKeepsTheOldFile(t *testing.T) {
	t.Parallel()
	f := newFile(t, "")
	set(t, f, 5)
	before := read(t, f.path)
	out, err := helper(t, "no space", f).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "the old one stays in force") {
		t.Fatalf("helper: %v: %s", err, out)
	}
	if after := read(t, f.path); after != before {
		t.Errorf("the file changed:\n%s", after)
	}
	if d := set(t, f, 25); d.WeightPct() != 25 {
		t.Errorf("afterwards: %+v", d)
	}
}

func TestUpdateThroughASymbolicLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target, link := filepath.Join(dir, "real.json"), filepath.Join(dir, "traffic_routing.json")
	write(t, target, foreign)
	if err := os.Symlink("real.json", link); err != nil {
		t.Fatal(err)
	}
	set(t, newFileAt(t, link, ""), 5)
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is gone (%v)", err)
	}
	if d := mustRead(t, newFileAt(t, target, "")); d.WeightPct() != 5 {
		t.Errorf("behind the link: %+v", d)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{}, {Path: "x", Compat: "loose"}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}
