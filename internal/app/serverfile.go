package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ServerFile is DATA/server.json: where the server of a data folder is. Commands read it to find the server, or the routing files when it is dead.
type ServerFile struct {
	API     string `json:"api"`
	Gateway string `json:"gateway,omitempty"`
	PID     int    `json:"pid"`
	// RoutingFiles gives each served model's routing file.
	RoutingFiles map[string]string `json:"routing_files"`
}

func serverPath(data string) string { return filepath.Join(data, "server.json") }

// ReadServerFile reads DATA/server.json; none is the zero value. It says where a server was, not that it lives.
func ReadServerFile(data string) (ServerFile, error) {
	var f ServerFile
	b, err := os.ReadFile(serverPath(data))
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil {
		return f, fmt.Errorf("read %s: %w", serverPath(data), err)
	}
	return f, nil
}

// writeServerFile replaces DATA/server.json in one step.
func writeServerFile(data string, f ServerFile) error {
	b, err := json.MarshalIndent(f, "", "  ")
	if err == nil {
		err = replaceFile(serverPath(data), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", serverPath(data), err)
	}
	return nil
}

// removeServerFile takes DATA/server.json away when it is still about the server that was at this address in this process.
func removeServerFile(data, api string) error {
	f, err := ReadServerFile(data)
	if err != nil || f.API != api || f.PID != os.Getpid() {
		return err
	}
	return os.Remove(serverPath(data))
}
