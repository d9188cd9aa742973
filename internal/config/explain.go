package config

import (
	"fmt"
	"strings"
)

// Setting is one line of `serin config`.
type Setting struct {
	Name string `json:"name"`
	// Value is what is in force; "" is shown for what is not set, and secrets are hidden.
	Value string `json:"value"`
	// Source is "flag --data", "environment SERIN_DATA", "file serin.yaml:3" or "default".
	Source string `json:"source"`
	// Secret says that the value, or a part of it, is hidden.
	Secret bool `json:"secret,omitempty"`
}

// Explain lists every setting with its value and where it came from, secrets hidden.
func (c Config) Explain() []Setting {
	list := []Setting{
		c.plain("server.listen", c.Server.Listen),
		c.url("server.external_url", c.Server.ExternalURL),
		c.plain("gateway.listen", c.Gateway.Listen),
		c.urls("gateways", c.Gateways),
		c.plain("data", c.Data),
		c.url("mlflow", c.MLflowURI),
		c.url("prometheus", c.PrometheusURL),
		c.url("server_url", c.ServerURL),
		c.plain("model", c.Model),
		c.plain("plan", c.Plan),
		c.plain("routing_file", c.RoutingFile),
	}
	for _, m := range c.Models {
		list = append(list, c.explainModel(m)...)
	}
	for _, ch := range c.Notifications {
		list = append(list, c.explainChannel(ch))
	}
	return list
}

func (c Config) explainModel(m Model) []Setting {
	at := "models." + m.Name + "."
	backend := c.plain(at+"backend", string(m.Backend))
	if m.Backend == BackendURLs {
		backend = c.urls(at+"backend", m.URLs)
		backend.Value = "urls: " + backend.Value
	}
	identity := ""
	if m.Identity.Path != "" {
		identity = m.Identity.Field + " at " + m.Identity.Path
	}
	return []Setting{
		c.plain(at+"plan", m.Plan),
		c.plain(at+"routing_file", m.RoutingFile),
		backend,
		c.plain(at+"identity", identity),
		c.plain(at+"failover", string(m.Failover)),
		c.plain(at+"onControllerLost", string(m.OnControllerLost)),
		c.plain(at+"metrics", string(m.Metrics)),
		c.plain(at+"autostart", m.Autostart),
	}
}

func (c Config) explainChannel(ch Channel) Setting {
	s := c.plain("notifications", "")
	s.Name = "notifications." + ch.Name
	s.Value = fmt.Sprintf("%s on %s", ch.Kind, strings.Join(ch.On, ", "))
	if ch.Kind != ChannelLog {
		s.Secret = true
		s.Value = fmt.Sprintf("%s %s (%s) on %s", ch.Kind, hidden, ch.Target.From(), strings.Join(ch.On, ", "))
	}
	return s
}

func (c Config) plain(name, value string) Setting {
	source, ok := c.sources[name]
	if !ok {
		source = "default"
	}
	return Setting{Name: name, Value: value, Source: source}
}

func (c Config) url(name, value string) Setting { return c.urls(name, []string{value}) }

// urls hides the passwords of addresses.
func (c Config) urls(name string, values []string) Setting {
	s := c.plain(name, "")
	shown := make([]string, len(values))
	for i, v := range values {
		text, secret := redact(v)
		shown[i], s.Secret = text, s.Secret || secret
	}
	s.Value = strings.Join(shown, ", ")
	return s
}
