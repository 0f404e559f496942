package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/internal/console"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/client"
)

// viewer shows events as they come.
type viewer interface {
	Event(task.Event)
	Err() error
}

func (a *app) viewer() viewer {
	if a.json() {
		return a.stream()
	}
	return console.NewPrinter(a.out, a.color())
}

// follow shows a run, of types events of these alone, until it ends, and fails
// unless it succeeded.
func (a *app) follow(ctx context.Context, c *client.Client, id task.ID, after int64, types ...task.EventType) error {
	// Watching tries for ever. A wrong address or id is found out before.
	if _, err := c.Get(ctx, id); err != nil {
		return err
	}
	a.wire.follow(true)
	defer a.wire.follow(false)
	v := a.viewer()
	for e, err := range c.WatchTypes(ctx, id, after, types...) {
		if err != nil {
			return a.leave(ctx, id, err)
		}
		v.Event(e)
		if v.Err() != nil {
			return v.Err()
		}
	}
	t, err := c.Get(ctx, id)
	if err != nil {
		return err
	}
	return verdict(t)
}

// leave says what becomes of a run that is not watched any more.
func (a *app) leave(ctx context.Context, id task.ID, err error) error {
	if ctx.Err() != nil {
		fmt.Fprintf(a.err, "\nThe run goes on. Stop it with 'oz run cancel %s'.\n", id)
	}
	return err
}

// verdict is the exit of a command that waited for a run.
func verdict(t task.Task) error {
	switch {
	case t.State == task.StateSucceeded:
		return nil
	case t.Head.Status.ErrorCode != "":
		return outcomeError{fmt.Errorf("run %s is %s (%s)", t.ID, t.State, t.Head.Status.ErrorCode)}
	}
	return outcomeError{fmt.Errorf("run %s is %s", t.ID, t.State)}
}

// wireLog carries requests and says what a person should know of them: in
// debug mode each of them, and while a run is followed when the server is
// away and when it is back. It shows neither headers nor bodies.
type wireLog struct {
	app  *app
	base http.RoundTripper

	mu        sync.Mutex
	following bool
	away      bool
}

// RoundTrip implements http.RoundTripper.
func (w *wireLog) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	resp, err := w.base.RoundTrip(r)
	if w.app.debug {
		answer := "no answer"
		if err == nil {
			answer = resp.Status + " " + resp.Header.Get("X-Request-Id")
		}
		fmt.Fprintf(w.app.err, "debug: %s %s: %s after %s\n", r.Method, r.URL.Path, answer, time.Since(began).Round(time.Millisecond))
	}
	if r.Context().Err() == nil {
		w.note(err != nil || resp.StatusCode >= http.StatusInternalServerError)
	}
	return resp, err
}

func (w *wireLog) follow(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.following, w.away = on, false
}

func (w *wireLog) note(away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.following || away == w.away {
		return
	}
	w.away = away
	if away {
		fmt.Fprintln(w.app.err, "oz: the server does not answer; trying again ...")
		return
	}
	fmt.Fprintln(w.app.err, "oz: the server is back.")
}
