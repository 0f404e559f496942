package github_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/task"
	"github.com/oz-platform/cloudagents/trigger"
	"github.com/oz-platform/cloudagents/trigger/github"
	"github.com/oz-platform/cloudagents/trigger/github/githubsim"
	"github.com/oz-platform/cloudagents/trigger/triggertest"
)

// forgetful loses what it is told of the first attempt of each message, as when
// a process dies after sending.
type forgetful struct {
	triggertest.Store
	mu   sync.Mutex
	seen map[task.OutgoingID]bool
}

func (f *forgetful) SettleOutgoing(ctx context.Context, id task.OutgoingID, holder string, s task.Settlement) error {
	f.mu.Lock()
	again := f.seen[id]
	f.seen[id] = true
	f.mu.Unlock()
	if !again {
		return errors.New("killed")
	}
	return f.Store.SettleOutgoing(ctx, id, holder, s)
}

// TestKilledAfterSending: each message is sent, and the process dies before it
// has noted so. The next one finds what is there.
func TestKilledAfterSending(t *testing.T) {
	b := newBench(t, with{still: true})
	store := &forgetful{Store: newStore(t), seen: map[task.OutgoingID]bool{}}
	b.Rig = triggertest.New(t, store, []trigger.Origin{github.NewOrigin(b.store, &github.Options{APIURL: b.web.URL, HTTPClient: b.web.Client(), RepairEvery: -1})},
		&trigger.Options{Lease: 300 * time.Millisecond})
	b.sim.AddHook(secret, b.deliver)
	n := b.sim.OpenIssue(repo, "carol", "x", "y")
	id := b.sim.Comment(repo, n, "bob", "@oz-agent do it")
	b.Settle()
	p := b.sim.OpenPull(repo, "carol", "x", "y", githubsim.Pull{})
	first := b.sim.Review(repo, p, "bob", "a.go", "@@", "@oz-agent look", 0)
	until(t, func() bool { return len(b.Runs()) == 2 })
	for _, run := range b.Runs() {
		b.Finish(run.ID, task.StateSucceeded, task.Status{Message: "Mended."})
	}
	until(t, func() bool { return b.sent() && len(b.sim.Comments(repo, n)) >= 3 && len(b.sim.Reviews(repo, p)) >= 3 })
	b.Settle()
	until(t, b.sent)
	assert.Equal(t, len(b.sim.Comments(repo, n)), 3)
	assert.Equal(t, len(b.sim.Reviews(repo, p)), 3)
	contains(t, b.sim.Comments(repo, n)[1].Body, "**Done.**")
	contains(t, b.sim.Comments(repo, n)[2].Body, "Mended.")
	contains(t, b.sim.Reviews(repo, p)[1].Body, "**Done.**")
	assert.Equal(t, b.sim.Comments(repo, n)[0].ID, id)
	assert.DeepEqual(t, b.sim.Comments(repo, n)[0].Reactions, []string{"oz-agent eyes"})
	assert.Equal(t, b.sim.Reviews(repo, p)[0].ID, first)
}
