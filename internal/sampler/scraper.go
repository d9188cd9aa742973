package sampler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"serin/internal/analysis"
)

// maxBody bounds a page of metrics: 10 models have some hundred lines, a page of 16 MiB is not a gateway's.
const maxBody = 16 << 20

// ScraperOptions configure a Scraper. URL is required.
type ScraperOptions struct {
	// URL is a gateway, such as http://gw-1:8081; a URL without a path gets /metrics.
	URL string
	// HTTP sends the requests. Default: a client of its own without redirects. Timeouts come from the context.
	HTTP *http.Client
	// Names say what to read. Default: preset serin.
	Names analysis.Names
}

// Scraper is a Source that reads a gateway's /metrics page in the Prometheus text format. It is safe for concurrent use.
type Scraper struct {
	url   *url.URL
	http  *http.Client
	names analysis.Names
}

// NewScraper checks the options. It does not call the gateway.
func NewScraper(opts ScraperOptions) (*Scraper, error) {
	u, err := url.Parse(opts.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("gateway: its address must be an http or https URL, such as http://gw-1:8081")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/metrics"
	}
	if opts.Names.Requests == "" {
		if opts.Names, err = analysis.Preset("serin"); err != nil {
			return nil, err
		}
	}
	if err := opts.Names.Validate(); err != nil {
		return nil, fmt.Errorf("gateway %s: %w", u.Host, err)
	}
	if opts.HTTP == nil {
		opts.HTTP = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return &Scraper{url: u, http: opts.HTTP, names: opts.Names}, nil
}

// Scrape reads the page once. Processes that carry no instance label get the gateway's host and port.
func (s *Scraper) Scrape(ctx context.Context, name string, at time.Time) ([]analysis.Sample, error) {
	series, err := s.read(ctx, counters)
	if err != nil {
		return nil, err
	}
	for _, one := range series {
		if !labeled(one.Labels, s.names.InstanceLabels) {
			one.Labels[s.names.InstanceLabels[0]] = s.url.Host
		}
	}
	samples, err := analysis.Collect(at, name, s.names, series)
	if err != nil {
		return nil, fmt.Errorf("gateway %s: %w", s.url.Host, err)
	}
	return samples, nil
}

// Series reads the page once and gives the counters, histograms and gauges on it, as the gateway wrote them.
func (s *Scraper) Series(ctx context.Context) ([]analysis.Series, error) {
	return s.read(ctx, append([]dto.MetricType{dto.MetricType_GAUGE}, counters...))
}

// counters are the kinds that requests are counted by: a gauge of the same name is none.
var counters = []dto.MetricType{dto.MetricType_COUNTER, dto.MetricType_UNTYPED, dto.MetricType_HISTOGRAM}

func (s *Scraper) read(ctx context.Context, kinds []dto.MetricType) ([]analysis.Series, error) {
	body, err := s.get(ctx)
	if err != nil {
		return nil, fmt.Errorf("gateway %s: %w", s.url.Host, err)
	}
	series, err := parse(body, kinds)
	if err != nil {
		return nil, fmt.Errorf("gateway %s: %w", s.url.Host, err)
	}
	return series, nil
}

func (s *Scraper) get(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/plain;version=0.0.4")
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics page answered %s: check its address", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("metrics page is larger than %d MiB: scrape it with Prometheus instead", maxBody>>20)
	}
	return body, nil
}

func labeled(labels map[string]string, names []string) bool {
	for _, l := range names {
		if labels[l] != "" {
			return true
		}
	}
	return false
}

// parse reads a page of the text format into series of the given kinds.
func parse(body []byte, kinds []dto.MetricType) ([]analysis.Series, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("metrics page is not in the text format: %w", err)
	}
	var series []analysis.Series
	for name, family := range families {
		if !slices.Contains(kinds, family.GetType()) {
			continue
		}
		for _, m := range family.GetMetric() {
			series = append(series, flatten(name, family.GetType(), m)...)
		}
	}
	return series, nil
}

func flatten(name string, kind dto.MetricType, m *dto.Metric) []analysis.Series {
	one := func(suffix string, value float64) analysis.Series {
		labels := make(map[string]string, len(m.GetLabel())+1)
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		return analysis.Series{Name: name + suffix, Labels: labels, Value: value}
	}
	switch kind {
	case dto.MetricType_COUNTER:
		return []analysis.Series{one("", m.GetCounter().GetValue())}
	case dto.MetricType_UNTYPED:
		return []analysis.Series{one("", m.GetUntyped().GetValue())}
	case dto.MetricType_HISTOGRAM:
		h := m.GetHistogram()
		out := []analysis.Series{one("_sum", h.GetSampleSum()), one("_count", count(h.GetSampleCount()))}
		for _, b := range h.GetBucket() {
			s := one("_bucket", count(b.GetCumulativeCount()))
			s.Labels["le"] = strconv.FormatFloat(b.GetUpperBound(), 'g', -1, 64)
			out = append(out, s)
		}
		return out
	case dto.MetricType_GAUGE:
		return []analysis.Series{one("", m.GetGauge().GetValue())}
	case dto.MetricType_SUMMARY, dto.MetricType_GAUGE_HISTOGRAM:
	}
	return nil // nobody asks for these
}

// count is NaN for what no counter reaches: the parser turns NaN and negative counts into such numbers.
func count(n uint64) float64 {
	if n > 1<<53 {
		return math.NaN()
	}
	return float64(n)
}
