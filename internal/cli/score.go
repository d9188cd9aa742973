package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"serin/internal/app"
	"serin/internal/model"
)

// scoreOptions are the words of `serin score`.
type scoreOptions struct {
	*root
	model, data string
	margin      bool
}

// scored is what score prints with -o json: one number a row, or a list of them where the model has several outputs.
type scored struct {
	Scores []scores `json:"scores"`
}

func (r *root) scoreCommand() *cobra.Command {
	o := &scoreOptions{root: r}
	cmd := &cobra.Command{
		Use: "score --model MODEL --data FILE", GroupID: groupModels, Args: wants(),
		Short: "Score the rows of a file with a model",
		Long: `Score every row of a CSV or Parquet file. MODEL is a model folder or file, models:/NAME/STAGE,
models:/NAME/VERSION, models:/NAME@ALIAS, or the URL of a model server. Columns that the model does not
want are passed over; one that it wants and the data do not have is an error. Numbers have the fewest
digits that give the same float32 back.`,
		Example: "  serin score --model examples/creditcard/champion --data examples/creditcard/holdout.parquet -o json",
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	cmd.Flags().StringVar(&o.model, "model", "", "what scores: a path, models:/..., or a URL")
	cmd.Flags().StringVar(&o.data, "data", "", "CSV or Parquet file (the data folder is SERIN_DATA here)")
	cmd.Flags().BoolVar(&o.margin, "margin", false, "the raw sums of the trees, before the link function")
	return cmd
}

func (o *scoreOptions) run(ctx context.Context) error {
	if o.model == "" || o.data == "" {
		return usage("score: --model and --data are both needed: serin score --model PATH --data FILE")
	}
	ref, err := model.ParseRef(o.model)
	if err != nil {
		return usage("score --model: %w", err)
	}
	return o.onBench(ctx, []model.Ref{ref}, func(b *app.Bench) error {
		output := app.OutputPrediction
		if o.margin {
			output = app.OutputMargin
		}
		got, err := b.Score(ctx, ref, o.data, output)
		if err != nil {
			return err
		}
		rows := byRow(got)
		return o.print(scored{rows}, renderScores(got, rows))
	})
}

// onBench runs fn with a bench for these references: that of a session when one of them is of the registry, one for paths and URLs otherwise.
func (r *root) onBench(ctx context.Context, refs []model.Ref, fn func(*app.Bench) error) error {
	cfg, err := r.load()
	if err != nil {
		return err
	}
	switch {
	case !slices.ContainsFunc(refs, model.Ref.Registered):
		b, err := app.NewBench(app.BenchOptions{Config: cfg, Logger: r.notices()})
		if err != nil {
			return err
		}
		return fn(b)
	case cfg.MLflowURI != "":
		b, err := app.NewBench(app.BenchOptions{Config: cfg, Registry: cfg.MLflowURI, Logger: r.notices()})
		if err != nil {
			return err
		}
		return fn(b)
	}
	return r.with(ctx, func(s *session) error {
		b, err := r.bench(s)
		if err != nil {
			return err
		}
		return fn(b)
	})
}

// scores are one row's: a number when there is one, else a list.
type scores []float32

// MarshalJSON writes the fewest digits that give the same float32; what JSON has no number for is null.
func (s scores) MarshalJSON() ([]byte, error) {
	if len(s) == 1 {
		return appendFloat(nil, s[0]), nil
	}
	b := []byte{'['}
	for i, v := range s {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendFloat(b, v)
	}
	return append(b, ']'), nil
}

var _ json.Marshaler = scores(nil)

func appendFloat(b []byte, v float32) []byte {
	if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
		return append(b, "null"...)
	}
	return strconv.AppendFloat(b, float64(v), 'g', -1, 32)
}

func byRow(s app.Scored) []scores {
	rows := []scores{}
	for i := 0; s.Width > 0 && i < len(s.Values); i += s.Width {
		rows = append(rows, scores(s.Values[i:i+s.Width]))
	}
	return rows
}

// renderScores is one line a row, after comments that say how the model was scored.
func renderScores(s app.Scored, rows []scores) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %d rows, %s\n", len(rows), s.Kind)
	for _, note := range s.Notes {
		fmt.Fprintf(&b, "# %s\n", note)
	}
	for _, row := range rows {
		var line []byte
		for i, v := range row {
			if i > 0 {
				line = append(line, ' ')
			}
			line = appendFloat(line, v)
		}
		b.Write(append(line, '\n'))
	}
	return b.String()
}
