package oz_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/oz-platform/cloudagents/executor/local"
	"github.com/oz-platform/cloudagents/internal/pgtest"
)

func TestMain(m *testing.M) {
	if code, ok := local.Supervise(); ok {
		os.Exit(code)
	}
	if len(os.Args) > 2 && os.Args[1] == "test-runner" {
		os.Exit(runnerMain(os.Args[2]))
	}
	goleak.VerifyTestMain(pgtest.Main(m))
}
