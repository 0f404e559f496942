package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/oz-platform/cloudagents/internal/servertest"
)

// program is the worker as a binary, beside the server and the command line.
var program, serverProgram, client string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "oz-worker-test-")
		if err == nil {
			defer os.RemoveAll(dir)
			program, serverProgram, client = filepath.Join(dir, "oz-worker"), filepath.Join(dir, "ozd"), filepath.Join(dir, "oz")
			err = servertest.Build(dir, "oz-worker", "ozd", "oz")
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}
