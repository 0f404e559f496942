package runner

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/oz-platform/cloudagents/environment/codeindex"
	"github.com/oz-platform/cloudagents/executor/harness/tools"
	"github.com/oz-platform/cloudagents/task"
)

// index begins to index the repositories of the workspace, one after the other
// and beside the agent's work, which does not wait for it (Oz platform, CTX-2).
// stop ends it.
func (x *execution) index(ctx context.Context, ws *workspace) (list []tools.Codebase, stop func()) {
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
		list = append(list, tools.Codebase{Dir: r.Dir, Index: codeindex.Open(ws.git, r.Dir, &codeindex.Options{Dir: dir, Key: key})})
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
	})
	return list, func() {
		cancel()
		building.Wait()
	}
}
