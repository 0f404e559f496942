package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/oz-platform/cloudagents/environment"
	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/executor/local"
	"github.com/oz-platform/cloudagents/executor/runner"
	"github.com/oz-platform/cloudagents/internal/console"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/fileblob"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/transport/rest"
)

const defaultPrompt = `Splitting a refund loses cents: TestSplitKeepsEveryCent and TestRefundIsFair fail.
Find the cause and mend it without touching the tests. Prove it by running all tests, then push a branch.`

// options are those of the command line.
type options struct {
	dir, prompt string
	env         func(string) string
	out         io.Writer
}

// run shows one run from prompt to pushed branch; ok is false when the run
// did not succeed.
func run(ctx context.Context, o options) (ok bool, err error) {
	for _, program := range []string{"git", "go"} {
		if _, err := exec.LookPath(program); err != nil {
			return false, fmt.Errorf("%s is needed and not found in PATH: install it and start again", program)
		}
	}
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return false, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	if o.dir == "" {
		if dir, err = os.MkdirTemp("", "oz-quickstart-"); err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	remote, err := makeRemote(ctx, filepath.Join(dir, "remote.git"))
	if err != nil {
		return false, err
	}
	models, closeModel, err := chooseModel(o)
	if err != nil {
		return false, err
	}
	defer closeModel()
	p, stop, err := start(ctx, dir, models)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return show(ctx, o, p, remote)
}

// start brings the server up in this process. stop ends it and what it runs.
func start(ctx context.Context, dir string, models executor.Models) (*oz.Platform, func() error, error) {
	store, err := sqlitestore.Open(ctx, filepath.Join(dir, "oz.db"), nil)
	if err != nil {
		return nil, nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	p, err := assemble(ctx, dir, store, "http://"+ln.Addr().String(), models)
	if err != nil {
		return nil, nil, errors.Join(err, ln.Close(), store.Close())
	}
	api, err := rest.New(p, nil)
	if err != nil {
		return nil, nil, errors.Join(err, ln.Close(), store.Close())
	}
	server := rest.NewServer("", api)
	running, cancel := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() error { return p.Run(running) })
	g.Go(func() error { return server.Serve(ln) })
	return p, func() error {
		cancel()
		closed := server.Close()
		_ = g.Wait() // it was told to stop
		return errors.Join(closed, store.Close())
	}, nil
}

// assemble plugs the drivers together.
func assemble(ctx context.Context, dir string, store task.Store, address string, models executor.Models) (*oz.Platform, error) {
	sandboxes, err := local.New(filepath.Join(dir, "run"), nil)
	if err != nil {
		return nil, err
	}
	blobs, err := fileblob.Open(filepath.Join(dir, "blobs"), nil)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	// A sandbox has a home of its own. Go's build cache is shared with it, so
	// that the demonstration does not begin with compiling the standard library.
	cache, err := exec.CommandContext(ctx, "go", "env", "GOCACHE").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	worker, err := oz.NewLocalWorker(sandboxes, &oz.LocalWorkerOptions{
		Command: runner.Command(self), ServerURL: address, StopOnShutdown: true,
		CacheDir: filepath.Join(dir, "mirrors"), Env: []string{"GOCACHE=" + strings.TrimSpace(string(cache)), "GOTOOLCHAIN=local"},
	})
	if err != nil {
		return nil, err
	}
	return oz.New(store, &oz.Options{Workers: []oz.Worker{worker}, Models: models, Blobs: blobs,
		Limits: task.Limits{MaxTurns: 60, MaxMinutes: 20, MaxTokens: 3_000_000}})
}

// show submits the run, shows it live, and sums it up.
func show(ctx context.Context, o options, p *oz.Platform, remote string) (bool, error) {
	env, err := p.CreateEnvironment(ctx, environment.Config{Name: "tally", Description: "A small Go module with a failing test",
		Repos:         []environment.Repo{{Owner: "demo", Name: "tally", URL: "file://" + remote}},
		SetupCommands: []string{"go version", "go build ./..."}}, nil)
	if err != nil {
		return false, err
	}
	t, err := p.Submit(ctx, oz.Request{Prompt: o.prompt, Config: task.Config{EnvironmentID: env.UID}})
	if err != nil {
		return false, err
	}
	fmt.Fprintf(o.out, "Run %s\n%s\n\n", t.ID, o.prompt)
	printer := console.NewPrinter(o.out, false)
	for e, err := range p.Watch(ctx, t.ID, 0) {
		if err != nil {
			return false, err
		}
		printer.Event(e)
	}
	if t, err = p.Get(ctx, t.ID); err != nil {
		return false, err
	}
	return t.State == task.StateSucceeded, summary(ctx, o.out, p, t, remote)
}
