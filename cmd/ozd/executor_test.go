package main

import (
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

// TestContainerdSettings: each bad one is named.
func TestContainerdSettings(t *testing.T) {
	for _, tt := range []struct{ yaml, want string }{
		{"executor: docker", "worker.executor"},
		{"containerd: {mounts: [/only]}", "worker.containerd.mounts[0]"},
		{"containerd: {mounts: ['/a:/b:rwx']}", "worker.containerd.mounts[0]"},
		{"containerd: {network: internet}", "worker.containerd.network"},
		{"containerd: {registries: {ghcr.io: {password_env: A, password_file: B}}}", "worker.containerd.registries.ghcr.io"},
	} {
		c := defaultConfig()
		assert.NilError(t, c.readFile(writeFile(t, "worker:\n  "+tt.yaml+"\n")))
		assert.ErrorContains(t, c.check(), tt.want)
	}
}

// TestRegistryPassword is read from where the file says, never from the file itself.
func TestRegistryPassword(t *testing.T) {
	env := func(name string) string { return map[string]string{"TOKEN": "from env"}[name] }
	for _, tt := range []struct {
		r         registryConfig
		want, bad string
	}{
		{registryConfig{}, "", ""},
		{registryConfig{PasswordEnv: "TOKEN"}, "from env", ""},
		{registryConfig{PasswordEnv: "MISSING"}, "", "MISSING"},
		{registryConfig{PasswordFile: writeFile(t, "from file\n")}, "from file", ""},
		{registryConfig{PasswordFile: filepath.Join(t.TempDir(), "none")}, "", "none"},
	} {
		got, err := tt.r.password(env)
		if tt.bad != "" {
			assert.Assert(t, err != nil && strings.Contains(err.Error(), tt.bad), "%v", err)
			continue
		}
		assert.NilError(t, err)
		assert.Equal(t, got, tt.want)
	}
}
