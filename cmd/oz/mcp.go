package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
)

// mcpServers adds what --mcp names to a configuration: the uuid or id of a
// shared server, JSON, or a file of JSON, each one server, a map of servers or
// {"mcpServers": {...}}.
func mcpServers(servers map[string]json.RawMessage, specs []string) (map[string]json.RawMessage, error) {
	for _, spec := range specs {
		found, err := mcpServer(spec)
		if err != nil {
			return nil, usageError{fmt.Errorf("--mcp: %w", err)}
		}
		for name, raw := range found {
			if err := checkTransport(raw); err != nil {
				return nil, usageError{fmt.Errorf("--mcp: server %q: %w", name, err)}
			}
			if servers == nil {
				servers = map[string]json.RawMessage{}
			}
			servers[name] = raw
		}
	}
	return servers, nil
}

func mcpServer(spec string) (map[string]json.RawMessage, error) {
	text := strings.TrimSpace(spec)
	switch {
	case text == "":
		return nil, errors.New("is empty")
	case strings.HasPrefix(text, "{"):
		return parseServers([]byte(text), "server")
	case uuid.Validate(text) == nil:
		return shared(text), nil
	}
	data, err := os.ReadFile(text)
	if errors.Is(err, os.ErrNotExist) && !strings.ContainsAny(text, "/.\\ ") {
		return shared(text), nil // the id of a shared server, such as linear
	}
	if err != nil {
		return nil, err
	}
	return parseServers(data, strings.TrimSuffix(filepath.Base(text), filepath.Ext(text)))
}

func shared(id string) map[string]json.RawMessage {
	raw, _ := json.Marshal(map[string]string{"warp_id": id}) // strings cannot fail
	return map[string]json.RawMessage{id: raw}
}

// parseServers reads JSON. A server without a name gets one.
func parseServers(data []byte, name string) (map[string]json.RawMessage, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		return nil, fmt.Errorf("is neither a server's uuid, JSON nor a file: %w", err)
	}
	if inner, ok := object["mcpServers"]; ok {
		object = nil
		if err := json.Unmarshal(inner, &object); err != nil {
			return nil, fmt.Errorf("mcpServers: %w", err)
		}
		return object, nil
	}
	for _, member := range []string{"command", "url", "warp_id"} {
		if _, ok := object[member]; ok {
			return map[string]json.RawMessage{name: data}, nil
		}
	}
	return object, nil
}

// checkTransport asks for exactly one way to reach the server (Oz API, 6.3).
func checkTransport(raw json.RawMessage) error {
	var c struct {
		ID      string `json:"warp_id"`
		Command string `json:"command"`
		URL     string `json:"url"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return err
	}
	given := 0
	for _, s := range []string{c.ID, c.Command, c.URL} {
		if s != "" {
			given++
		}
	}
	if given != 1 {
		return errors.New("needs exactly one of warp_id, command and url")
	}
	return nil
}
