package oz_test

import (
	"sync/atomic"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/oz"
	"github.com/oz-platform/cloudagents/task"
)

// laterClock can be put forward.
type laterClock struct {
	task.Clock
	ahead atomic.Int64
}

func (c *laterClock) Now() time.Time { return c.Clock.Now().Add(time.Duration(c.ahead.Load())) }

// TestProviderOutage: a provider that leaves call after call without an answer is
// said to be out until one is answered, or nobody has asked it for a while. A
// model that another one has, too, can be used.
func TestProviderOutage(t *testing.T) {
	clock := &laterClock{Clock: task.SystemClock()}
	all := models()
	all.Providers = append(all.Providers, executor.ModelProvider{Name: "three", Wire: "anthropic", APIKey: "sk-three-0123456789abcdef", Models: []string{"small"}})
	p, store := newPlatform(t, &oz.Options{Models: all, Clock: clock})
	run := submit(t, p, oz.Request{Prompt: "x"})
	link := deskOf(t, p, store, run.ID)
	offset := int64(0)
	tell := func(payload task.Payload) {
		t.Helper()
		assert.NilError(t, link.Append(t.Context(), offset, []task.Event{{Payload: payload}}))
		offset++
	}
	reason := func(id string) string {
		t.Helper()
		list, _, err := p.Models(t.Context())
		assert.NilError(t, err)
		for _, m := range list {
			if m.ID == id {
				return m.DisableReason
			}
		}
		t.Fatalf("%s is not listed", id)
		return ""
	}
	gone := &task.ErrorReported{Code: task.CodeResourceUnavailable, Message: "status 500", Provider: "one"}
	tell(gone)
	tell(&task.ErrorReported{Code: task.CodeExternalAuthRequired, Message: "wrong key", Provider: "one"})
	tell(&task.ErrorReported{Code: task.CodeResourceUnavailable, Message: "status 500", Provider: "two"})
	tell(&task.ErrorReported{Code: task.CodeResourceUnavailable, Message: "the disk is full"})
	tell(gone)
	assert.Equal(t, reason("claude-haiku-4-5"), "", "two calls may be bad luck, and a wrong key is no outage")
	tell(gone)
	assert.Equal(t, reason("claude-haiku-4-5"), "PROVIDER_OUTAGE")
	assert.Equal(t, reason("gpt-large"), "")
	assert.Equal(t, reason("small"), "", "another provider has it")
	submit(t, p, oz.Request{Prompt: "y", Config: task.Config{ModelID: "claude-haiku-4-5"}}) // it may be back by then

	tell(&task.UsageReport{Provider: "one", Model: "m", CallID: "released"})
	assert.Equal(t, reason("claude-haiku-4-5"), "PROVIDER_OUTAGE", "what was not answered is no answer")
	tell(&task.UsageReport{Provider: "one", Model: "m", Calls: 1, Tokens: task.TokenCount{Input: 1}})
	assert.Equal(t, reason("claude-haiku-4-5"), "")

	for range 3 {
		tell(gone)
	}
	assert.Equal(t, reason("claude-haiku-4-5"), "PROVIDER_OUTAGE")
	clock.ahead.Store(int64(11 * time.Minute))
	assert.Equal(t, reason("claude-haiku-4-5"), "", "nobody has asked for a while")
}
