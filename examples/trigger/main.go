// Command trigger has a trigger of its own: a build server that posts its
// builds, of which each broken one makes a run. builds.go is the trigger,
// main_test.go tests it without a server.
//
//	BUILD_TOKEN=secret go run ./examples/trigger
//	curl -H 'Build-Token: secret' -d '{"id":"1","project":"api","branch":"main","status":"failed","log":"..."}' http://127.0.0.1:8098/webhooks/builds/
//
// It has no worker, so that the runs wait: see examples/embed for one.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/oz/access"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/fileblob"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/transport/rest"
	"github.com/oz-platform/cloudagents/trigger"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := serve(ctx, os.Getenv("BUILD_TOKEN"), "127.0.0.1:8098"); err != nil {
		fmt.Fprintln(os.Stderr, "trigger:", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, token, address string) error {
	if token == "" {
		return errors.New("set BUILD_TOKEN to what the build server sends in its header Build-Token")
	}
	dir, err := os.MkdirTemp("", "oz-trigger-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	store, err := sqlitestore.Open(ctx, filepath.Join(dir, "oz.db"), nil)
	if err != nil {
		return err
	}
	defer store.Close()
	blobs, err := fileblob.Open(filepath.Join(dir, "blobs"), nil)
	if err != nil {
		return err
	}
	defer blobs.Close()
	platform, err := oz.New(store, &oz.Options{Blobs: blobs, Origins: []trigger.Origin{&builds{
		owner: task.Scope{Type: task.ScopeTeam, UID: access.DefaultTeam}, by: access.System().Principal, token: token, out: os.Stdout}}})
	if err != nil {
		return err
	}
	handler, err := rest.New(platform, nil) // serves /webhooks/ beside the API
	if err != nil {
		return err
	}
	server := rest.NewServer(address, handler)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return platform.Run(ctx) })
	group.Go(func() error {
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error { <-ctx.Done(); return server.Close() })
	return group.Wait()
}
