package pgstore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"maps"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/oz-platform/cloudagents/task"
)

const (
	// notifyInterval is the least time between two messages. The first change
	// after a pause is told at once, and the last of many never later than
	// this: each NOTIFY takes a lock that all commits of the server with one share.
	notifyInterval = 5 * time.Millisecond
	// notifyTimeout bounds the sending. A message that cannot be sent is left
	// out: the others look by themselves, and wake all when they reconnect.
	notifyTimeout = 5 * time.Second
	// maxNotified bounds the runs that are named; with more, all are meant.
	maxNotified = 1000
	// notifiedPerMessage keeps a message below the 8,000 bytes that NOTIFY
	// allows: a UUID, quotes, a colon and a number take up to 60.
	notifiedPerMessage = 100
	// maxNotifiedID is the longest ID that a message names.
	maxNotifiedID = 40
)

// message tells other stores what has changed.
type message struct {
	From     string            `json:"f"`           // which store tells; it knows already
	Dispatch bool              `json:"d,omitempty"` // something for the dispatcher
	All      bool              `json:"a,omitempty"` // too much to name
	Runs     map[task.ID]int64 `json:"r,omitempty"` // their versions
}

// notifier tells the other stores what this one has committed. Mostly the
// message rides with the commit that it tells of, behind it and in the same round
// trip; what comes too soon after another message is sent by a goroutine.
type notifier struct {
	pool    *pgxpool.Pool
	channel string
	self    string
	ended   chan struct{}
	ring    chan struct{} // capacity 1: there is something pending, or done
	done    chan struct{}

	mu      sync.Mutex
	pending map[task.ID]int64
	sent    time.Time // when the last message was made
}

func newNotifier(pool *pgxpool.Pool, channel string) *notifier {
	n := &notifier{pool: pool, channel: channel, self: rand.Text(), ended: make(chan struct{}),
		ring: make(chan struct{}, 1), done: make(chan struct{}), pending: map[task.ID]int64{}}
	go n.run()
	return n
}

// tell queues changes for the next message.
func (n *notifier) tell(changed map[task.ID]int64) {
	if len(changed) == 0 {
		return
	}
	n.mu.Lock()
	maps.Copy(n.pending, changed)
	n.mu.Unlock()
	select {
	case n.ring <- struct{}{}:
	default:
	}
}

// ride gives the messages for a commit that is about to be sent, what is pending
// included; none when it is too soon, and then tell must follow. After a commit
// that failed the changes must be told all the same, for some are of others.
func (n *notifier) ride(changed map[task.ID]int64) (messages []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if time.Since(n.sent) < notifyInterval {
		return nil
	}
	maps.Copy(n.pending, changed)
	maps.Copy(changed, n.pending)
	return n.takeLocked()
}

// stop sends what is pending and ends the notifier.
func (n *notifier) stop() {
	close(n.done)
	<-n.ended
}

func (n *notifier) run() {
	defer close(n.ended)
	defer n.flush()
	for {
		select {
		case <-n.ring:
		case <-n.done:
			return
		}
		select {
		case <-time.After(n.rest()):
			n.flush()
		case <-n.done:
			return
		}
	}
}

// rest is how long the next message has to wait.
func (n *notifier) rest() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return notifyInterval - time.Since(n.sent)
}

// sendMessages sends messages. What they tell is on the disk already, so it need
// not wait for the disk itself, with that lock in its hands.
const sendMessages = `SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, m) FROM unnest($2::text[]) m`

// flush sends what is pending.
func (n *notifier) flush() {
	messages := n.take()
	if len(messages) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), notifyTimeout)
	defer cancel()
	_, _ = n.pool.Exec(ctx, sendMessages, n.channel, messages)
}

// take empties what is pending into messages.
func (n *notifier) take() (messages []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.takeLocked()
}

func (n *notifier) takeLocked() (messages []string) {
	changed := n.pending
	n.pending = map[task.ID]int64{}
	if len(changed) > 0 {
		n.sent = time.Now()
	}
	m := message{From: n.self}
	send := func() {
		b, _ := json.Marshal(m) // strings, numbers and bools cannot fail
		messages = append(messages, string(b))
		m = message{From: n.self}
	}
	_, m.Dispatch = changed[dispatcher]
	delete(changed, dispatcher)
	m.All = len(changed) > maxNotified
	for id, version := range changed {
		if m.All = m.All || len(id) > maxNotifiedID; m.All {
			m.Runs = nil
			break
		}
		if m.Runs == nil {
			m.Runs = map[task.ID]int64{}
		}
		if m.Runs[id] = version; len(m.Runs) == notifiedPerMessage {
			send()
		}
	}
	if m.Dispatch || m.All || len(m.Runs) > 0 {
		send()
	}
	return messages
}
