package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/rest"
)

// Pauses between two looks for a database that is away.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

// patience is how long a start waits for its database, over all that it needs
// of it: servers and database are often started together, and in no order.
type patience struct {
	wait  time.Duration
	until time.Time
	log   *zap.Logger
}

func newPatience(wait time.Duration, log *zap.Logger) *patience {
	return &patience{wait: wait, until: time.Now().Add(wait), log: log}
}

// attempt repeats do as long as the database is away and patience lasts.
func (p *patience) attempt(ctx context.Context, do func() error) error {
	pauses := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstPause), backoff.WithMaxInterval(longestPause),
		backoff.WithMaxElapsedTime(0))
	for {
		err := do()
		left := time.Until(p.until)
		switch {
		case err == nil || !passing(err) || p.wait == 0:
			return err
		case left <= 0:
			return fmt.Errorf("%w (waited %s for it; --store-wait says how long)", err, p.wait)
		}
		pause := min(pauses.NextBackOff(), left)
		p.log.Warn("the database is not available yet: waiting for it", zap.Error(err), zap.Duration("retry_in", pause.Round(time.Millisecond)),
			zap.Time("give_up_at", p.until))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// passing reports that err may pass by itself: not a wrong password or user
// (SQLSTATE class 28), a database that does not exist (3D) or a missing
// privilege (42).
func passing(err error) bool {
	var known *task.Error
	if !errors.As(err, &known) || !known.Code.Retryable() {
		return false
	}
	var said *pgconn.PgError
	if !errors.As(err, &said) {
		return true
	}
	for _, class := range []string{"28", "3D", "42"} {
		if strings.HasPrefix(said.Code, class) {
			return false
		}
	}
	return true
}

// door is what the server shows before it has a store, and then its API.
type door struct{ handler atomic.Pointer[http.Handler] }

func newDoor() *door {
	d := &door{}
	d.open(rest.Unavailable("the server is starting and waits for its database; try again"))
	return d
}

func (d *door) open(h http.Handler) { d.handler.Store(&h) }

// ServeHTTP implements http.Handler.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*d.handler.Load()).ServeHTTP(w, r) }
