//go:build linux

package local_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/local"
)

func Example() {
	// main has called local.Supervise.
	root, err := os.MkdirTemp("", "sandboxes")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(root)
	exec, err := local.New(root, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer exec.Close()

	ctx := context.Background()
	sandbox, err := exec.Start(ctx, executor.Spec{
		ID:        "execution-1",
		Workspace: "run-1",
		Command:   []string{"sh", "-c", `read -r token; echo "a token of ${#token} bytes"; exit 3`},
		Stdin:     []byte("0123456789\n"),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer sandbox.Remove(ctx)

	output, err := sandbox.Output(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer output.Close()
	if _, err := io.Copy(os.Stdout, output); err != nil {
		log.Fatal(err)
	}
	exit, err := sandbox.Wait(ctx)
	fmt.Println(exit.Code, err)
	// Output:
	// a token of 10 bytes
	// 3 <nil>
}
