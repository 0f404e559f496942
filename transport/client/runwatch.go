package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"mime"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/transport/api"
	"github.com/oz-platform/cloudagents/transport/internal/wire"
)

// WatchRuns yields what changes in the list of runs, see [oz.Client.WatchRuns].
// When the connection breaks it is opened again behind the last change; when
// that is too long ago the next change is an oz.RunsResync. It gives up when
// ctx ends or the server refuses.
func (c *Client) WatchRuns(ctx context.Context, after string) iter.Seq2[oz.RunChange, error] {
	return func(yield func(oz.RunChange, error) bool) {
		w := &runWatch{c: c, last: after, yield: yield, delays: newBackoff()}
		for !w.over {
			if err := w.follow(ctx); !w.over {
				if err = pauseStream(ctx, c.opts.Clock, w.delays, err); err != nil {
					w.over = true
					yield(oz.RunChange{}, err)
				}
			}
		}
	}
}

// runWatch is a position in the changes of the list.
type runWatch struct {
	c      *Client
	last   string
	yield  func(oz.RunChange, error) bool
	delays backoff.BackOff
	over   bool // nothing more is to be yielded
}

// follow reads one stream until it ends, or the reader stops.
func (w *runWatch) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	idle := time.AfterFunc(w.c.opts.StreamIdle, cancel)
	defer idle.Stop()
	resp, err := w.c.stream.StreamRuns(ctx, nil, header("Accept", "text/event-stream"), header("Last-Event-ID", w.last))
	if err := check(resp, err); err != nil {
		return err
	}
	defer func() { cancel(); _ = resp.Body.Close() }() // a stream is not drained
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media != "text/event-stream" {
		return &streamError{fmt.Errorf("the server answered with %q instead of a stream of events; is this the address of an Oz API?", media)}
	}
	frames := newFrameReader(resp.Body, func() { idle.Reset(w.c.opts.StreamIdle) })
	for !w.over {
		f, err := frames.next()
		if err != nil {
			return err
		}
		idle.Stop() // the reader may be slow, which is not the server's silence
		if err := w.take(f); err != nil {
			return err
		}
		idle.Reset(w.c.opts.StreamIdle)
	}
	return nil
}

// take yields the change of a frame. Kinds of a newer server are passed over.
func (w *runWatch) take(f frame) error {
	change := oz.RunChange{Position: f.id, Kind: oz.RunChangeKind(f.event)}
	switch change.Kind {
	case oz.RunChanged:
		var item api.RunItem
		if err := json.Unmarshal(f.data, &item); err != nil {
			return &streamError{fmt.Errorf("read change %.80q: %w", f.id, err)}
		}
		run, err := wire.Task(item)
		if err != nil {
			return &streamError{fmt.Errorf("read change %.80q: %w", f.id, err)}
		}
		change.Run, change.RunID = run, run.ID
	case oz.RunGone:
		var gone api.RunGone
		if err := json.Unmarshal(f.data, &gone); err != nil {
			return &streamError{fmt.Errorf("read change %.80q: %w", f.id, err)}
		}
		change.RunID = task.ID(gone.RunId)
	case oz.RunsResync:
	default:
		return nil
	}
	w.last = f.id
	w.delays.Reset()
	w.over = !w.yield(change, nil)
	return nil
}
