package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/internal/servertest"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// TestBackupAndRestore copies the data of a running server, and starts another
// one on the copy: runs, keys and secrets are there, and work goes on.
func TestBackupAndRestore(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), servertest.Patience)
	defer cancel()
	s := servertest.New(t, program, servertest.Talker(""))
	s.Start()
	_, err := s.Client().CreateSecret(ctx, oz.SecretInput{Name: "TOKEN", Value: "backup-canary-71c2f9"})
	assert.NilError(t, err)
	run, err := s.Client().Submit(ctx, oz.Request{Prompt: "greet"})
	assert.NilError(t, err)
	before, _ := finished(ctx, t, s, run.ID)

	to := filepath.Join(t.TempDir(), "copy")
	backup := func(dir string) (string, error) {
		cmd := exec.CommandContext(ctx, program, "backup", "--data", filepath.Join(s.Dir, "data"), dir)
		cmd.Env = servertest.Environ()
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := backup(to)
	assert.NilError(t, err, out)
	assert.Assert(t, strings.Contains(out, "To restore: ozd --data "+to), out)
	out, err = backup(to)
	assert.ErrorContains(t, err, "exit status 1")
	assert.Assert(t, strings.Contains(out, "a new directory is needed"), out)

	// A copy that fails half-way leaves nothing that looks like one.
	key := filepath.Join(s.Dir, "data", "secrets.key")
	assert.NilError(t, os.Rename(key, key+".away"))
	half := filepath.Join(t.TempDir(), "half")
	out, err = backup(half)
	assert.ErrorContains(t, err, "exit status 1")
	assert.Assert(t, strings.Contains(out, "secrets.key"), out)
	left, err := os.ReadDir(filepath.Dir(half))
	assert.NilError(t, err)
	assert.Equal(t, len(left), 0)
	assert.NilError(t, os.Rename(key+".away", key))

	restored := servertest.New(t, program, servertest.Talker(""))
	assert.NilError(t, os.Rename(to, filepath.Join(restored.Dir, "data")))
	restored.Start()
	got, _ := finished(ctx, t, restored, run.ID)
	assert.Equal(t, got.State, task.StateSucceeded)
	assert.Equal(t, got.Prompt, before.Prompt)
	secrets, err := restored.Client().Secrets(ctx)
	assert.NilError(t, err)
	assert.Equal(t, len(secrets), 1)
	next, err := restored.Client().Submit(ctx, oz.Request{Prompt: "greet"})
	assert.NilError(t, err)
	got, _ = finished(ctx, t, restored, next.ID)
	assert.Equal(t, got.State, task.StateSucceeded, "%s\n%s", got.Status.Message, restored.Output())
}

// TestBackupMistakes: nothing is made where there is nothing to copy.
func TestBackupMistakes(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"no data", "there is no server's data", []string{"backup", "--data", t.TempDir(), "x"}},
		{"no target", "name the new directory", []string{"backup"}},
		{"postgres", "pg_dump", []string{"backup", "--store", "postgres://h/d", "x"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), program, tt.args...)
			cmd.Dir, cmd.Env = t.TempDir(), servertest.Environ()
			out, err := cmd.CombinedOutput()
			assert.ErrorContains(t, err, "exit status")
			assert.Assert(t, strings.Contains(string(out), tt.want), "%s", out)
			left, err := os.ReadDir(cmd.Dir)
			assert.NilError(t, err)
			assert.Equal(t, len(left), 0)
		})
	}
}
