package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"serin/internal/analysis"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/store"
	"serin/internal/store/sqlite"
)

const (
	chaosDir   = "SERIN_CHAOS_DIR"   // set: this process is the child that is killed
	chaosPoint = "SERIN_CHAOS_POINT" // where the child kills itself, one of chaosPoints
	chaosTick  = 25 * time.Millisecond
)

// chaosPoints are the moments at which a kill hurts most.
var chaosPoints = []string{"linked", "renamed", "moved", "told", "judged", "committed"}

// child runs the engine of the chaos test when this process is its child, until every rollout is over.
func child() bool {
	dir := os.Getenv(chaosDir)
	if dir == "" {
		return false
	}
	if err := chaosChild(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	os.Exit(0)
	return true
}

func chaosChild(ctx context.Context, dir string) error {
	db, err := sqlite.Open(ctx, dir)
	if err != nil {
		return err
	}
	w := chaosWorld{dir: dir, db: db}
	e, err := New(Options{Store: db, Runner: w})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan error, 2)
	go func() { stopped <- e.Run(ctx) }()
	go func() { stopped <- w.sample(ctx) }()
	fmt.Println("ready")
	for live := 1; live > 0 && err == nil; {
		pause(ctx, chaosTick)
		err = db.View(ctx, func(tx *store.Tx) error {
			rows, err := tx.LiveRollouts(ctx)
			live = len(rows)
			return err
		})
	}
	cancel()
	return errors.Join(err, <-stopped, <-stopped, db.Close())
}

// chaosWorld has effects outside of the store: chains of files, each link made at most once, which nothing but their own rules protects.
type chaosWorld struct {
	dir string
	db  *store.DB
}

// link is one change in a chain: by whom (its key) and what.
type link struct {
	Key    string  `json:"key"`
	Weight float64 `json:"weight"`
	Value  string  `json:"value"`
}

// die kills this process, as kill -9 does, when the parent chose this point.
func die(point string) {
	if os.Getenv(chaosPoint) == point {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// last reads the newest link of a chain and its number; 0 when there is none.
func (w chaosWorld) last(chain string) (l link, n int, err error) {
	text, err := os.ReadFile(filepath.Join(w.dir, chain+".current"))
	if errors.Is(err, fs.ErrNotExist) {
		return l, 0, nil
	}
	if err != nil {
		return l, 0, err
	}
	if n, err = strconv.Atoi(string(text)); err != nil {
		return l, 0, err
	}
	text, err = os.ReadFile(filepath.Join(w.dir, fmt.Sprintf("%s.%d", chain, n)))
	return l, n, errors.Join(err, json.Unmarshal(text, &l))
}

// put adds a link: the file of the next generation is made exclusively, then the pointer is renamed over. The key's own link is found done, also
// when its maker died between the two.
func (w chaosWorld) put(chain string, l link) error {
	now, n, err := w.last(chain)
	if err != nil || now.Key == l.Key {
		return err
	}
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	next := filepath.Join(w.dir, fmt.Sprintf("%s.%d", chain, n+1))
	if err := w.exclusive(next, l.Key, text); err != nil {
		return err
	}
	die("linked")
	tmp := filepath.Join(w.dir, chain+".tmp")
	if err := os.WriteFile(tmp, []byte(strconv.Itoa(n+1)), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(w.dir, chain+".current"))
}

// exclusive makes a file whole and only once; one that the same key made before is as good.
func (w chaosWorld) exclusive(file, key string, text []byte) error {
	tmp := file + ".new"
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return err
	}
	err := os.Link(tmp, file)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	there, err := os.ReadFile(file)
	var l link
	if err := errors.Join(err, json.Unmarshal(there, &l)); err != nil || l.Key == key {
		return err
	}
	return fmt.Errorf("%s was made by %s, not by %s", file, l.Key, key)
}

// Run does the effects of a task.
func (w chaosWorld) Run(ctx context.Context, t rollout.Task, checkpoint func(rollout.Result) (rollout.Signals, error)) (rollout.Result, error) {
	done := rollout.Result{Status: rollout.StatusDone, Reason: t.ID}
	switch t.Kind {
	case rollout.KindAdmit:
		done.Pins = &rollout.Pins{Champion: model.Pin{Version: "1"}, Challenger: model.Pin{Version: "2"}}
	case rollout.KindCompare:
		done.Gate = &rollout.GateVerdict{Decision: "promote", Reasons: []string{"better"}}
	case rollout.KindDeploy:
		if signals, err := checkpoint(rollout.Result{Status: rollout.StatusRunning, Exposed: true}); err != nil || signals.Stop {
			return rollout.Result{Status: rollout.StatusRetry, Reason: "stopped"}, err
		}
		err := w.put("routing", link{Key: t.Key(), Weight: t.Node.Weight})
		die("renamed")
		return done, err
	case rollout.KindMonitor:
		return w.monitor(ctx, t, checkpoint)
	case rollout.KindPromote:
		if signals, err := checkpoint(rollout.Result{Status: rollout.StatusRunning, Promoting: true}); err != nil || signals.Stop {
			return rollout.Result{Status: rollout.StatusRetry, Reason: "stopped"}, err
		}
		err := w.put("registry", link{Key: t.Key(), Value: "2"})
		die("moved")
		return done, errors.Join(err, w.put("routing", link{Key: t.Key(), Weight: 100}))
	case rollout.KindRollback:
		err := w.put("routing", link{Key: t.Key(), Weight: 0})
		die("renamed")
		if err == nil && t.State.Promoting {
			err = w.put("registry", link{Key: t.Key(), Value: "1"})
			die("moved")
		}
		return done, err
	case rollout.KindNotify:
		err := w.put("messages", link{Key: t.Key()})
		die("told")
		return done, err
	case rollout.KindDecide, rollout.KindKeep, rollout.KindWatch, rollout.KindUndo, rollout.KindSettle:
	}
	return done, nil
}

// monitor judges every stored scrape once, with the product's judge. Its log says what was judged, in the checkpoint that commits it.
func (w chaosWorld) monitor(ctx context.Context, t rollout.Task, checkpoint func(rollout.Result) (rollout.Signals, error)) (rollout.Result, error) {
	v := *t.State.Stage
	judge, last, lines := v.Judge, v.Since, []string{}
	if v.Judgement != nil {
		last = v.Judgement.At
	} else {
		lines = append(lines, "fresh")
	}
	stage := t.State.JudgeStage()
	for {
		scrapes, err := w.db.Scrapes(ctx, t.State.Model, last, now())
		if err != nil {
			return rollout.Result{}, err
		}
		signals, err := checkpoint(rollout.Result{Status: rollout.StatusRunning})
		for _, sc := range scrapes {
			if err != nil || signals.Stop {
				break
			}
			if signals.Promoted {
				stage.Bake = time.Nanosecond
			}
			next, j, judgeErr := analysis.Judge(t.State.Plan.Analysis, stage, judge, sc)
			if judgeErr != nil {
				return rollout.Result{}, judgeErr
			}
			judge, last = next, sc.At
			lines = append(lines, fmt.Sprintf("judged %d %d", sc.At.UnixNano(), j.Covered))
			die("judged")
			signals, err = checkpoint(rollout.Result{Status: rollout.StatusRunning, Log: lines, Judge: &rollout.Judged{State: next, Judgement: j}})
			lines = nil
			die("committed")
		}
		if err != nil || signals.Stop {
			return rollout.Result{Status: rollout.StatusDone, Reason: "bake over"}, err
		}
		if !pause(ctx, chaosTick/2) {
			return rollout.Result{}, ctx.Err()
		}
	}
}

// sample stores a scrape at each tick of the grid: counters that grow with the clock, and a canary that fails when the parent wants it to.
func (w chaosWorld) sample(ctx context.Context) error {
	_, statErr := os.Stat(filepath.Join(w.dir, "bad"))
	for pause(ctx, time.Until(now().Truncate(chaosTick).Add(chaosTick))) {
		at := now().Truncate(chaosTick)
		n := analysis.Number(at.UnixMilli() % (1 << 32))
		routing, _, err := w.last("routing")
		if err != nil {
			return err
		}
		line := func(role analysis.Role, failed analysis.Number) analysis.Sample {
			return analysis.Sample{
				At: at, Role: role, Instance: "gw", WeightPct: routing.Weight,
				Requests: map[string]analysis.Number{"200": n - failed, "500": failed},
			}
		}
		failed := analysis.Number(0)
		if statErr == nil {
			failed = n / 2
		}
		sc := analysis.Scrape{At: at, Samples: []analysis.Sample{line(analysis.RoleCanary, failed), line(analysis.RoleChampion, 0)}}
		if err := w.db.SaveScrape(ctx, "fraud", sc); err != nil && !errors.Is(err, store.ErrExists) && ctx.Err() == nil {
			return err
		}
	}
	return nil
}
