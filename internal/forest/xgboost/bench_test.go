package xgboost

import (
	"testing"
)

// Scoring allocates nothing, whatever the model.
func TestPredict_AllocatesNothing(t *testing.T) {
	for _, name := range []string{"gbtree-binary-logistic", "gbtree-multi-softmax", "gbtree-multi-softprob", "cat-partition", "dart-reg-squarederror", "gblinear-binary-logistic", "vector-softmax", "quantiles"} {
		f := one(t, "3.2.0", name)
		m := mustParse(t, f.files["model.ubj"])
		rows := f.rows(t)
		margins, out := make([]float32, f.Rows*m.Groups()), make([]float32, f.Rows*m.Outputs())
		if n := testing.AllocsPerRun(20, func() { m.Margins(margins, rows) }); n != 0 {
			t.Errorf("%s: Margins allocates %v times", name, n)
		}
		if n := testing.AllocsPerRun(20, func() { m.Predict(out, rows) }); n != 0 {
			t.Errorf("%s: Predict allocates %v times", name, n)
		}
	}
}

func BenchmarkPredict(b *testing.B) {
	f := one(b, "3.2.0", "random-forest")
	m := mustParse(b, f.files["model.ubj"])
	rows := f.rows(b)
	out := make([]float32, f.Rows)
	b.Run("batch", func(b *testing.B) {
		for b.Loop() {
			m.Predict(out, rows)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(f.Rows), "ns/row")
	})
	b.Run("row", func(b *testing.B) {
		for b.Loop() {
			m.Predict(out, rows[:f.Features])
		}
	})
}

func BenchmarkParse(b *testing.B) {
	f := one(b, "2.1.4", "deep")
	for _, file := range f.models() {
		b.Run(file, func(b *testing.B) {
			b.SetBytes(int64(len(f.files[file])))
			for b.Loop() {
				mustParse(b, f.files[file])
			}
		})
	}
}
