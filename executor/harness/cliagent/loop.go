package cliagent

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

const (
	// maxRepeats calls in a row that were all made before, with the same results,
	// are a loop which nothing ends but the run's limits.
	maxRepeats = 30
	// quickCall is how long a call may take to count: one that looks at something
	// now and then waits in between, and is no loop.
	quickCall = 5 * time.Second
	// maxKnownCalls bounds the calls that are remembered; then they are forgotten.
	maxKnownCalls = 4096
)

// loop finds out that an agent goes round in circles. The zero value is ready.
type loop struct {
	known map[[sha256.Size]byte]struct{}
	round int    // the newest calls in a row that were nothing new
	name  string // of the newest
}

// result takes in the result of a call.
func (l *loop) result(c openCall, p *task.ToolResult) {
	h := sha256.New()
	for _, part := range []string{c.name, string(c.input), string(p.State), p.Content, string(p.Output)} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part)))) // so that no two lists of parts are the same bytes
		h.Write([]byte(part))
	}
	key := [sha256.Size]byte(h.Sum(nil))
	l.name = c.name
	if _, was := l.known[key]; was && p.DurationMS < quickCall.Milliseconds() {
		l.round++
		return
	}
	l.round = 0
	if l.known == nil || len(l.known) >= maxKnownCalls {
		l.known = map[[sha256.Size]byte]struct{}{}
	}
	l.known[key] = struct{}{}
}
