//go:build linux

package local_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/oz-platform/cloudagents/executor/local"
)

func TestMain(m *testing.M) {
	if code, ok := local.Supervise(); ok {
		os.Exit(code)
	}
	if root := os.Getenv(helperRoot); root != "" {
		os.Exit(helperWorker(root))
	}
	goleak.VerifyTestMain(m)
}
