package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"serin/internal/dataset"
	"serin/internal/gateway"
	"serin/internal/mlflow"
	"serin/internal/model"
	"serin/internal/rollout"
	"serin/internal/scorer"
	"serin/internal/task"
)

// goldenRows is how many rows of the gate's data must score as they will be served.
const goldenRows = 20

// checker proves that a pinned version answers, before and while it has traffic.
type checker struct {
	client *mlflow.Client
	opener func(scorer.Registry) *scorer.Opener
	// slots gives the model servers of a model with the backend `urls`; nil for every other backend.
	slots func(name string) []*gateway.URL
}

// Check loads both versions, compares what they take and give, and scores the example and golden rows of the challenger.
func (c checker) Check(ctx context.Context, s rollout.State) ([]string, error) {
	if slots := c.slots(s.Model); slots != nil {
		return c.checkSlot(ctx, s, slots)
	}
	challenger, err := c.open(ctx, s.Model, s.Pins.Challenger)
	if err != nil {
		return nil, judged(err)
	}
	defer challenger.Close()
	lines := []string{fmt.Sprintf("version %s is loaded: %d columns, %s", s.Pins.Challenger.Version, challenger.Info().Features, challenger.Info().Kind)}
	lines = append(lines, challenger.Info().Notes...)
	if s.Pins.FirstChampion == "" {
		line, err := c.sameShape(ctx, s, challenger)
		if err != nil {
			return lines, judged(err)
		}
		lines = append(lines, line)
	}
	example, err := c.example(ctx, s, challenger)
	if err != nil {
		return lines, judged(err)
	}
	golden, err := golden(ctx, s, challenger)
	return append(append(lines, example...), golden...), judged(err)
}

func (c checker) open(ctx context.Context, name string, pin model.Pin) (scorer.Scorer, error) {
	return c.opener(onePin{c.client, name, pin}).Open(ctx, model.Ref{Kind: model.RefVersion, Name: name, Version: pin.Version})
}

// sameShape refuses a challenger that wants columns that the champion's callers do not send, or answers in another kind of number.
func (c checker) sameShape(ctx context.Context, s rollout.State, challenger scorer.Scorer) (string, error) {
	champion, err := c.open(ctx, s.Model, s.Pins.Champion)
	if err != nil {
		return "", err
	}
	defer champion.Close()
	was, is := champion.Info(), challenger.Info()
	if was.Kind != is.Kind || was.Width != is.Width {
		return "", fmt.Errorf("version %s answers %d x %s, version %s %d x %s: callers would read the wrong thing; register a model that answers alike",
			s.Pins.Challenger.Version, is.Width, is.Kind, s.Pins.Champion.Version, was.Width, was.Kind)
	}
	var missing []string
	for _, column := range is.Columns {
		if was.Columns != nil && !slices.Contains(was.Columns, column) {
			missing = append(missing, column)
		}
	}
	if len(missing) > 0 {
		return "", fmt.Errorf("version %s wants the columns %s, which the callers of version %s do not send", s.Pins.Challenger.Version, strings.Join(missing, ", "), s.Pins.Champion.Version)
	}
	return fmt.Sprintf("takes and gives what version %s does", s.Pins.Champion.Version), nil
}

// example scores the input example that was saved with the model, as a request.
func (c checker) example(ctx context.Context, s rollout.State, challenger scorer.Scorer) ([]string, error) {
	got, err := onePin{c.client, s.Model, s.Pins.Challenger}.Fetch(ctx, model.Ref{})
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(got.Dir, model.MLmodelFile))
	if errors.Is(err, fs.ErrNotExist) {
		return []string{"a bare model file has no example"}, nil
	}
	if err != nil {
		return nil, err
	}
	mlmodel, err := model.ParseMLmodel(text)
	if err != nil {
		return nil, err
	}
	if mlmodel.ServingInputExample == "" {
		return []string{"no serving example was saved with the model"}, nil
	}
	body, err := os.ReadFile(filepath.Join(got.Dir, filepath.FromSlash(mlmodel.ServingInputExample)))
	if err != nil {
		return nil, fmt.Errorf("read the example of version %s: %w", s.Pins.Challenger.Version, err)
	}
	answer, err := scorer.NewPayloadScorer(challenger).ScorePayload(ctx, "application/json", body, nil)
	if err != nil {
		return nil, fmt.Errorf("score the example of version %s: %w", s.Pins.Challenger.Version, err)
	}
	return []string{"the example answers " + shorten(string(answer))}, nil
}

func shorten(s string) string {
	if len(s) > 120 {
		return s[:120] + "..."
	}
	return s
}

// golden scores the first rows of the gate's data twice, as the gate did and as a request does: not one bit may differ.
func golden(ctx context.Context, s rollout.State, challenger scorer.Scorer) ([]string, error) {
	if s.Plan.Gate.Off || s.Plan.Gate.Data == "" || challenger.Info().Columns == nil {
		return []string{"no golden rows: the gate has no data, or the model no column names"}, nil
	}
	table, err := dataset.Read(ctx, s.Plan.Gate.Data)
	if err != nil {
		return nil, err
	}
	frame, err := firstRows(table, challenger.Info().Columns)
	if err != nil {
		return nil, err
	}
	want, err := challenger.Score(ctx, frame)
	if err != nil {
		return nil, err
	}
	got, err := scorer.NewPayloadScorer(challenger).ScorePayload(ctx, "application/json", splitPayload(frame), nil)
	if err != nil {
		return nil, fmt.Errorf("score golden rows as a request: %w", err)
	}
	if text := string(scorer.AppendPredictions(nil, want)); text != string(got) {
		return nil, fmt.Errorf("golden rows score %s as a request and %s offline: this model cannot be served as it was judged", shorten(string(got)), shorten(text))
	}
	return []string{fmt.Sprintf("%d golden rows score as offline", frame.N)}, nil
}

func firstRows(table *dataset.Table, columns []string) (scorer.Frame, error) {
	n := min(table.Rows(), goldenRows)
	f := scorer.Frame{Columns: columns, N: n, Values: make([]float64, n*len(columns))}
	for j, name := range columns {
		values, err := table.Float(name)
		if err != nil {
			return f, err
		}
		for i := range n {
			f.Values[i*len(columns)+j] = values[i]
		}
	}
	return f, nil
}

// splitPayload is a frame as a dataframe_split request; NaN is null.
func splitPayload(f scorer.Frame) []byte {
	data := make([][]any, f.N)
	for i := range data {
		data[i] = make([]any, len(f.Columns))
		for j := range f.Columns {
			if v := f.Values[i*len(f.Columns)+j]; !math.IsNaN(v) {
				data[i][j] = v
			}
		}
	}
	return mustJSON(map[string]any{"dataframe_split": map[string]any{"columns": f.Columns, "data": data}})
}

// checkSlot asks the model server that is to be the canary: does it answer, and is it the pinned version?
func (c checker) checkSlot(ctx context.Context, s rollout.State, slots []*gateway.URL) ([]string, error) {
	pin := s.Pins.Challenger
	if pin.Slot < 1 || pin.Slot > len(slots) {
		return nil, fmt.Errorf("version %s has slot %d of %d: %w", pin.Version, pin.Slot, len(slots), task.ErrFinal)
	}
	if err := slots[pin.Slot-1].Check(ctx); err != nil {
		return nil, fmt.Errorf("slot %d does not answer: start version %s there: %w", pin.Slot, pin.Version, err)
	}
	lines := []string{fmt.Sprintf("slot %d answers", pin.Slot)}
	err := slots[pin.Slot-1].CheckIdentity(ctx, pin.Version)
	switch {
	case errors.Is(err, gateway.ErrNoIdentity):
		return append(lines, "its version is not verified: no identity is configured"), nil
	case err != nil:
		return lines, fmt.Errorf("slot %d: %w", pin.Slot, err)
	}
	return append(lines, fmt.Sprintf("it says that it is version %s", pin.Version)), nil
}

// ready says what keeps a version from getting all traffic now: behind `urls`, a model server that does not answer or has another version. What the
// gateways score themselves is loaded before they route to it.
func (c checker) ready(ctx context.Context, name string, pin model.Pin) error {
	slots := c.slots(name)
	if slots == nil {
		return nil
	}
	_, err := c.checkSlot(ctx, rollout.State{Model: name, Pins: rollout.Pins{Challenger: pin}}, slots)
	return err
}

// Identity asks both model servers which version they have. Without `urls` or `identity` nothing tells, which is no fault.
func (c checker) Identity(ctx context.Context, s rollout.State) error {
	slots := c.slots(s.Model)
	if slots == nil {
		return nil
	}
	for _, pin := range []model.Pin{s.Pins.Champion, s.Pins.Challenger} {
		if pin.Slot < 1 || pin.Slot > len(slots) {
			continue
		}
		if err := slots[pin.Slot-1].CheckIdentity(ctx, pin.Version); err != nil && !errors.Is(err, gateway.ErrNoIdentity) {
			return fmt.Errorf("identity: slot %d: %w", pin.Slot, err)
		}
	}
	return nil
}

var _ task.Checker = checker{}
