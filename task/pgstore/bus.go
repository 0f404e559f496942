package pgstore

import (
	"context"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/oz-platform/cloudagents/task"
)

var _ task.Bus = (*Store)(nil)

// bus is what stores on one schema say to each other. A NOTIFY takes 7,999 bytes:
// who says it, its number (two that are equal would become one), and the message
// as base64.
type bus struct {
	channel string
	number  atomic.Int64

	mu      sync.Mutex
	hearers []*hearer
}

type hearer struct{ hear func([]byte) }

// busChannel is the name under which they do. Older programs do not listen to it.
func busChannel(schema string) string { return schema + "_bus" }

// Say implements task.Bus.
func (s *Store) Say(ctx context.Context, messages ...[]byte) error {
	said := make([]string, 0, len(messages))
	for _, m := range messages {
		if len(m) > task.MaxSaid {
			return task.Invalid("message", "has %d bytes, at most %d are allowed", len(m), task.MaxSaid)
		}
		said = append(said, s.notify.self+":"+strconv.FormatInt(s.bus.number.Add(1), 36)+":"+base64.RawStdEncoding.EncodeToString(m))
	}
	if len(said) == 0 {
		return nil
	}
	if s.closed.Load() {
		return errClosed
	}
	ctx, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()
	_, err := s.writes.Exec(ctx, sendMessages, s.bus.channel, said)
	return s.explainCall(ctx, "tell the other servers", err)
}

// Hear implements task.Bus.
func (s *Store) Hear(hear func([]byte)) (cancel func()) {
	h := &hearer{hear}
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	s.bus.hearers = append(s.bus.hearers, h)
	return func() {
		s.bus.mu.Lock()
		defer s.bus.mu.Unlock()
		s.bus.hearers = slices.DeleteFunc(s.bus.hearers, func(other *hearer) bool { return other == h })
	}
}

// heard passes a message on, unless it is our own. What cannot be read is not
// ours either.
func (b *bus) heard(self, payload string) {
	from, rest, _ := strings.Cut(payload, ":")
	_, text, ok := strings.Cut(rest, ":")
	if !ok || from == self {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, h := range b.hearers {
		if message, err := base64.RawStdEncoding.DecodeString(text); err == nil {
			h.hear(message)
		}
	}
}
