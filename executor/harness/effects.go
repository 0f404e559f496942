package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/oz-platform/cloudagents/task"
)

// Effects does outward acts at most once per key, across restarts: the intent
// is durable in the log before the act, the result after it. An intent without
// result was cut off by a crash; then the act is asked whether it arrived.
type Effects struct {
	journal Journal

	mu    sync.Mutex
	known map[string]*task.Effect
	read  int64 // log position up to which known is complete
}

// NewEffects makes the effects of one execution.
func NewEffects(j Journal) *Effects {
	return &Effects{journal: j, known: make(map[string]*task.Effect)}
}

// Act is one outward act.
type Act struct {
	// Key is unique within the run, and the same when the act is tried again.
	Key  string
	Kind string // "git_push" ...
	// Intent describes the act for the log; it is encoded as JSON.
	Intent any
	// Arrived reports whether the outside shows the act as done, with the
	// result to record. It is asked when an earlier try was cut off.
	Arrived func(ctx context.Context) (result any, done bool, err error)
	// Do performs the act and gives the result to record.
	Do func(ctx context.Context) (result any, err error)
}

// Do performs a unless it is settled already, and gives its recorded result
// as JSON. One act is performed at a time.
func (e *Effects) Do(ctx context.Context, a Act) (json.RawMessage, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.catchUp(ctx); err != nil {
		return nil, err
	}
	if k := e.known[a.Key]; k != nil {
		switch k.State {
		case task.EffectSettled:
			return k.Detail, nil
		case task.EffectIntended:
			result, done, err := a.Arrived(ctx)
			if err != nil {
				return nil, fmt.Errorf("ask whether %s arrived: %w", a.Kind, err)
			}
			if done {
				return e.record(ctx, a, task.EffectSettled, result)
			}
		}
	}
	if _, err := e.record(ctx, a, task.EffectIntended, a.Intent); err != nil {
		return nil, err
	}
	result, err := a.Do(ctx)
	if err != nil {
		if ctx.Err() == nil {
			_, _ = e.record(ctx, a, task.EffectFailed, map[string]string{"error": err.Error()})
		}
		return nil, err
	}
	return e.record(ctx, a, task.EffectSettled, result)
}

// record makes the effect's new state durable.
func (e *Effects) record(ctx context.Context, a Act, s task.EffectState, detail any) (json.RawMessage, error) {
	raw, err := json.Marshal(detail)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", a.Kind, err)
	}
	effect := &task.Effect{Key: a.Key, Kind: a.Kind, State: s, Detail: raw}
	if err := e.journal.Post(ctx, effect); err != nil {
		return nil, err
	}
	if err := e.journal.Flush(ctx); err != nil {
		return nil, err
	}
	e.known[a.Key] = effect
	return raw, nil
}

// catchUp reads the effects of earlier executions from the log.
func (e *Effects) catchUp(ctx context.Context) error {
	for ev, err := range e.journal.History(ctx, e.read) {
		if err != nil {
			return fmt.Errorf("read effects: %w", err)
		}
		e.read = ev.Seq
		if effect, ok := ev.Payload.(*task.Effect); ok {
			e.known[effect.Key] = effect
		}
	}
	return nil
}
