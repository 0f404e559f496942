//go:build unix

package filesecrets_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/secrets"
	"github.com/oz-platform/cloudagents/secrets/filesecrets"
	"github.com/oz-platform/cloudagents/secrets/secretstest"
	"github.com/oz-platform/cloudagents/task"
)

var (
	team = task.Scope{Type: task.ScopeTeam, UID: "t1"}
	ann  = task.Scope{Type: task.ScopeUser, UID: "ann"}
)

// directory is a place of secrets.
type directory string

func (d directory) Set(name, value string) error {
	return os.WriteFile(filepath.Join(string(d), name), []byte(value), 0o600)
}

func (d directory) Delete(name string) error { return os.Remove(filepath.Join(string(d), name)) }

func TestProvider(t *testing.T) {
	secretstest.Run(t, secretstest.Harness{
		Open: func(t *testing.T) (secrets.Provider, secretstest.Place) {
			dir := t.TempDir()
			p, err := filesecrets.New(team, dir)
			assert.NilError(t, err)
			return p, directory(dir)
		},
		Owner:    team,
		Stranger: ann,
	})
}

// read returns the variables in dir.
func read(t *testing.T, dir string) ([]string, error) {
	t.Helper()
	p, err := filesecrets.New(task.Scope{}, dir)
	assert.NilError(t, err)
	set, err := secrets.Resolve(t.Context(), []secrets.Provider{p}, secrets.Request{Owner: team})
	return set.Environ(), err
}

func TestTrailingNewline(t *testing.T) {
	for _, tt := range [][2]string{
		{"value-4711\n", "value-4711"}, {"value-4711\r\n", "value-4711"}, {"value-4711\n\n", "value-4711\n"}, {"value-4711 \n", "value-4711 "},
		{"value-4711\r", "value-4711\r"}, {"value-4711", "value-4711"},
	} {
		dir := t.TempDir()
		assert.NilError(t, directory(dir).Set("TOKEN", tt[0]))
		got, err := read(t, dir)
		assert.NilError(t, err)
		assert.DeepEqual(t, got, []string{"TOKEN=" + tt[1]})
	}
}

// TestKubernetesVolume lays out a directory as the kubelet does, rotation included.
func TestKubernetesVolume(t *testing.T) {
	dir := t.TempDir()
	for version, value := range map[string]string{"..2026_01": "old-value-4711", "..2026_02": "new-value-4712"} {
		assert.NilError(t, os.Mkdir(filepath.Join(dir, version), 0o755))
		assert.NilError(t, directory(filepath.Join(dir, version)).Set("TOKEN", value))
		assert.NilError(t, directory(filepath.Join(dir, version)).Set("EMPTY", "\n"))
	}
	assert.NilError(t, os.Symlink("..2026_01", filepath.Join(dir, "..data")))
	assert.NilError(t, os.Symlink("..data/TOKEN", filepath.Join(dir, "TOKEN")))
	assert.NilError(t, os.Symlink("..data/EMPTY", filepath.Join(dir, "EMPTY")))
	assert.NilError(t, os.Mkdir(filepath.Join(dir, "more"), 0o755))
	got, err := read(t, dir)
	assert.NilError(t, err)
	assert.DeepEqual(t, got, []string{"TOKEN=old-value-4711"})

	assert.NilError(t, os.Symlink("..2026_02", filepath.Join(dir, "..tmp")))
	assert.NilError(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	got, err = read(t, dir)
	assert.NilError(t, err)
	assert.DeepEqual(t, got, []string{"TOKEN=new-value-4712"})
}

func TestErrors(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	assert.NilError(t, os.WriteFile(outside, []byte("canary-value-4711"), 0o600))
	for _, tt := range []struct {
		name, want string
		prepare    func(dir string) error
	}{
		{"link out of the directory", "TOKEN", func(dir string) error { return os.Symlink(outside, filepath.Join(dir, "TOKEN")) }},
		{"relative link out", "TOKEN", func(dir string) error {
			to, err := filepath.Rel(dir, outside)
			if err != nil {
				return err
			}
			return os.Symlink(to, filepath.Join(dir, "TOKEN"))
		}},
		{"dangling link", "TOKEN", func(dir string) error { return os.Symlink("nowhere", filepath.Join(dir, "TOKEN")) }},
		{"pipe", "regular", func(dir string) error { return unix.Mkfifo(filepath.Join(dir, "TOKEN"), 0o600) }},
		{"bad name", "tls.crt", func(dir string) error { return directory(dir).Set("tls.crt", "canary-value-4711") }},
		{"far too large", "TOKEN", func(dir string) error { return directory(dir).Set("TOKEN", strings.Repeat("canary-4711", 1<<20)) }},
		{"too many", "1000", func(dir string) error {
			for i := range 1001 {
				if err := directory(dir).Set(fmt.Sprintf("N%d", i), "canary-value-4711"); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			assert.NilError(t, tt.prepare(dir))
			_, err := read(t, dir)
			assert.ErrorContains(t, err, tt.want)
			assert.Assert(t, !strings.Contains(err.Error(), "canary"))
		})
	}
	_, err := filesecrets.New(team, outside)
	assert.ErrorIs(t, err, task.ErrInvalid)
	_, err = filesecrets.New(team, outside+"-not")
	assert.ErrorIs(t, err, os.ErrNotExist)

	dir := filepath.Join(t.TempDir(), "gone")
	assert.NilError(t, os.Mkdir(dir, 0o700))
	p, err := filesecrets.New(team, dir)
	assert.NilError(t, err)
	assert.NilError(t, os.Remove(dir))
	_, err = p.Values(t.Context(), team)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func ExampleNew() {
	dir, err := os.MkdirTemp("", "secrets")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "NPM_TOKEN"), []byte("npm_aB3dE5fG7hJ9\n"), 0o600); err != nil {
		panic(err)
	}
	provider, err := filesecrets.New(team, dir)
	if err != nil {
		panic(err)
	}
	values, err := provider.Values(context.Background(), team)
	fmt.Println(values, err)
	// Output: [NPM_TOKEN=(hidden, NPM_TOKEN of Team:t1, version 0)] <nil>
}
