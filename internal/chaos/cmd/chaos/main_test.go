package main

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"
)

func TestMistakes(t *testing.T) {
	for _, tt := range []struct {
		args, want string
		code       int
	}{
		{"-store mysql", `store "mysql": must be sqlite or postgres`, 2},
		{"-n -5", "Faults may not be negative", 2},
		{"-lease 1ms", "Lease: must be at least 1s", 2},
		{"-faults 3", "flag provided but not defined: -faults", 2},
		{"-h", "number that chooses faults and stories", 0},
	} {
		t.Run(tt.args, func(t *testing.T) {
			var stdout, stderr strings.Builder
			code, err := run(t.Context(), strings.Fields(tt.args), &stdout, &stderr)
			said := stderr.String()
			if err != nil {
				said += err.Error()
			}
			assert.Equal(t, code, tt.code)
			assert.Assert(t, strings.Contains(said, tt.want), "%s", said)
		})
	}
}
