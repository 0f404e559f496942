package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/oz-platform/cloudagents/task"
)

// feedLength is how many changes the feed remembers.
const feedLength = 256

// feed tells other replicas which schedules people have changed, so that they
// need not read all of them again. It is a hint: a change whose writer died
// before it was announced is found by the next full look.
type feed struct {
	Last int64    `json:"last"` // number of the newest change
	IDs  []string `json:"ids"`  // of the schedules, oldest first; the newest is number Last
}

// since gives what has changed after a number; ok is false when the feed does
// not reach back that far.
func (f feed) since(n int64) (ids []string, ok bool) {
	missed := f.Last - n
	if missed < 0 || missed > int64(len(f.IDs)) {
		return nil, false
	}
	return f.IDs[int64(len(f.IDs))-missed:], true
}

func (s *Store) readFeed(ctx context.Context) (f feed, revision int64, err error) {
	rec, err := s.records.Record(ctx, kindFeed, feedKey)
	if errors.Is(err, task.ErrNotFound) {
		return feed{}, 0, nil
	}
	if err != nil {
		return feed{}, 0, fmt.Errorf("read changes of schedules: %w", err)
	}
	if err := json.Unmarshal(rec.Data, &f); err != nil {
		return feed{}, 0, fmt.Errorf("decode changes of schedules: %w", err)
	}
	return f, rec.Revision, nil
}

// announce tells this process's Scheduler, and the others if it can.
func (s *Store) announce(ctx context.Context, id string) {
	s.mu.Lock()
	s.dirty[id] = true
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
	for range maxRewrites {
		f, revision, err := s.readFeed(ctx)
		if err != nil {
			return
		}
		f.Last++
		f.IDs = append(f.IDs, id)
		f.IDs = f.IDs[max(0, len(f.IDs)-feedLength):]
		data, err := encode(f)
		if err != nil {
			return
		}
		_, err = s.records.PutRecord(ctx, task.Record{Kind: kindFeed, Key: feedKey, Revision: revision, Data: data, UpdatedAt: s.now()})
		if !errors.Is(err, task.ErrConflict) {
			return
		}
	}
}

// takeDirty gives what was changed in this process since the last call.
func (s *Store) takeDirty() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := slices.Collect(maps.Keys(s.dirty))
	clear(s.dirty)
	return ids
}
