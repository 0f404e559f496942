package figure

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/oz-platform/cloudagents/internal/bench/measure"
)

// memory is P8: what a subscriber costs that waits for the next event, client
// and server together; the clients of both sides are the same.
func memory(ctx context.Context, b *Bench) ([]measure.Row, error) {
	r, err := measure.Take(ctx, b.Rounds, b.oursStream("ours", b.idleMemory()), b.bareStream("bare", b.idleMemory()))
	if err != nil {
		return nil, err
	}
	r.Disturbed = false // other programs take time, not memory of this one
	return []measure.Row{
		r.Compare(cost("P8", fmt.Sprintf("memory per idle subscriber at %d", b.Idle), "KiB", "bare SSE", 1.5, 1.1), 0, 1, 0),
		without(cost("P8", fmt.Sprintf("memory per idle worker at %d", b.Idle), "KiB", "bare WebSocket", 1.5, 1), "the worker link is not built yet"),
	}, nil
}

func (b *Bench) idleMemory() func(context.Context, stream) ([]float64, error) {
	return func(_ context.Context, s stream) (v []float64, err error) {
		before := inUse()
		var all []*listener
		defer func() {
			for _, l := range all {
				err = errors.Join(err, l.conn.Close())
			}
		}()
		for range b.Idle {
			l, err := listen(s.address, s.path)
			if err != nil {
				return nil, err
			}
			all = append(all, l)
		}
		return []float64{float64(inUse()-before) / float64(len(all)) / 1024}, nil
	}
}

// inUse is the memory of live objects and of stacks. Each collection halves
// the stacks that are mostly unused, so it takes some until what a request's
// start needed is given back.
func inUse() int64 {
	for range 5 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
