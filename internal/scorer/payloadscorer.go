package scorer

import (
	"context"
	"sync"
)

// PayloadScorer answers /invocations bodies with a scorer. It is safe for concurrent use; with a native scorer and a steady form of request it
// allocates nothing.
type PayloadScorer struct {
	scorer Scorer
	// native is scorer when it scores in this process, else nil.
	native *native
	// predict is native's Predict, kept so that no request makes a method value.
	predict call
	pool    sync.Pool // of *session
}

// session is the memory of one request.
type session struct {
	decoder decoder
	scratch scratch
}

// maxKept is the largest buffer, in values, that goes back to the pool; one huge request does not keep its memory for ever.
const maxKept = 1 << 20

// NewPayloadScorer answers with sc, which it does not close.
func NewPayloadScorer(sc Scorer) *PayloadScorer {
	p := &PayloadScorer{scorer: sc}
	if n, ok := sc.(*native); ok {
		p.native = n
		p.predict = call{width: n.model.Outputs(), predict: n.model.Predict}
	}
	p.pool.New = func() any { return new(session) }
	return p
}

// Info describes the scorer behind it.
func (p *PayloadScorer) Info() Info { return p.scorer.Info() }

// ScorePayload decodes body as DecodePayload does, scores it and appends {"predictions": [...]} to out. A fault of the request is an *InputError,
// which has the Status to answer with and is never a failure of the model.
func (p *PayloadScorer) ScorePayload(ctx context.Context, contentType string, body []byte, out []byte) ([]byte, error) {
	s := p.pool.Get().(*session) //nolint:errcheck // New puts nothing else in
	defer p.put(s)
	if err := s.decoder.decode(contentType, body); err != nil {
		return out, err
	}
	if p.native == nil {
		scores, err := p.scorer.Score(ctx, s.decoder.frame)
		if err != nil {
			return out, err
		}
		return AppendPredictions(out, scores), nil
	}
	if err := p.native.into(ctx, &s.decoder.frame, &s.scratch, p.predict); err != nil {
		return out, err
	}
	return AppendPredictions(out, Scores{Values: s.scratch.scores, Width: p.predict.width}), nil
}

func (p *PayloadScorer) put(s *session) {
	if cap(s.decoder.frame.Values) <= maxKept && cap(s.decoder.byColumn) <= maxKept && cap(s.scratch.scores) <= maxKept && len(s.decoder.names) <= 1<<14 {
		p.pool.Put(s)
	}
}
