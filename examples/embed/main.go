// Command embed is the smallest program that has the platform inside: it opens
// a store, mounts the HTTP API in its own mux, submits a run and watches it.
//
//	ANTHROPIC_API_KEY=... go run ./examples/embed 'Write a haiku about Go into haiku.txt'
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/harness"
	ozagent "github.com/oz-platform/cloudagents/executor/harness/oz"
	"github.com/oz-platform/cloudagents/executor/local"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/rest"
)

func main() {
	// This binary also runs the agents, each in a process of its own.
	if code, ok := local.Supervise(); ok {
		os.Exit(code)
	}
	if code, ok := runner.Main(client.DialLink, map[string]harness.Harness{"oz": ozagent.New(nil)}); ok {
		os.Exit(code)
	}
	dir := must(os.MkdirTemp("", "oz-embed-"))
	defer os.RemoveAll(dir)
	embed(context.Background(), dir, strings.Join(os.Args[1:], " "), os.Stdout)
}

// embed is the whole of it; the README shows it.
func embed(ctx context.Context, dir, prompt string, out io.Writer) {
	store := must(sqlitestore.Open(ctx, filepath.Join(dir, "oz.db"), nil))
	defer store.Close()
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	worker := must(oz.NewLocalWorker(must(local.New(filepath.Join(dir, "run"), nil)), &oz.LocalWorkerOptions{
		Command: runner.Command(must(os.Executable())), ServerURL: "http://" + ln.Addr().String()}))
	platform := must(oz.New(store, &oz.Options{Workers: []oz.Worker{worker}, Models: models()}))

	mux := http.NewServeMux() // yours, with your own routes beside ours
	mux.Handle("/api/v1/", must(rest.New(platform, nil)))
	go http.Serve(ln, mux)
	defer ln.Close()
	running, stop := context.WithCancel(ctx)
	stopped := make(chan error)
	go func() { stopped <- platform.Run(running) }()
	defer func() { stop(); <-stopped }()

	run := must(platform.Submit(ctx, oz.Request{Prompt: prompt}))
	for event, err := range platform.Watch(ctx, run.ID, 0) {
		switch p := must(event, err).Payload.(type) {
		case *task.Message:
			fmt.Fprint(out, p.Text)
		case *task.StateChanged:
			fmt.Fprintf(out, "\n[%s] %s\n", p.To, p.Status.Message)
		}
	}
}

// models says who thinks. The key stays in the runs' gateways: no agent sees it.
func models() executor.Models {
	return executor.Models{Default: "claude-sonnet-4-5", Providers: []executor.ModelProvider{{
		Name: "anthropic", Wire: "anthropic", BaseURL: os.Getenv("ANTHROPIC_BASE_URL"),
		APIKey: executor.Sensitive(os.Getenv("ANTHROPIC_API_KEY")), Models: []string{"claude-*"}}}}
}

// must keeps the example short; your program returns its errors.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
