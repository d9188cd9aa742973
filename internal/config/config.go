// Package config is what serin.yaml, the environment and the flags come to, and where each value came from. It never starts, opens or calls
// anything, and never shows a secret.
package config

import (
	"errors"
	"fmt"
	"strings"
)

// Config is the configuration in force. The comments of its fields are the manual of serin.yaml; relative paths in the file are relative to it,
// those in the environment and in flags to the working directory.
type Config struct {
	// File is the serin.yaml that was read, "" when there is none.
	File string

	// Server is `server:`, the API and the web page.
	Server Server
	// Gateway is `gateway:`, the gateway inside `serin serve` and the one of `serin gateway`.
	Gateway Gateway
	// Gateways is `gateways:`, the base URLs of the gateways that must acknowledge a deploy and whose /metrics are sampled. None by default: only
	// the gateway in the same process counts.
	Gateways []string
	// Models is `models:`, one entry a registered model, in the order of the file. Empty: the models of the embedded registry that have a
	// Production version.
	Models []Model
	// Notifications is `notifications:`, the channels that plans name. By default one channel, `log`, that hears of everything.
	Notifications []Channel

	// Data is the folder of the embedded store (--data, SERIN_DATA; serin-data in the working directory).
	Data string
	// MLflowURI is the MLflow server whose registry is used (MLFLOW_TRACKING_URI); "" is the embedded registry.
	MLflowURI string
	// PrometheusURL is where samples come from (PROMETHEUS_URL); "" samples the gateways.
	PrometheusURL string
	// ServerURL is the server that commands talk to (--server, SERIN_SERVER); "" is the one that DATA/server.json names.
	ServerURL string
	// Model is the model that a command is about (--model, SERIN_MODEL); "" leaves it to the command.
	Model string
	// Plan and RoutingFile stand above those of every model (--plan, SERIN_PLAN; --routing-file, SERIN_ROUTING_FILE).
	Plan        string
	RoutingFile string

	// sources says for each setting where it came from; what is not in it is a default.
	sources map[string]string
}

// Server is where the API and the web page are.
type Server struct {
	// Listen is `listen:`, host:port (--listen; 127.0.0.1:8080). Only loopback in this version, since there are no tokens yet.
	Listen string
	// ExternalURL is `external_url:`, the address that people open, for links in messages; by default that of Listen.
	ExternalURL string
}

// Gateway is where predictions are asked for.
type Gateway struct {
	// Listen is `listen:`, host:port (--gateway-listen; 127.0.0.1:8081). Only loopback in this version.
	Listen string
}

// BackendKind says who runs the process that answers.
type BackendKind string

// The backends of this version.
const (
	// BackendInProcess scores in the gateway itself.
	BackendInProcess BackendKind = "inprocess"
	// BackendURLs are two model servers that you run: roles move between them, processes do not.
	BackendURLs BackendKind = "urls"
)

// Failover says whether the champion answers when the canary fails.
type Failover string

// The words of `failover:`; off is for services with side effects.
const (
	FailoverOn  Failover = "on"
	FailoverOff Failover = "off"
)

// Lost says what a gateway serves when it has not heard from the server for too long.
type Lost string

// The words of `onControllerLost:`.
const (
	LostChampion Lost = "champion"
	LostKeep     Lost = "keep"
)

// Preset names the metrics that a model's service exports.
type Preset string

// The presets of this version; both are http_requests_total and http_request_duration_seconds with the labels version and status.
const (
	PresetSerin      Preset = "serin"
	PresetPrometheus Preset = "prometheus"
)

// DefaultRoutingFile is where the routing of a model is when nothing names a place, in the working directory.
const DefaultRoutingFile = "config/traffic_routing.json"

// Model is one entry of `models:`.
type Model struct {
	// Name is the registered model.
	Name string
	// Plan is `plan:`, the plan file of its rollouts; "" wants --plan or SERIN_PLAN.
	Plan string
	// RoutingFile is `routing_file:`, one a model (config/traffic_routing.json in the working directory).
	RoutingFile string
	// Backend is `backend:`, inprocess (default) or {urls: [A, B]}.
	Backend BackendKind
	// URLs are the two slots of BackendURLs.
	URLs []string
	// Identity is `identity: {path: /health, field: model_version}`, where a model server tells the version that it has loaded. Without it the
	// version is not verified.
	Identity Identity
	// Failover is `failover:`, on (default) or off.
	Failover Failover
	// OnControllerLost is `onControllerLost:`, champion (default) or keep.
	OnControllerLost Lost
	// Metrics is `metrics: {preset: serin}`, serin (default) or prometheus.
	Metrics Preset
	// Autostart is `autostart:`, never: a rollout is started by a person, a job or a call.
	Autostart string
}

// Identity is a path and the field of the JSON there.
type Identity struct {
	Path  string
	Field string
}

// ChannelKind says how a channel tells.
type ChannelKind string

// The kinds of channels.
const (
	ChannelLog     ChannelKind = "log"
	ChannelSlack   ChannelKind = "slack"
	ChannelWebhook ChannelKind = "webhook"
)

// Channel is one entry of `notifications:`.
type Channel struct {
	// Name is what plans call it.
	Name string
	// Kind is the key that it has: `log: {}`, `slack: {env: NAME}` or `webhook: {env: NAME}`.
	Kind ChannelKind
	// Target is the address of a slack or webhook channel, by {env: NAME} or {file: PATH}; a literal one is a lint warning.
	Target Secret
	// On is `on:`, the events that it hears of.
	On []string
}

// RoutingPath is the routing file of a model: --routing-file, SERIN_ROUTING_FILE, the model's, or the default.
func (c Config) RoutingPath(model string) string {
	if c.RoutingFile != "" {
		return c.RoutingFile
	}
	if m, ok := c.Find(model); ok {
		return m.RoutingFile
	}
	return DefaultRoutingFile
}

// PlanPath is the plan file of a model: --plan, SERIN_PLAN, or the model's; "" when nothing names one.
func (c Config) PlanPath(model string) string {
	if c.Plan != "" {
		return c.Plan
	}
	m, _ := c.Find(model)
	return m.Plan
}

// Find gives a model's entry, and whether there is one.
func (c Config) Find(model string) (Model, bool) {
	for _, m := range c.Models {
		if m.Name == model {
			return m, true
		}
	}
	return Model{}, false
}

// BaseURL is the address of the web page, without a slash at the end, for links.
func (c Config) BaseURL() string {
	if c.Server.ExternalURL != "" {
		return c.Server.ExternalURL
	}
	return "http://" + c.Server.Listen
}

// CheckServe says what keeps this configuration from being served, though single commands may work with it.
func (c Config) CheckServe() error {
	if c.MLflowURI != "" && len(c.Models) == 0 {
		return errors.New("models of a real MLflow are served by name: list them under models: in serin.yaml, or unset MLFLOW_TRACKING_URI")
	}
	if len(c.Models) < 2 {
		return nil
	}
	names := make([]string, len(c.Models))
	for i, m := range c.Models {
		names[i] = m.Name
	}
	for _, one := range []Setting{c.plain("routing_file", c.RoutingFile), c.plain("plan", c.Plan)} {
		if one.Value != "" {
			return fmt.Errorf("%s from %s is one file for %d models (%s): remove it, and name a file for each in %s",
				one.Value, one.Source, len(names), strings.Join(names, ", "), c.File)
		}
	}
	return nil
}
