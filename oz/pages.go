package oz

import (
	"context"
	"slices"

	"github.com/oz-platform/cloudagents/task"
)

// pagesBytes bounds what is kept of pages, in bytes of JSON; one page stays
// whatever its size.
const pagesBytes = feedBytes

// pages are parts of one run's log that followers read who are behind what is
// kept of its end. Many fall behind together, when a run prints faster than
// all of them can be served, or come back together, after a restart of the
// server. One of them reads, the others wait for it and share.
type pages struct {
	turn chan struct{} // holds a token while somebody reads, and guards the rest
	kept [][]Frame     // oldest first
	size int           // of kept, in bytes of JSON
}

func newPages() *pages { return &pages{turn: make(chan struct{}, 1)} }

// read gives the events after a number, which must not be the log's last.
func (p *pages) read(ctx context.Context, store task.Store, id task.ID, after int64) ([]Frame, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if frames := p.find(after); len(frames) > 0 {
		return frames, nil
	}
	// From the same numbers for all, or else from here: a page may be cut for
	// its size.
	for _, from := range []int64{after - after%watchBatch, after} {
		frames, err := readFrames(ctx, store, id, from)
		if err != nil {
			return nil, err
		}
		p.keep(frames)
		if frames = p.find(after); len(frames) > 0 {
			return frames, nil
		}
	}
	return nil, task.Errorf(task.CodeInternal, "run %s: its log lacks the events after %d", id, after)
}

// find gives what is kept after a number. A page that begins later is of no
// use, but where the log was pruned up to its beginning.
func (p *pages) find(after int64) []Frame {
	for _, page := range p.kept {
		first, last := page[0].Event.Seq, page[len(page)-1].Event.Seq
		if _, pruned := page[0].Event.Payload.(*task.Pruned); after >= last || after < first-1 && !pruned {
			continue
		}
		return page[max(0, after+1-first):]
	}
	return nil
}

// keep adds a page, and lets go of the oldest beyond the bound.
func (p *pages) keep(page []Frame) {
	if len(page) == 0 {
		return
	}
	p.kept, p.size = append(p.kept, page), p.size+bytesOf(page)
	for p.size > pagesBytes && len(p.kept) > 1 {
		p.size -= bytesOf(p.kept[0])
		p.kept = slices.Delete(p.kept, 0, 1)
	}
}

func bytesOf(frames []Frame) (n int) {
	for i := range frames {
		n += len(frames[i].JSON)
	}
	return n
}
