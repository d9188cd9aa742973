package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"serin/internal/model"
	"serin/internal/strictyaml"
)

// checked reads a text that a check must accept.
func checked(check func(string) (value, problem string)) func(strictyaml.Value) (string, bool) {
	return func(v strictyaml.Value) (string, bool) {
		text, ok := v.Text()
		if !ok {
			return "", false
		}
		value, problem := check(text)
		if problem != "" {
			v.Faultf("%s", problem)
			return "", false
		}
		return value, true
	}
}

func listen(v strictyaml.Value) (string, bool)  { return checked(checkListen)(v) }
func address(v strictyaml.Value) (string, bool) { return checked(checkURL)(v) }

func asItIs(s string) (value, problem string) { return s, "" }

func checkModel(s string) (value, problem string) {
	if err := model.ValidateName(s); err != nil {
		return "", err.Error()
	}
	return s, ""
}

// checkListen wants host:port on loopback: anybody who reaches the port may promote, until there are tokens.
func checkListen(s string) (value, problem string) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Sprintf("%q is no address: write host:port, such as 127.0.0.1:8080", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return "", fmt.Sprintf("%q has no port between 0 and 65535: write host:port, such as 127.0.0.1:8080", s)
	}
	if host == "localhost" {
		return s, ""
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsLoopback() {
		return s, ""
	}
	return "", fmt.Sprintf("%q is not loopback, and tokens are not in this version: listen on 127.0.0.1:%s, behind a proxy that asks who is there", s, port)
}

// checkURL wants the base of an HTTP service and drops the slash at its end. A password in it is never shown.
func checkURL(s string) (value, problem string) {
	u, err := url.Parse(s)
	shown, _ := redact(s)
	switch {
	case err != nil:
		return "", "is no URL: write it like http://host:8080"
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "", fmt.Sprintf("%q is no HTTP address: write it like http://host:8080", shown)
	case strings.ContainsAny(s, "?#"):
		return "", fmt.Sprintf("%q has a query or a fragment: give the base address only", shown)
	}
	return strings.TrimRight(s, "/"), ""
}

// redact hides a password in a URL and says whether there was one.
func redact(s string) (shown string, secret bool) {
	u, err := url.Parse(s)
	if err != nil || u.User == nil {
		return s, false
	}
	u.User = url.User("hidden")
	return u.String(), true
}
