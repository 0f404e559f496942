//go:build linux

package local_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/oz-platform/cloudagents/executor/local"
)

func TestMain(m *testing.M) {
	if os.Getenv(helperUnsupervised) != "" {
		_, err := local.New(os.Args[1], nil)
		fmt.Print(err)
		os.Exit(0)
	}
	if code, ok := local.Supervise(); ok {
		os.Exit(code)
	}
	if root := os.Getenv(helperRoot); root != "" {
		os.Exit(helperWorker(root))
	}
	goleak.VerifyTestMain(m)
}
