package containers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/yamlfile"
)

// TestSettings: each bad one is named.
func TestSettings(t *testing.T) {
	for _, tt := range []struct{ yaml, want string }{
		{"{mounts: [/only]}", "mounts[0]"},
		{"{mounts: ['/a:/b:rwx']}", "mounts[0]"},
		{"{network: internet}", "network"},
		{"{warm_states: -1}", "warm_states"},
		{"{warm_states: 1001}", "warm_states"},
		{"{warm_disk_gb: -0.5}", "warm_disk_gb"},
		{"{warm_disk_gb: .nan}", "warm_disk_gb"},
		{"{warm_pool: -1}", "warm_pool"},
		{"{image_days: -1}", "image_days"},
		{"{image_days: .inf}", "image_days"},
		{"{image_disk_gb: -1}", "image_disk_gb"},
		{"{warm_pool: 33}", "warm_pool"},
		{"{warm_pool_environments: 65}", "warm_pool_environments"},
		{"{registries: {ghcr.io: {password_env: A, password_file: B}}}", "registries.ghcr.io"},
	} {
		var c Config
		assert.NilError(t, yamlfile.Unmarshal([]byte(tt.yaml), &c))
		assert.ErrorContains(t, c.Check(), tt.want)
	}
}

// TestRegistryPassword is read from where the file says, never from the file itself.
func TestRegistryPassword(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	assert.NilError(t, os.WriteFile(file, []byte("from file\n"), 0o600))
	env := func(name string) string { return map[string]string{"TOKEN": "from env"}[name] }
	for _, tt := range []struct {
		r         Registry
		want, bad string
	}{
		{Registry{}, "", ""},
		{Registry{PasswordEnv: "TOKEN"}, "from env", ""},
		{Registry{PasswordEnv: "MISSING"}, "", "MISSING"},
		{Registry{PasswordFile: file}, "from file", ""},
		{Registry{PasswordFile: filepath.Join(t.TempDir(), "none")}, "", "none"},
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
