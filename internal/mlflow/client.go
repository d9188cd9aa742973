// Package mlflow speaks MLflow's REST API as a client: models, versions, stages, aliases, tags, and the files of a version with a cache on disk.
// It never decides what is promoted, never loads a model, and never executes what it fetches.
package mlflow

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Options configures a Client. TrackingURI is required, CacheDir where files are fetched; the rest has defaults.
type Options struct {
	// TrackingURI is the server's address, http or https, with or without a path prefix: MLFLOW_TRACKING_URI.
	TrackingURI string
	// CacheDir is where fetched versions are kept, one folder a version and address. It may be shared between processes.
	CacheDir string
	// HTTP carries the requests; nil means a transport of the client's own. InProcess gives one that calls a handler.
	HTTP http.RoundTripper
	// Username and Password are sent as Basic authentication and win over Token, as in MLflow's own client.
	Username, Password string
	// Token is sent as a Bearer token.
	Token string
	// AllowedRoots are absolute folders of this machine that a version's file: address may be read from. Others are read through the server.
	AllowedRoots []string
	// MaxBytes and MaxFiles bound one version; 0 means 8 GiB and 10 000 files.
	MaxBytes int64
	MaxFiles int
	// Attempts is how often a request is tried at most; 0 means 5.
	Attempts int
	// CallTimeout bounds one try of a call that moves no file; 0 means 30 s.
	CallTimeout time.Duration
	// Logger is told of retries and of degraded promotions; nil means silence.
	Logger *slog.Logger
}

// Client talks to one registry. It is safe for concurrent use and holds no state but its cache folder.
type Client struct {
	base  *url.URL // without user info and trailing slash
	http  *http.Client
	opts  Options
	log   *slog.Logger
	cache cache
}

// New checks the options and returns a client. It sends nothing.
func New(o Options) (*Client, error) {
	base, err := parseTrackingURI(o.TrackingURI)
	if err != nil {
		return nil, err
	}
	if user := base.User; user != nil {
		if o.Username == "" {
			o.Username = user.Username()
			o.Password, _ = user.Password()
		}
		base.User = nil
	}
	fillDefaults(&o)
	c := &Client{base: base, opts: o, log: o.Logger, cache: cache{dir: o.CacheDir}}
	// A redirect is an answer to explain, not one to follow: it may lead to a login page or carry the credentials to another host.
	c.http = &http.Client{Transport: o.HTTP, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

func fillDefaults(o *Options) {
	if o.MaxBytes <= 0 {
		o.MaxBytes = 8 << 30
	}
	if o.MaxFiles <= 0 {
		o.MaxFiles = 10_000
	}
	if o.Attempts <= 0 {
		o.Attempts = 5
	}
	if o.CallTimeout <= 0 {
		o.CallTimeout = 30 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.HTTP == nil {
		o.HTTP = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: 2 * time.Minute, // the artifact proxy stages a whole file before its first byte
			IdleConnTimeout:       90 * time.Second,
			MaxIdleConnsPerHost:   8,
		}
	}
}

// parseTrackingURI accepts http and https, and says for the rest what to do instead.
func parseTrackingURI(s string) (*url.URL, error) {
	if s == "" {
		return nil, fmt.Errorf("empty registry address: set MLFLOW_TRACKING_URI to the server's URL, such as http://mlflow:5000")
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("registry address is not a URL: give one such as http://mlflow:5000")
	}
	switch {
	case strings.HasPrefix(u.Scheme, "databricks") || strings.HasPrefix(s, "databricks"):
		return nil, fmt.Errorf("registry address %s: %w: Unity Catalog and the Databricks registry have other endpoints and no stages; "+
			"give an MLflow server's http URL", redact(s), ErrUnsupported)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("registry address %s: %w: serin talks to a server; start one on that store with "+
			"`mlflow server --backend-store-uri ...` and give its http URL", redact(s), ErrUnsupported)
	case u.Host == "":
		return nil, fmt.Errorf("registry address %s has no host: give one such as http://mlflow:5000", redact(s))
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("registry address %s has a query or a fragment: give only scheme, host, port and path", redact(s))
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	return u, nil
}

// redact leaves out user info and query: a password may stand in either, and a token in the place of the user's name.
func redact(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "(unreadable)"
	}
	if u.User != nil {
		u.User = url.User("xxxxx")
	}
	if u.RawQuery != "" {
		u.RawQuery = "xxxxx"
	}
	return u.String()
}

// URL is the registry's address without credentials, as it stands in messages and cache keys.
func (c *Client) URL() string { return c.base.String() }
