package executor_test

import (
	"path/filepath"
	"strings"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
)

// The rules of a Spec are tested with every driver by executortest.

func FuzzValidateName(f *testing.F) {
	for _, name := range []string{"", "a", "A-9", "..", "a/b", "-x", "é", "a\x00", strings.Repeat("a", 65)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		err := executor.ValidateName("ID", name)
		if err != nil {
			assert.ErrorIs(t, err, executor.ErrInvalidSpec)
			return
		}
		assert.Assert(t, filepath.IsLocal(name) && filepath.Base(name) == name && len(name) <= executor.MaxNameLen)
		assert.Assert(t, !strings.ContainsAny(name, "./\\ \x00\n") && name[0] != '-')
	})
}

func TestExitSuccess(t *testing.T) {
	assert.Assert(t, executor.Exit{}.Success())
	for _, exit := range []executor.Exit{{Code: 1}, {Code: 137, Signal: 9}, {Code: -1, Unknown: true}} {
		assert.Assert(t, !exit.Success(), "%+v", exit)
	}
}
