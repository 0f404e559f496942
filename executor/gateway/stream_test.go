package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor/gateway"
)

// ask sends a streaming request and leaves the answer to be read.
func (d *door) ask(t *testing.T) io.ReadCloser {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.messages(), strings.NewReader(streaming))
	assert.NilError(t, err)
	req.Header.Set("X-Api-Key", d.Token)
	res, err := client(t).Do(req)
	assert.NilError(t, err)
	return res.Body
}

// A harness that has the end of its answer finds the call recorded and settled,
// though the provider may keep the connection.
func TestCallIsRecordedBeforeTheEndIsPassedOn(t *testing.T) {
	release := make(chan struct{})
	d := open(t, both(upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, messageStream)
		w.(http.Flusher).Flush()
		<-release
	})), gateway.Options{})
	body := d.ask(t)
	defer body.Close()
	_, err := io.ReadFull(body, make([]byte, len(messageStream)))
	assert.NilError(t, err)
	assert.Equal(t, d.last(t).Usage.Output, int64(12))
	tokens, _ := d.gw.Spent()
	assert.Equal(t, tokens, int64(15))
	close(release)
	_, err = io.Copy(io.Discard, body)
	assert.NilError(t, err)
	assert.Equal(t, len(d.recorded()), 1)
}

// manualClock moves only when it is told to.
type manualClock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[chan time.Time]time.Time
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	timer := make(chan time.Time, 1)
	c.timers[timer] = c.now.Add(d)
	return timer
}

func (c *manualClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for timer, at := range c.timers {
		if !at.After(c.now) {
			delete(c.timers, timer)
			timer <- c.now
		}
	}
}

// The limit is on silence, not on length: a stream that keeps coming may go on.
func TestIdleTimeoutStartsAnewWithEachByte(t *testing.T) {
	clock := &manualClock{now: time.Unix(0, 0), timers: map[chan time.Time]time.Time{}}
	more := make(chan struct{})
	events := strings.SplitAfter(messageStream[:len(messageStream)-1], "\n\n")
	d := open(t, both(upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, event := range events {
			fmt.Fprint(w, event)
			w.(http.Flusher).Flush()
			select {
			case <-more:
			case <-r.Context().Done():
				return
			}
		}
	})), gateway.Options{Clock: clock, IdleTimeout: time.Minute})
	body := d.ask(t)
	defer body.Close()
	for _, event := range events {
		if event == "" {
			break
		}
		_, err := io.ReadFull(body, make([]byte, len(event)))
		assert.NilError(t, err, "the stream was taken for silent")
		clock.advance(40 * time.Second)
		more <- struct{}{}
	}
	call := d.last(t)
	assert.Equal(t, call.Class, gateway.ClassNone, call.Message)
	assert.Assert(t, call.Total >= time.Minute, "%v", call.Total)
}
