package oz

import (
	"slices"
	"sync"
	"time"

	"github.com/oz-platform/cloudagents/executor"
	"github.com/oz-platform/cloudagents/task"
)

// providerOutage is the reason why a model had better not be chosen now: its
// provider does not answer (Oz API, ModelInfo.disable_reason). Runs that name it
// are taken nevertheless; it may be back when they begin.
const providerOutage = "PROVIDER_OUTAGE"

const (
	// outageCalls is how many calls in a row have to fail, each after all of its
	// retries, before a provider is said to be out.
	outageCalls = 3
	// outageMemory is how long a failure counts: without calls nobody knows.
	outageMemory = 10 * time.Minute
)

// outages knows which of the server's model providers do not answer, by what runs
// tell of their calls to this process. The zero value is ready to use. Safe for
// concurrent use.
type outages struct {
	mu     sync.Mutex
	failed map[string][]time.Time // the last calls of a provider that none was answered after
}

// note takes what a run has told. Of others than the server's own providers
// nothing is kept: what a team's endpoint does is its own affair.
func (o *outages) note(own []executor.ModelProvider, events []task.Event, now time.Time) {
	for _, e := range events {
		provider, failed := "", false
		switch p := e.Payload.(type) {
		case *task.UsageReport:
			if p.Calls == 0 {
				continue
			}
			provider = p.Provider
		case *task.ErrorReported:
			if p.Code != task.CodeResourceUnavailable {
				continue
			}
			provider, failed = p.Provider, true
		}
		if provider == "" || !slices.ContainsFunc(own, func(p executor.ModelProvider) bool { return p.Name == provider }) {
			continue
		}
		o.put(provider, failed, now)
	}
}

func (o *outages) put(provider string, failed bool, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !failed {
		delete(o.failed, provider)
		return
	}
	if o.failed == nil {
		o.failed = map[string][]time.Time{}
	}
	times := append(o.failed[provider], now)
	o.failed[provider] = times[max(0, len(times)-outageCalls):]
}

// of reports that a provider does not answer.
func (o *outages) of(provider string, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	times := o.failed[provider]
	return len(times) == outageCalls && now.Sub(times[0]) < outageMemory
}
