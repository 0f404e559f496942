package trigger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oz-platform/cloudagents/task"
)

// kindBinding are the records that say which run is about an entity.
const kindBinding = "trigger.binding"

// binding says which run is about an entity. One write moves it, so that two
// events about one entity make one run together, and no event is told twice.
type binding struct {
	Entity string  `json:"entity"`
	Run    task.ID `json:"run"`
	// Claimed is when Run was to be made.
	Claimed time.Time `json:"claimed"`
	// Unsettled are what is about to be told to Run, or was, the newest last:
	// whoever decides one of them again finds out whether it was.
	Unsettled []saying `json:"unsettled,omitempty"`
	// Pending is what Unsettled was before it could be several.
	Pending *saying `json:"pending,omitempty"`
	// Said are the keys of what the run was told, the newest last.
	Said []string `json:"said,omitempty"`

	key      string
	owner    task.Scope
	revision int64
}

// saying is something to be told to a run that had an input numbered After as
// its newest.
type saying struct {
	Key   string `json:"key"`
	After int64  `json:"after"`
}

const (
	// maxSaid bounds binding.Said: events that are older than so many others
	// about one entity have been decided long ago.
	maxSaid = 500
	// maxUnsettled bounds binding.Unsettled: more than so many are not said at
	// once by all servers together.
	maxUnsettled = 64
	// maxRewrites bounds how often a change is tried against others.
	maxRewrites = 50
	// claimAge is after what time a run that was never made is made by another
	// event: its maker would have come back by then.
	claimAge = time.Minute
)

// converse tells the run about an entity what has happened, or makes it.
func (e *Engine) converse(ctx context.Context, d task.Delivery, s Start) (NewsType, task.ID, error) {
	for range maxRewrites {
		b, err := e.binding(ctx, s.Owner, s.Entity)
		if err != nil {
			return "", "", err
		}
		what, id, err := e.converseAs(ctx, d, s, b)
		if err == nil || !errors.Is(err, task.ErrConflict) {
			return what, id, err
		}
	}
	return "", "", task.Errorf(task.CodeConflict, "too much is being said about %s at once", s.Entity)
}

// converseAs is one attempt. task.ErrConflict means that somebody else was
// faster.
func (e *Engine) converseAs(ctx context.Context, d task.Delivery, s Start, b binding) (NewsType, task.ID, error) {
	own := RunID(d, s.Name)
	switch {
	case b.Run == own:
		return e.startBound(ctx, d, s, b)
	case b.Run == "" && s.OnlyGoOn:
		return "", "", e.nobodyToTell(ctx, d, s)
	case b.Run == "":
		return e.claim(ctx, d, s, b, own)
	case s.Stop && s.Run != "" && s.Run != b.Run: // it has ended, and another one is about the same
		return "", "", nil
	}
	t, err := e.host.Run(ctx, b.Run)
	if errors.Is(err, task.ErrNotFound) {
		if e.now().Sub(b.Claimed) < claimAge {
			return "", "", fmt.Errorf("run %s about %s is being made", b.Run, s.Entity)
		}
		if s.OnlyGoOn {
			return "", "", nil
		}
		return e.claim(ctx, d, s, b, own)
	}
	if err != nil {
		return "", "", err
	}
	if s.Stop {
		return NewsStopped, t.ID, e.host.Stop(ctx, t.ID, s)
	}
	return e.say(ctx, d, s, b, t)
}

// maxAwaited bounds how many deliveries are looked at for one that may make the
// run; when there are more, it may be among them.
const maxAwaited = 200

// nobodyToTell returns nil when there is no run about an entity and none is to
// be expected. It fails when a delivery about the same that came before is not
// decided yet, so that this one is asked for again, and with task.ErrConflict
// when one was decided meanwhile.
func (e *Engine) nobodyToTell(ctx context.Context, d task.Delivery, s Start) error {
	h, err := HeaderOf(d)
	if err != nil || h.Fields[FieldThread] == "" {
		return err
	}
	list, err := e.store.Undecided(ctx, e.now().Add(e.opts.Patience), maxAwaited) // those that were put off, too
	if err != nil {
		return err
	}
	for _, other := range list {
		if other.Source != d.Source || other.ID == d.ID || !earlier(other, d) {
			continue
		}
		if oh, err := HeaderOf(other); err == nil && oh.Fields[FieldThread] == h.Fields[FieldThread] {
			return fmt.Errorf("delivery %s about the same came before and is not decided yet", other.ID)
		}
	}
	if len(list) == maxAwaited && earlier(list[len(list)-1], d) {
		return errors.New("what came before is not decided yet")
	}
	b, err := e.binding(ctx, s.Owner, s.Entity)
	if err == nil && b.Run != "" {
		err = task.ErrConflict
	}
	return err
}

// earlier reports that a came before b.
func earlier(a, b task.Delivery) bool {
	if a.ReceivedAt.Equal(b.ReceivedAt) {
		return a.ID < b.ID
	}
	return a.ReceivedAt.Before(b.ReceivedAt)
}

// claim makes the run that everything about the entity goes to from now on.
func (e *Engine) claim(ctx context.Context, d task.Delivery, s Start, b binding, id task.ID) (NewsType, task.ID, error) {
	b.Run, b.Claimed, b.Unsettled = id, e.now(), nil
	b, err := e.putBinding(ctx, b)
	if err != nil {
		return "", "", err
	}
	return e.startBound(ctx, d, s, b)
}

// startBound makes the run that b names.
func (e *Engine) startBound(ctx context.Context, d task.Delivery, s Start, b binding) (NewsType, task.ID, error) {
	id := b.Run
	err := e.start(ctx, d, s, id)
	if err != nil && final(err) { // the next event may have more luck
		b.Run = ""
		if _, freeErr := e.putBinding(ctx, b); freeErr != nil && !errors.Is(freeErr, task.ErrConflict) {
			return "", "", freeErr
		}
	}
	return NewsStarted, id, err
}

// say tells a run what has happened, unless it was told.
func (e *Engine) say(ctx context.Context, d task.Delivery, s Start, b binding, t task.Task) (NewsType, task.ID, error) {
	key := sayingKey(d, s.Name)
	if slices.Contains(b.Said, key) {
		return NewsContinued, t.ID, nil
	}
	if err := e.settle(ctx, &b, t); err != nil {
		return "", "", err
	}
	if slices.Contains(b.Said, key) {
		return NewsContinued, t.ID, nil
	}
	b.Unsettled = append(slices.DeleteFunc(b.Unsettled, func(s saying) bool { return s.Key == key }), saying{Key: key, After: t.LastInput})
	b.Unsettled = b.Unsettled[max(0, len(b.Unsettled)-maxUnsettled):]
	b, err := e.putBinding(ctx, b)
	if err != nil {
		return "", "", err
	}
	err = e.host.GoOn(ctx, t.ID, s, key, t.LastInput)
	if task.CodeOf(err) == task.CodeOperationNotSupported && !s.OnlyGoOn {
		return e.claim(ctx, d, s, b, RunID(d, s.Name))
	}
	return NewsContinued, t.ID, err
}

// settle finds out which of what was about to be told to a run was told. What
// was not may still be: by whoever is at it now, or by who comes back to it.
func (e *Engine) settle(ctx context.Context, b *binding, t task.Task) error {
	var open []saying
	for _, s := range b.Unsettled {
		said, err := e.host.Said(ctx, t.ID, s.Key, s.After)
		if err != nil {
			return err
		}
		if said {
			b.Said = append(b.Said, s.Key)
		} else {
			open = append(open, s)
		}
	}
	b.Said, b.Unsettled = b.Said[max(0, len(b.Said)-maxSaid):], open
	return nil
}

// About is the run that events about an entity go to now; empty when there is
// none.
func (e *Engine) About(ctx context.Context, owner task.Scope, entity string) (task.ID, error) {
	if entity == "" {
		return "", nil
	}
	b, err := e.binding(ctx, owner, entity)
	if err != nil || b.Run == "" {
		return "", err
	}
	if _, err := e.host.Run(ctx, b.Run); err != nil {
		if errors.Is(err, task.ErrNotFound) {
			err = nil
		}
		return "", err
	}
	return b.Run, nil
}

// sayingKey names what an event says.
func sayingKey(d task.Delivery, name string) string {
	sum := sha256.Sum256([]byte(d.Source + "\x00" + d.Key + "\x00" + name))
	return hex.EncodeToString(sum[:])
}

// binding reads the one of an entity, an empty one when there is none.
func (e *Engine) binding(ctx context.Context, owner task.Scope, entity string) (binding, error) {
	sum := sha256.Sum256([]byte(owner.String() + "\x00" + entity))
	b := binding{Entity: entity, key: hex.EncodeToString(sum[:]), owner: owner}
	rec, err := e.store.Record(ctx, kindBinding, b.key)
	if errors.Is(err, task.ErrNotFound) {
		return b, nil
	}
	if err == nil {
		err = json.Unmarshal(rec.Data, &b)
	}
	b.revision = rec.Revision
	if b.Pending != nil {
		b.Unsettled, b.Pending = append(b.Unsettled, *b.Pending), nil
	}
	if err != nil {
		return b, fmt.Errorf("read what runs are about %s: %w", entity, err)
	}
	return b, nil
}

// putBinding writes b over the revision it was read with.
func (e *Engine) putBinding(ctx context.Context, b binding) (binding, error) {
	data, err := json.Marshal(b)
	if err != nil {
		return b, fmt.Errorf("encode what runs are about %s: %w", b.Entity, err)
	}
	rec := task.Record{Kind: kindBinding, Key: b.key, Owner: b.owner, Revision: b.revision, Data: data, UpdatedAt: e.now()}
	if b.revision, err = e.store.PutRecord(ctx, rec); err != nil {
		return b, fmt.Errorf("write what runs are about %s: %w", b.Entity, err)
	}
	return b, nil
}
