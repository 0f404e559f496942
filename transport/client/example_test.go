package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/task/sqlitestore"
	"github.com/oz-platform/cloudagents/transport/client"
	"github.com/oz-platform/cloudagents/transport/rest"
)

// Start a run on a server, cancel it, and read its log to the end.
func Example() {
	url, stop := server()
	defer stop()
	ctx := context.Background()
	c, err := client.New(url, &client.Options{APIKey: "an example's own key"})
	if err != nil {
		log.Fatal(err)
	}
	run, err := c.Submit(ctx, oz.Request{Prompt: "Fix the failing test"})
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Cancel(ctx, run.ID); err != nil {
		log.Fatal(err)
	}
	for event, err := range c.Watch(ctx, run.ID, 0) {
		if err != nil {
			log.Fatal(err)
		}
		switch p := event.Payload.(type) {
		case *task.Input:
			fmt.Println("asked:", p.Text)
		case *task.StateChanged:
			fmt.Println("state:", p.To)
		}
	}
	if _, err := c.Get(ctx, "another run"); errors.Is(err, task.ErrNotFound) {
		fmt.Println("no such run")
	}
	// Output:
	// state: QUEUED
	// asked: Fix the failing test
	// state: CANCELLED
	// no such run
}

// server runs a platform that has no workers, so that runs wait.
func server() (url string, stop func()) {
	dir, err := os.MkdirTemp("", "oz-example-")
	if err != nil {
		log.Fatal(err)
	}
	store, err := sqlitestore.Open(context.Background(), filepath.Join(dir, "oz.db"), nil)
	if err != nil {
		log.Fatal(err)
	}
	platform, err := oz.New(store, nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, _, err := platform.Registry().Bootstrap(context.Background(), "an example's own key"); err != nil {
		log.Fatal(err)
	}
	handler, err := rest.New(platform, nil)
	if err != nil {
		log.Fatal(err)
	}
	s := httptest.NewServer(handler)
	return s.URL, func() {
		s.Close()
		_ = store.Close()
		_ = os.RemoveAll(dir)
	}
}
