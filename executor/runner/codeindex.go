package runner

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"

	"github.com/oz-platform/cloudagents/environment/codeindex"
	"github.com/oz-platform/cloudagents/executor/catalog"
	"github.com/oz-platform/cloudagents/executor/gateway"
	"github.com/oz-platform/cloudagents/executor/harness/tools"
	"github.com/oz-platform/cloudagents/task"
)

// index begins to index the repositories of the workspace, one after the other
// and beside the agent's work, which does not wait for it (Oz platform, CTX-2).
// stop ends it. Pieces of them are sent to to, unless it is nil.
func (x *execution) index(ctx context.Context, ws *workspace, to *codeindex.Embeddings) (list []tools.Codebase, stop func()) {
	if x.opts.NoCodeIndex || x.bundle.NoCodeIndex {
		return nil, func() {}
	}
	dir := ""
	if x.opts.CacheDir != "" {
		dir = filepath.Join(x.opts.CacheDir, "codeindex")
	}
	for _, r := range ws.repos {
		key := r.Remote
		if key == "" {
			key = r.Dir
		}
		list = append(list, tools.Codebase{Dir: r.Dir, Index: codeindex.Open(ws.git, r.Dir, &codeindex.Options{Dir: dir, Key: key, Embeddings: to})})
	}
	ctx, cancel := context.WithCancel(ctx)
	var building sync.WaitGroup
	building.Go(func() {
		for _, c := range list {
			if err := c.Index.Prepare(ctx); err != nil && ctx.Err() == nil {
				state, _ := c.Index.Status()
				// The journal fails only when the execution is over.
				_ = x.journal.Post(ctx, &task.Notice{Text: fmt.Sprintf("No code index of %s (%s): %v.", filepath.Base(c.Dir), state, err)})
			}
		}
		for _, c := range list { // only now: no search waits for them
			if err := c.Index.Embed(ctx); err != nil && ctx.Err() == nil {
				_ = x.journal.Post(ctx, &task.Notice{Text: fmt.Sprintf("The search of %s by meaning is not whole: %v.", filepath.Base(c.Dir), err)})
			}
		}
	})
	return list, func() {
		cancel()
		building.Wait()
	}
}

// What a run may spend at most to embed its repositories. The agent's work
// comes first, and what is left out is embedded by the runs after it.
const (
	maxEmbeddedBytes = 8 << 20
	embeddedShare    = 10 // one part of so many of what is left of a budget
	bytesPerToken    = 3  // a low guess, like the gateway's
)

// embeddings is where pieces of the repositories are sent: to the run's own
// gateway, which has the key and keeps the budget. nil sends nothing.
func (x *execution) embeddings(at gateway.Endpoint, prices *catalog.Prices, repositories int) *codeindex.Embeddings {
	model := x.bundle.Models.Embeddings
	if model == "" || repositories == 0 {
		return nil
	}
	size := x.embeddedBytes(model, prices) / int64(repositories)
	if size <= 0 {
		size = -1 // 0 would be the default
	}
	return &codeindex.Embeddings{URL: at.OpenAIURL + "/embeddings", Model: model, MaxBytes: size, Clock: x.opts.Clock,
		Header: http.Header{"Authorization": {"Bearer " + at.Token}, gateway.CategoryHeader: {"codebase_index"}},
		Hide:   func(text []byte) bool { return len(x.redactor.Contains(text)) > 0 }}
}

// embeddedBytes is how much text of repositories the run may have embedded.
func (x *execution) embeddedBytes(model string, prices *catalog.Prices) int64 {
	size := int64(maxEmbeddedBytes)
	limits, used := x.bundle.Limits, x.bundle.Task.Usage
	if limits.MaxTokens > 0 {
		size = min(size, (limits.MaxTokens-used.Tokens().Total())/embeddedShare*bytesPerToken)
	}
	if price, ok := prices.Of(model); ok && limits.MaxCostUSD > 0 && *price.Input > 0 {
		spent, _ := used.USD()
		size = int64(min(float64(size), (limits.MaxCostUSD-spent)/embeddedShare / *price.Input * 1e6 * bytesPerToken))
	}
	return size
}
